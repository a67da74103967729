package files

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/translate"
)

const gateway = `apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: penstock}
spec: {controllerName: penstock.dev/gateway-controller}
---
# a comment only
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: penstock
  listeners: [{name: http, protocol: HTTP, port: 80}]
`

func route(name string) string {
	return `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: ` + name + `}
spec: {parentRefs: [{name: edge}], rules: [{}]}
`
}

func translator() *translate.Translator {
	return translate.New(translate.Options{ControllerName: "penstock.dev/gateway-controller", Parameters: config.DefaultProxyParameters(), Now: time.Now})
}

// running is a source that runs, and what it applied last.
type running struct {
	t       *testing.T
	dir     string
	source  *Source
	applied chan *config.Config
}

func start(t *testing.T, files map[string]string) *running {
	t.Helper()
	r := &running{t: t, dir: t.TempDir(), applied: make(chan *config.Config, 100)}
	for name, text := range files {
		r.write(name, text)
	}
	r.source = New(Options{Dir: r.dir, Log: zap.NewNop(), Translator: translator()})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- r.source.Run(ctx, func(c *config.Config) error { r.applied <- c; return nil })
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	return r
}

func (r *running) write(name, text string) {
	r.t.Helper()
	tmp := filepath.Join(r.dir, ".tmp")
	if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Rename(tmp, filepath.Join(r.dir, name)); err != nil {
		r.t.Fatal(err)
	}
}

// routes waits for a config with exactly these routes.
func (r *running) routes(want ...string) {
	r.t.Helper()
	timeout := time.After(10 * time.Second)
	var got []string
	for {
		select {
		case c := <-r.applied:
			got = nil
			for _, e := range c.Gateways[0].Listeners[0].Routes.Entries {
				got = append(got, e.Route.Object.Name)
			}
			if strings.Join(got, " ") == strings.Join(want, " ") {
				return
			}
		case <-timeout:
			r.t.Fatalf("got routes %v; want %v; problems %v", got, want, r.source.Problems())
		}
	}
}

