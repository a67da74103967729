package author

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"penstock.dev/penstock/conformance/harness"
)

// other returns a folder with a manifest, and the module of a guest of another test.
func other(t *testing.T, guest, manifest string) (dir, module string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "plugin.json"), []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, harness.Guest(t, guest)
}

// right: all cases of a file pass.
func right(t *testing.T, want int, args ...string) {
	t.Helper()
	all, code := test(t, args...)
	if code != 0 || len(all) != want {
		t.Errorf("%d cases, exit code %d; want %d, 0", len(all), code, want)
	}
	for _, r := range all {
		for _, f := range r.Faults {
			t.Errorf("%s: %s\n%s", r.Name, f, strings.Join(r.Logs, "\n"))
		}
	}
}

// wrong: each case has its fault.
func wrong(t *testing.T, module, dir string, cases [][2]string) {
	t.Helper()
	text := "cases:\n"
	for i, w := range cases {
		text += fmt.Sprintf("- {name: \"%d\", %s}\n", i, w[0])
	}
	if err := os.WriteFile(filepath.Join(dir, "cases.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	all, code := test(t, "--module", module, dir)
	if code != 1 || len(all) != len(cases) {
		t.Fatalf("%d cases, exit code %d", len(all), code)
	}
	for i, r := range all {
		if !slices.ContainsFunc(r.Faults, func(f string) bool { return strings.Contains(f, cases[i][1]) }) {
			t.Errorf("%s: got %q; want %q", cases[i][0], r.Faults, cases[i][1])
		}
	}
}

// TestRedisCases: commands to Redis and their replies are a case's; conformance/redis has
// the same guest before a real one.
func TestRedisCases(t *testing.T) {
	dir, module := other(t, "../redis/guests/command", `{"capabilities": ["redis"]}`)
	right(t, 4, "--module", module, dir, "testdata/redis.yaml")
	wrong(t, module, dir, [][2]string{
		{`request: {headers: {x-redis: GET|a}}, calls: [{redis: {command: [GET, b], answer: ""}}]`, `calls[0].redis.command: got ["GET" "a"]; want ["GET" "b"]`},
		{`request: {headers: {x-redis: GET|a}}, response: {status: 201}`, `a call that is not in calls: Redis ["GET" "a"]`},
		{`request: {headers: {x-redis: GET|a}}, calls: [{response: {}}]`, `calls[0]: got Redis ["GET" "a"]; want a call of another kind: HTTP`},
		{`request: {}, calls: [{redis: {command: [GET, a], answer: ""}}]`, `calls[0]: it was not made`},
	})
	none := filepath.Join(dir, "none.yaml")
	if err := os.WriteFile(none, []byte("cases: [{name: no Redis, request: {headers: {x-redis: GET|a}}, response: {contains: [refused 12 init 12]}}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	right(t, 1, "--module", module, dir, none)
}

// TestRawCases: raw connections; conformance/tcp has the same guest on real ones.
func TestRawCases(t *testing.T) {
	dir, module := other(t, "../tcp/guests/lines", `{"connections": true}`)
	right(t, 5, "--module", module, dir, "testdata/raw.yaml")
	wrong(t, module, dir, [][2]string{
		{`connections: [{data: [{client: "a\n", passes: "a\n"}]}]`, `connections[0].data[0].passes: got "A\n"; want "a\n"`},
		{`connections: [{data: [{client: a}], upstream: {body: a}}]`, `connections[0].upstream.body: got ""; want "a"`},
		{`connections: [{data: [{upstream: a}], client: {contains: [b]}}]`, `connections[0].client.contains[0]: "b" is not in "[a]"`},
		{`connections: [{data: [{client: later, end: true}]}]`, `the plugin holds the end of what the client sends`},
		{`connections: [{data: [{client: close}]}]`, `connections[0].error: got "plugin-reset"; want ""`},
		{`connections: [{upstream: {reached: false}}]`, `connections[0].upstream.reached: got true`},
		{`connections: [{client: {ended: true}}]`, `connections[0].client.ended: got false`},
		{`connections: [{calls: [{fails: reset}]}]`, `calls[0]: it was not made`},
	})
	if err := os.WriteFile(filepath.Join(dir, "plugin.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if all, _ := test(t, "--module", module, dir, "testdata/raw.yaml"); len(all) == 0 || !slices.ContainsFunc(all[0].Faults, func(f string) bool { return strings.Contains(f, "connections: true") }) {
		t.Errorf("a manifest without connections: %+v", all)
	}
}

// TestSharedRateCases: a limit that all proxies share is counted by the case, or answered
// by it.
func TestSharedRateCases(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "plugin.json"), []byte(`{"capabilities": ["ratelimit"]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	module := harness.BundledModule(t, "rate-limit")
	const config = "config: {limit: 5, window: 1m, scope: global, by: [all]}"
	right(t, 5, "--module", module, dir, "testdata/rate.yaml")
	wrong(t, module, dir, [][2]string{
		{config + `, request: {}, calls: [{rate: {limit: 6, window: 2m, answer: {allowed: true}}}]`, `calls[0].rate.limit: got 5; want 6`},
		{config + `, request: {}, calls: [{rate: {window: 2m, answer: {allowed: true}}}]`, `calls[0].rate.window: got 1m0s; want 2m0s`},
		{config + `, exchanges: [{request: {}, calls: [{rate: {answer: {allowed: true}}}, {rate: {answer: {allowed: true}}}]}]`, `calls[1]: it was not made`},
	})
}
