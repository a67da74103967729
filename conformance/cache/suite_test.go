package cache

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/harness"
)

// What the suite, http-cache-tests 0.4.5, has, and how many have to pass. Of the required
// ones 3 are for browsers alone, 4 for caches that serve stale unasked, 2 for such as
// store Set-Cookie, one has a Transfer-Encoding that nobody knows, and one takes a 304 for
// an answer about another strong ETag (testdata/known-failures.txt). Those of
// Surrogate-Control, which is no standard, count in none but the first.
const (
	tests                  = 355
	required, mustRequired = 160, 149
	optimal, mustOptimal   = 88, 76
	checks                 = 86
)

// test is one test of the suite.
type test struct {
	ID      string
	Suite   string
	Name    string
	Kind    string // "required", "optimal" or "check": a question without a right answer
	Depends []string
	Browser bool
}

// The outcomes of a test, as the suite shows them.
const (
	pass     = "pass"     // of a check: yes
	fail     = "fail"     // of a check: no
	setup    = "setup"    // what it is about could not be brought about
	depends  = "depends"  // a test that it depends on does not pass
	browser  = "browser"  // it is for browsers alone
	untested = "untested" // there is no result
)

// surrogate is the id of the suite of Surrogate-Control.
const surrogate = "surrogate-control"

// folder returns the suite's folder, which `make cachesuite` fills.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../../build/http-cache-tests")
	if err != nil {
		t.Fatal(err)
	}
	have, err := os.ReadFile(filepath.Join(dir, "package-lock.json"))
	if err != nil && os.Getenv("PENSTOCK_SKIP_TOOLCHAINS") != "" {
		t.Skip("the suite is not installed, and PENSTOCK_SKIP_TOOLCHAINS is set")
	}
	if err != nil {
		t.Fatalf("%v: run make cachesuite, or set PENSTOCK_SKIP_TOOLCHAINS=1 to leave this test out", err)
	}
	want, err := os.ReadFile("suite/package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != string(want) {
		t.Fatal("another version of the suite is installed: run make cachesuite")
	}
	return filepath.Join(dir, "node_modules", "http-cache-tests")
}

// suiteTests returns all tests, by id.
func suiteTests(t *testing.T, dir string) map[string]test {
	t.Helper()
	list, err := filepath.Abs("suite/list.mjs")
	if err != nil {
		t.Fatal(err)
	}
	out, err := node(t.Context(), dir, nil, list).Output()
	if err != nil {
		t.Fatalf("list.mjs: %v", err)
	}
	var all []test
	if err := json.Unmarshal(out, &all); err != nil {
		t.Fatal(err)
	}
	byID := map[string]test{}
	for _, one := range all {
		byID[one.ID] = one
	}
	if len(byID) != tests {
		t.Fatalf("%d tests; want %d", len(byID), tests)
	}
	return byID
}

// node is a command of Node.js in the suite's folder.
func node(ctx context.Context, dir string, environment []string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, "node", append([]string{"--no-warnings"}, args...)...)
	c.Dir = dir
	c.Env = append(os.Environ(), environment...)
	return c
}

// origin starts the suite's origin on loopback and returns its port.
func origin(t *testing.T, dir string) int {
	t.Helper()
	bind, err := filepath.Abs("suite/bind.cjs")
	if err != nil {
		t.Fatal(err)
	}
	port := harness.FreePort(t)
	c := node(t.Context(), dir, []string{"npm_config_protocol=http", fmt.Sprintf("npm_config_port=%d", port), "npm_config_pidfile=" + filepath.Join(t.TempDir(), "pid")}, "-r", bind, "server/server.mjs")
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = 10 * time.Second
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		_ = c.Wait() // ended by a signal
	})
	listening := make(chan struct{})
	go func() {
		first := true
		for s := bufio.NewScanner(out); s.Scan(); {
			if first && strings.HasPrefix(s.Text(), "Listening on ") {
				first = false
				close(listening)
			}
		}
	}()
	select {
	case <-listening:
	case <-time.After(20 * time.Second):
		t.Fatal("the suite's origin does not listen within 20 s")
	}
	return port
}

// start runs the binary before the suite's origin, with this annotation on its Service.
func start(t *testing.T, port int, annotation string) *harness.Proxy {
	t.Helper()
	service := strings.Replace(harness.Service("origin", annotation, port), "value: /origin", "value: /", 1)
	return harness.Start(t, harness.Options{Files: map[string]string{"gateway.yaml": harness.GatewayFor(1), "origin.yaml": service}})
}

// results runs the suite's client and returns what it says of each test: true, or a
// kind of failure and its text.
func results(t *testing.T, dir, base string) map[string]json.RawMessage {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	out, err := node(ctx, dir, []string{"npm_config_base=" + base, "npm_package_config_id="}, "cli.mjs").Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("cli.mjs: %v\n%s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(out, &all); err != nil {
		t.Fatalf("cli.mjs: %v in\n%.2000s", err, out)
	}
	return all
}

// outcome judges a test's result as the suite's pages do.
func outcome(all map[string]test, results map[string]json.RawMessage, id string) string {
	raw, ok := results[id]
	switch {
	case all[id].Browser:
		return browser
	case !ok:
		return untested
	}
	for _, on := range all[id].Depends {
		if outcome(all, results, on) != pass { // also of one that there is not
			return depends
		}
	}
	var text []string
	switch {
	case string(raw) == "true":
		return pass
	case json.Unmarshal(raw, &text) == nil && len(text) > 0 && text[0] == "Setup":
		return setup
	}
	return fail
}