func (r *running) problem(part string) {
	r.t.Helper()
	for range 500 {
		for _, p := range r.source.Problems() {
			if strings.Contains(p.File+" "+p.String(), part) {
				return
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	r.t.Fatalf("no problem has %q: %v", part, r.source.Problems())
}

func TestFolderIsFollowed(t *testing.T) {
	r := start(t, map[string]string{"gateway.yaml": gateway, "a.yaml": route("a")})
	r.routes("a")
	r.write("b.json", `{"apiVersion":"gateway.networking.k8s.io/v1","kind":"HTTPRoute","metadata":{"name":"b"},"spec":{"parentRefs":[{"name":"edge"}],"rules":[{}]}}`)
	r.routes("a", "b")
	r.write("a.yaml", route("a")+"---\n"+route("c"))
	r.routes("a", "b", "c")
	r.write("a.yaml", route("a")+"---\nkind: [")
	r.problem("a.yaml:5") // where the broken document begins
	r.write("d.yaml", route("d"))
	r.routes("a", "b", "c", "d") // the broken file keeps its last objects
	if err := os.Remove(filepath.Join(r.dir, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	r.routes("b", "d")
	if err := os.Mkdir(filepath.Join(r.dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	r.write("sub/e.yaml", route("e"))
	r.routes("b", "d", "e")
	r.write(".hidden.yaml", "kind: [")
	r.write("notes.txt", "kind: [")
	r.write("list.yaml", "apiVersion: v1\nkind: List\nitems:\n- "+strings.ReplaceAll(strings.TrimSpace(route("f")), "\n", "\n  "))
	r.routes("b", "d", "e", "f")
	if p := r.source.Problems(); len(p) != 0 {
		t.Errorf("got problems %v", p)
	}
}

// TestUnread: an object that cannot be read is known as such until it is right or
// gone, and does not come in the place of the last good one.
func TestUnread(t *testing.T) {
	const good = "apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {name: p}\nspec: {targetRefs: [{group: '', kind: Service, name: a}], validation: {hostname: a.example}}\n"
	bad, noYAML := strings.Replace(good, "hostname", "name", 1), "kind: BackendTLSPolicy\nspec: ["
	for name, tt := range map[string]struct {
		texts []string // one after the other; empty: no file
		want  string   // policies that are right, and those that are not
	}{
		"right":                            {[]string{good}, "1 0"},
		"wrong":                            {[]string{bad}, "0 1"},
		"no YAML":                          {[]string{noYAML}, "0 1"},
		"wrong after right":                {[]string{good, bad}, "1 0"},
		"no YAML after right":              {[]string{good, noYAML}, "1 0"},
		"another version after right":      {[]string{good, strings.Replace(good, "io/v1", "io/v1beta9", 1)}, "1 0"},
		"too long after right":             {[]string{good, good + "#" + strings.Repeat("x", maxFileBytes)}, "1 0"},
		"nothing that is told, once wrong": {[]string{bad, "spec: ["}, "0 1"},
		"right after wrong":                {[]string{bad, good}, "1 0"},
		"gone after wrong":                 {[]string{bad, ""}, "0 0"},
		"other objects after wrong":        {[]string{bad, gateway}, "0 0"},
		"wrong beside what is right":       {[]string{gateway + "---\n" + bad, gateway + "---\n" + noYAML}, "0 1"},
	} {
		t.Run(name, func(t *testing.T) {
			f := folder{dir: t.TempDir(), files: map[string]*fileState{}}
			path := filepath.Join(f.dir, "x.yaml")
			for i, text := range tt.texts {
				if text == "" {
					if err := os.Remove(path); err != nil {
						t.Fatal(err)
					}
				} else if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				} else if err := os.Chtimes(path, time.Time{}, time.Unix(int64(1000+i), 0)); err != nil {
					t.Fatal(err)
				}
				if _, _, err := f.refresh(); err != nil {
					t.Fatal(err)
				}
			}
			all, _, problems := f.objects()
			if got := fmt.Sprint(len(all.BackendTLS), len(all.Unread)); got != tt.want {
				t.Errorf("got %s; want %s; %v", got, tt.want, problems)
			}
		})
	}
}

// TestUnreadFile: a file that cannot be opened may hold anything.
func TestUnreadFile(t *testing.T) {
	f := folder{dir: t.TempDir(), files: map[string]*fileState{}}
	if err := os.Symlink("x.yaml", filepath.Join(f.dir, "x.yaml")); err != nil { // leads to itself
		t.Fatal(err)
	}
	if err := os.Symlink("nothing.yaml", filepath.Join(f.dir, "y.yaml")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, _, err := f.refresh(); err != nil {
			t.Fatal(err)
		}
	}
	if all, _, problems := f.objects(); len(all.Unread) != 1 || all.Unread[0].File != "x.yaml" || all.Unread[0].Object.Kind != "" || len(problems) != 1 {
		t.Errorf("got %v, %v", all.Unread, problems)
	}
}

func TestMountedConfigMap(t *testing.T) {
	dir := t.TempDir()
	put := func(version, text string) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(dir, "..v"+version), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "..v"+version, "a.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("..v"+version, filepath.Join(dir, "..new")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "..new"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	put("1", gateway+"---\n"+route("a"))
	if err := os.Symlink("..data/a.yaml", filepath.Join(dir, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	f := folder{dir: dir, files: map[string]*fileState{}}
	count := func() int {
		t.Helper()
		if _, _, err := f.refresh(); err != nil {
			t.Fatal(err)
		}
		all, _, problems := f.objects()
		if len(problems) > 0 {
			t.Error(problems)
		}
		return len(all.HTTPRoutes)
	}
	if n := count(); n != 1 {
		t.Errorf("got %d routes; want 1", n)
	}
	put("2", gateway+"---\n"+route("a")+"---\n"+route("b"))
	if n := count(); n != 2 {
		t.Errorf("after the swap: got %d routes; want 2", n)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	f = folder{dir: link, files: map[string]*fileState{}}
	if n := count(); n != 2 {
		t.Errorf("through a link to the folder: got %d routes; want 2", n)
	}
}

func TestCheckTellsEverything(t *testing.T) {
	tests := map[string]struct{ text, want string }{
		"an unknown field":       {"apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {prots: []}", `unknown field "spec.prots"`},
		"a field twice":          {"apiVersion: v1\nkind: Service\nkind: Service\nmetadata: {name: a}", `key "kind" already set`},
		"a wrong type":           {"apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: 1}", "cannot unmarshal"},
		"an unknown kind":        {"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}", "is not read here"},
		"no kind":                {"metadata: {name: a}", "apiVersion or kind is missing"},
		"no object":              {"[1]", "not a Kubernetes object"},
		"no YAML":                {"a: [", "x.yaml:1"},
		"a bad name":             {"apiVersion: v1\nkind: Service\nmetadata: {name: A_b}", "metadata.name"},
		"a bad namespace":        {"apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: 'a.b'}", "metadata.namespace"},
		"the same object twice":  {"apiVersion: v1\nkind: Service\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: default}", "the same object is in x.yaml and in x.yaml"},
		"an error within a List": {"apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {x: 1}}]", `unknown field "spec.x"`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "x.yaml"), []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			checked, err := Check(dir, translator())
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range checked.Problems {
				if strings.Contains(p.File+" "+p.String(), test.want) {
					return
				}
			}
			t.Errorf("got %v; want %q", checked.Problems, test.want)
		})
	}
	if _, err := Check("/nowhere/at/all", translator()); err == nil || !strings.Contains(err.Error(), "/nowhere/at/all") {
		t.Errorf("got %v; want an error that names the folder", err)
	}
}

// TestAPurgeThatWasChangedIsAnother: what was done is not done again, but for another
// spec.
func TestAPurgeThatWasChangedIsAnother(t *testing.T) {
	uid := func(more string) string {
		t.Helper()
		items := parse("a.yaml", []byte("apiVersion: penstock.dev/v1alpha1\nkind: CachePurge\nmetadata: {name: a}\n"+more)).items
		if len(items) != 1 {
			t.Fatalf("%q: %d objects", more, len(items))
		}
		return string(items[0].value.GetUID())
	}
	a := uid("spec: {tags: [t]}")
	if a != uid("# a comment\nspec:\n  tags:\n  - t\nstatus: {removed: 1}") {
		t.Error("the same spec is another purge")
	}
	if a == uid("spec: {tags: [u]}") {
		t.Error("another spec is the same purge")
	}
}

// FuzzLoad: no file makes it panic, and an object that is accepted is accepted
// again, with the same identity, once it is written as JSON.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(gateway))
	f.Add([]byte(route("a")))
	f.Add([]byte("apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {a: b}"))
	f.Add([]byte("apiVersion: v1\nkind: List\nitems: [{}]"))
	f.Add([]byte("apiVersion: penstock.dev/v1alpha1\nkind: CachePurge\nmetadata: {name: a}\nspec: {tags: [t]}"))
	f.Add([]byte("---\n--- \na: &a [*a]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		items := parse("f.yaml", text).items
		for _, it := range items {
			if it.object.Kind == "Secret" || it.object.Kind == "Namespace" {
				continue // completed: not what was written
			}
			again, err := json.Marshal(it.value)
			if err != nil {
				t.Fatal(err)
			}
			second, err := decode(again)
			if err != nil {
				t.Fatalf("%s: %v", again, err)
			}
			if second[0].object != it.object || second[0].value.GetUID() != it.value.GetUID() {
				t.Fatalf("got %v; want %v", second[0].object, it.object)
			}
		}
		f := folder{files: map[string]*fileState{"f.yaml": {parsed: parsed{items: items}}}}
		all, _, _ := f.objects()
		translator().Translate(all)
	})
}
