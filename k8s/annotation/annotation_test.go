package annotation

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"penstock.dev/penstock/k8s/api"
)

func TestParse(t *testing.T) {
	got, err := Parse(`
- key-auth
- use: jwt@2
  config: {issuer: "https://id.example.com", on: yes, n: 0x10, f: 1e3, z: 007}
  except: [{path: {type: PathPrefix, value: /healthz}, methods: [GET]}]
- image: registry.example.com/shop/prices:1.4.2
  config: "as it is"
  configFrom: [{configMapKeyRef: {name: prices, key: rules.json}}, {secretKeyRef: {name: s, key: k, optional: true}}]
  env: [{name: A, value: "1"}, {name: B, valueFrom: {secretKeyRef: {name: s, key: k}}}]
  onError: skip
  limits: {cpuTime: 5ms, memory: 64Mi, body: 1Mi}
  ports: [http]
- chain: common
`, "Service")
	if err != nil {
		t.Fatal(err)
	}
	want := []api.Entry{
		{Use: "key-auth", Name: "key-auth"},
		{
			Use: "jwt@2", Name: "jwt", Config: json.RawMessage(`{"f":1000,"issuer":"https://id.example.com","n":16,"on":"yes","z":7}`),
			Except: []api.Except{{Path: api.PathMatch{Type: "PathPrefix", Value: "/healthz"}, Methods: []string{"GET"}}},
		},
		{
			Image: "registry.example.com/shop/prices:1.4.2", Name: "prices", Config: json.RawMessage(`"as it is"`),
			ConfigFrom: []api.ConfigSource{{ConfigMapKeyRef: &api.KeyRef{Name: "prices", Key: "rules.json"}}, {SecretKeyRef: &api.KeyRef{Name: "s", Key: "k", Optional: true}}},
			Env:        []api.EnvVar{{Name: "A", Value: "1"}, {Name: "B", ValueFrom: &api.ConfigSource{SecretKeyRef: &api.KeyRef{Name: "s", Key: "k"}}}},
			OnError:    "skip", Limits: &api.Limits{CPUTime: "5ms", Memory: "64Mi", Body: "1Mi"}, Ports: []string{"http"},
		},
		{Chain: "common", Name: "common"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestParseRefuses(t *testing.T) {
	tests := map[string]struct{ text, want string }{
		"nothing":              {"", "empty"},
		"a mapping":            {"use: jwt", "want a list"},
		"text":                 {"jwt", "want a list"},
		"bad YAML":             {"- use: [", "not YAML"},
		"two documents":        {"- a\n---\n- b", "more than one document"},
		"an anchor":            {"- &a {use: jwt}", "anchors and aliases"},
		"an alias":             {"- config: &a {x: 1}\n  use: jwt\n- config: *a\n  use: b", "anchors and aliases"},
		"a merge key":          {"- {<<: {use: a}}", "merge keys"},
		"a tag":                {"- use: !!str jwt", "tags are refused"},
		"a custom tag":         {"- !secret {use: jwt}", "tags are refused"},
		"a key twice":          {"- {use: a, use: b}", "the same key twice"},
		"a key twice, deep":    {"- use: a\n  config: {b: {c: 1, c: 2}}", "[0].config.b.c: the same key twice"},
		"a list as key":        {"- use: a\n  config: {[1]: 2}", "a key must be plain text"},
		"infinity":             {"- use: a\n  config: {x: .inf}", "[0].config.x"},
		"no number":            {"- use: a\n  config: {x: .nan}", "[0].config.x"},
		"a huge number":        {"- use: a\n  config: {x: 1e999}", "out of range"},
		"too long":             {"- use: a\n  config: " + strings.Repeat("x", MaxBytes), "at most 16384"},
		"too deep":             {"- use: a\n  config: " + strings.Repeat("[", 20) + strings.Repeat("]", 20), "nested more than"},
		"too many":             {strings.Repeat("- a\n", 33), "at most 32"},
		"an unknown key":       {"- use: a\n  confg: {}", "[0].confg: unknown key"},
		"nothing to run":       {"- config: {}", "has 0 of use, image and chain"},
		"two things to run":    {"- {use: a, image: r.example/b:1}", "has 2 of use, image and chain"},
		"a number as name":     {"- use: 1", "[0].use: want text"},
		"a bad name":           {"- {use: a, name: A_B}", "a DNS label"},
		"a bad use":            {"- use: a@latest", "name or name@major"},
		"a name twice":         {"- a\n- a", "[1].name"},
		"an image, no tag":     {"- image: r.example/b", "[0].image"},
		"an image, a scheme":   {"- image: https://r.example/b:1", "[0].image"},
		"an image, short":      {"- image: nginx:1", "[0].image"},
		"a number as config":   {"- use: a\n  config: 1", "[0].config"},
		"onError":              {"- use: a\n  onError: ignore", "neither reject nor skip"},
		"cpuTime too small":    {"- use: a\n  limits: {cpuTime: 1us}", "[0].limits.cpuTime"},
		"cpuTime too large":    {"- use: a\n  limits: {cpuTime: 2s}", "[0].limits.cpuTime"},
		"no duration":          {"- use: a\n  limits: {cpuTime: 20}", "[0].limits.cpuTime"},
		"memory too large":     {"- use: a\n  limits: {memory: 2Gi}", "[0].limits.memory"},
		"an unknown limit":     {"- use: a\n  limits: {cpu: 1}", "[0].limits.cpu: unknown key"},
		"two sources":          {"- use: a\n  configFrom: [{configMapKeyRef: {name: a, key: b}, secretKeyRef: {name: a, key: b}}]", "has 2 of"},
		"a source without key": {"- use: a\n  configFrom: [{configMapKeyRef: {name: a}}]", "[0].configFrom[0].configMapKeyRef.key: missing"},
		"another namespace":    {"- use: a\n  configFrom: [{secretKeyRef: {name: a, key: b, namespace: c}}]", "namespace: unknown key"},
		"env twice":            {"- use: a\n  env: [{name: A, value: x, valueFrom: {secretKeyRef: {name: a, key: b}}}]", "has both value and valueFrom"},
		"env of a number":      {"- use: a\n  env: [{name: A, value: 1}]", "put it in quotes"},
		"a bad path":           {"- use: a\n  except: [{path: {value: healthz}}]", "starts with /"},
		"a bad expression":     {"- use: a\n  except: [{path: {type: RegularExpression, value: '('}}]", "RE2"},
		"listeners":            {"- use: a\n  listeners: [http]", "only allowed on a Gateway"},
		"more beside chain":    {"- chain: a\n  config: {}", "not allowed beside chain"},
		"no canary":            {"- use: a\n  canary: x", "[0].canary: want a mapping"},
		"an empty canary":      {"- use: a\n  canary: {}", "[0].canary: has 0 of use and image: want exactly one"},
		"a canary of two":      {"- use: a\n  canary: {use: a@2, image: r.example/b:1, weight: 1, mode: live}", "[0].canary: has 2 of use and image: want exactly one"},
		"a canary's image":     {"- use: a\n  canary: {image: nginx, weight: 1, mode: live}", "[0].canary.image: \"nginx\" is no image reference"},
		"no weight":            {"- use: a\n  canary: {use: a@2, mode: live}", "[0].canary.weight: missing: want a percentage, 0 to 100"},
		"a weight too large":   {"- use: a\n  canary: {use: a@2, weight: 101, mode: live}", "[0].canary.weight: want a whole number from 0 to 100"},
		"a weight of text":     {"- use: a\n  canary: {use: a@2, weight: '5', mode: live}", "[0].canary.weight: want a whole number from 0 to 100"},
		"half a percent":       {"- use: a\n  canary: {use: a@2, weight: 0.5, mode: live}", "[0].canary.weight: want a whole number from 0 to 100"},
		"no mode":              {"- use: a\n  canary: {use: a@2, weight: 5}", "[0].canary.mode: missing"},
		"an unknown mode":      {"- use: a\n  canary: {use: a@2, weight: 5, mode: mirror}", "[0].canary.mode: \"mirror\": want live or shadow"},
		"a canary of a chain":  {"- chain: a\n  canary: {use: a@2, weight: 5, mode: live}", "[0].canary: not allowed beside chain"},
		"a canary's config":    {"- use: a\n  canary: {use: a@2, weight: 5, mode: live, config: {}}", "[0].canary.config: unknown key; known are use, image, weight, mode"},
		"a list of lists":      {"- - a", "want a name or a mapping"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := Parse(test.text, "Service")
			if err == nil || !strings.Contains(err.Error(), test.want) || got != nil {
				t.Errorf("got %v, %v; want %q", got, err, test.want)
			}
			if err != nil && Reason(err) != "InvalidAnnotation" {
				t.Errorf("got reason %s", Reason(err))
			}
		})
	}
}

func TestParseTellsAllProblems(t *testing.T) {
	_, err := Parse("- {use: a, x: 1}\n- {image: b}\n- {use: c, onError: z}", "Service")
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) || len(joined.Unwrap()) != 3 {
		t.Errorf("got %v; want 3 problems", err)
	}
}

func TestMapping(t *testing.T) {
	m, err := Mapping("{\"a\": 1, b: [x, yes]}", 100)
	if err != nil || string(m["a"]) != "1" || string(m["b"]) != `["x","yes"]` {
		t.Errorf("got %s, %v", m, err)
	}
	for _, text := range []string{"", "[]", "a", "{a: 1, a: 2}", "a: &x 1", "a: !t 1", "{}\n---\n{}", "a: .inf", strings.Repeat("a", 101)} {
		if _, err := Mapping(text, 100); err == nil || strings.Contains(err.Error(), "!t") {
			t.Errorf("%q: got %v", text, err)
		}
	}
}

// FuzzParse: what is accepted, written as JSON (which is YAML), is accepted
// again and equal.
func FuzzParse(f *testing.F) {
	f.Add("- key-auth\n- use: jwt@2\n  config: {a: [1, 2.5, x, null, true]}\n")
	f.Add("- image: r.example/a:1\n  limits: {cpuTime: 5ms, body: 0}\n  env: [{name: A, value: ''}]\n")
	f.Add("- use: a\n  except: [{path: {value: /x}, methods: [GET]}]\n  configFrom: [{secretKeyRef: {name: a, key: b}}]\n")
	f.Add("- {use: a, canary: {use: a@2, weight: 0, mode: shadow}}\n")
	f.Add("- &a {<<: *a}\n")
	f.Add("- {use: cache, config: {ttl: 60s, key: {headers: [accept-language], query: {allow: [id]}}, bypass: [{cookie: s, value: a}], ignore: [private]}}\n")
	f.Fuzz(func(t *testing.T, text string) {
		entries, err := Parse(text, "Service")
		if err != nil {
			return
		}
		again, err := json.Marshal(entries)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) == 0 || len(again) > MaxBytes {
			return
		}
		second, err := Parse(string(again), "Service")
		if err != nil {
			t.Fatalf("%q -> %s: %v", text, again, err)
		}
		if d := cmp.Diff(entries, second); d != "" {
			t.Fatalf("%q -> %s:\n%s", text, again, d)
		}
	})
}