// run runs the suite, and prints its three totals. Outcomes are by id.
func run(t *testing.T, annotation string) (all map[string]test, outcomes map[string]string, said map[string]json.RawMessage) {
	t.Helper()
	dir := folder(t)
	all = suiteTests(t, dir)
	p := start(t, origin(t, dir), annotation)
	said = results(t, dir, p.URL)
	outcomes = map[string]string{}
	for id := range all {
		outcomes[id] = outcome(all, said, id)
	}
	for _, kind := range []string{"required", "optimal", "check"} {
		passed, total, others := count(all, outcomes, kind)
		t.Logf("%s: %d of %d pass; of the others %v", kind, passed, total, others)
	}
	return all, outcomes, said
}

// count returns how many tests of a kind pass, how many there are, and what became of
// the others. Those of Surrogate-Control do not count.
func count(all map[string]test, outcomes map[string]string, kind string) (passed, total int, others map[string]int) {
	others = map[string]int{}
	for id, one := range all {
		if one.Kind != kind || one.Suite == surrogate {
			continue
		}
		if total++; outcomes[id] == pass {
			passed++
		} else {
			others[outcomes[id]]++
		}
	}
	return passed, total, others
}

// TestWithoutACache: before the same proxy without a cache nothing comes from one, and
// nothing else is wrong. It says that the suite runs as it should.
func TestWithoutACache(t *testing.T) {
	all, outcomes, said := run(t, "")
	var optimals []string
	for id, one := range all {
		if one.Kind == "required" && outcomes[id] == fail && !strings.Contains(string(said[id]), "does not come from cache") {
			t.Errorf("%s (%s): %s", id, one.Name, compact(said[id]))
		}
		if outcomes[id] == pass && one.Kind == "optimal" {
			optimals = append(optimals, id)
		}
	}
	if !slices.Equal(optimals, []string{"conditional-lm-stale"}) { // which asks for no more than that nothing is stored
		t.Errorf("optimal ones that pass: %v", optimals)
	}
	// Of the others most ask first whether a cache is there.
	if passed, _, others := count(all, outcomes, "required"); passed < 40 || others[fail] == 0 || others[depends] < 60 {
		t.Errorf("%d required ones pass, others are %v", passed, others)
	}
}

// TestSuite: the outcome of each required and optimal test that does not pass is listed
// with its reason in testdata/known-failures.txt, as "required depends ID"; what is
// listed and is not so is an error. No required one fails.
func TestSuite(t *testing.T) {
	all, outcomes, said := run(t, "- cache")
	known := harness.KnownFailures(t)
	for _, id := range slices.Sorted(maps.Keys(all)) {
		one, got := all[id], outcomes[id]
		if one.Kind == "check" || got == pass || got == browser || one.Suite == surrogate {
			continue
		}
		line := fmt.Sprintf("%s %s %s", one.Kind, got, id)
		_, listed := known[line]
		delete(known, line)
		switch {
		case got == fail && one.Kind == "required":
			t.Errorf("%s: %s: %s", line, one.Name, compact(said[id]))
		case !listed:
			t.Errorf("%s: not listed: %s: %s", line, one.Name, compact(said[id]))
		}
	}
	for line := range known {
		id := line[strings.LastIndexByte(line, ' ')+1:]
		t.Errorf("%s: listed as a known failure, and is now: %q", line, outcomes[id])
	}
	for _, kind := range []struct {
		name        string
		total, must int
	}{{"required", required, mustRequired}, {"optimal", optimal, mustOptimal}, {"check", checks, 0}} {
		if passed, total, _ := count(all, outcomes, kind.name); total != kind.total || passed < kind.must {
			t.Errorf("%s: %d of %d pass; want %d of %d at least", kind.name, passed, total, kind.must, kind.total)
		}
	}
}

// compact writes a result in one line.
func compact(raw json.RawMessage) string {
	return strings.Join(strings.Fields(string(raw)), " ")
}

// TestOutcome: results are judged as the suite's own pages do it.
func TestOutcome(t *testing.T) {
	all := map[string]test{
		"a": {ID: "a"}, "b": {ID: "b", Depends: []string{"a"}}, "c": {ID: "c", Depends: []string{"b"}}, "d": {ID: "d", Depends: []string{"gone"}}, "e": {ID: "e", Browser: true},
	}
	tests := map[string]struct{ a, b, c, want string }{
		"all pass":                {"true", "true", "true", "pass pass pass"},
		"the first fails":         {`["Assertion", "no"]`, "true", "true", "fail depends depends"},
		"the second has no setup": {"true", `["Setup", "no"]`, `["Assertion", "no"]`, "pass setup depends"},
		"the last fails":          {"true", "true", `["AbortError", "no"]`, "pass pass fail"},
		"false is no pass":        {"true", "true", "false", "pass pass fail"},
		"a word is no pass":       {"true", "true", `"true"`, "pass pass fail"},
	}
	for name, tt := range tests {
		results := map[string]json.RawMessage{"a": json.RawMessage(tt.a), "b": json.RawMessage(tt.b), "c": json.RawMessage(tt.c), "d": json.RawMessage("true")}
		got := fmt.Sprintf("%s %s %s", outcome(all, results, "a"), outcome(all, results, "b"), outcome(all, results, "c"))
		if got != tt.want || outcome(all, results, "d") != depends || outcome(all, results, "e") != browser {
			t.Errorf("%s: got %s; want %s", name, got, tt.want)
		}
	}
	delete(all, "gone")
	if got := outcome(all, nil, "a"); got != untested {
		t.Errorf("no result: got %s", got)
	}
}
