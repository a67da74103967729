// Package author runs what plugin authors use: penstock plugin.
package author

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"penstock.dev/penstock/conformance/harness"
)

// result is a line of penstock plugin test --json.
type result struct {
	Name         string
	Faults, Logs []string
}

// test runs penstock plugin test on a folder and files of cases.
func test(t *testing.T, args ...string) (all []result, code int) {
	t.Helper()
	c := exec.Command(harness.Binary(t), append([]string{"plugin", "test", "--json"}, args...)...)
	var said strings.Builder
	c.Stderr = &said
	out, err := c.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		var r result
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		all = append(all, r)
	}
	if said.Len() > 0 {
		t.Logf("%s", said.String())
	}
	return all, code
}

// guest returns the guest's folder with its module.
func guest(t *testing.T) (dir, module string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "plugin.json"), []byte(`{"capabilities": ["http-call"]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, harness.Guest(t, "guest")
}

// TestCases: cases that are right pass.
func TestCases(t *testing.T) {
	dir, module := guest(t)
	all, code := test(t, "--module", module, dir, "testdata/good.yaml")
	if code != 0 || len(all) < 15 {
		t.Errorf("%d cases, exit code %d", len(all), code)
	}
	for _, r := range all {
		for _, f := range r.Faults {
			t.Errorf("%s: %s\n%s", r.Name, f, strings.Join(r.Logs, "\n"))
		}
	}
}

// TestFaults: each case that is not right says why.
func TestFaults(t *testing.T) {
	dir, module := guest(t)
	wrong := [][2]string{
		{`request: {path: /a}, upstream: {request: {path: /b}}`, `upstream.request.path: got "/a"; want "/b"`},
		{`request: {headers: {x-do: deny}}, upstream: {request: {}}`, `upstream.reached: got false`},
		{`request: {}, upstream: {reached: false}`, `upstream.reached: got true`},
		{`request: {}, response: {status: 403}`, `response.status: got 200; want 403`},
		{`request: {}, response: {from: plugin}`, `response.from: got "upstream"; want "plugin"`},
		{`request: {}, response: {headers: {x-plugin: null}}`, `response.headers.x-plugin: got "was here"; want none`},
		{`request: {}, response: {headers: {x-plugin: was}}`, `response.headers.x-plugin: got "was here"; want "was"`},
		{`request: {}, response: {headers: {x-other: a}}`, `response.headers.x-other: got none; want "a"`},
		{`request: {}, response: {trailers: {x-other: a}}`, `response.trailers.x-other: got none; want "a"`},
		{`request: {}, upstream: {response: {body: abc}}, response: {body: abd}`, `response.body: got "abc"; want "abd"`},
		{`request: {}, upstream: {response: {body: abc}}, response: {contains: [abd]}`, `response.body: got "abc"; want that it contains "abd"`},
		{`request: {}, consumer: {name: shop}`, `consumer: got "" of []; want "shop" of []`},
		{`request: {}, calls: [{response: {}}]`, `calls[0]: it was not made`},
		{`request: {headers: {x-do: call}}, response: {status: 403}`, `a call that is not in calls: POST /check to "outbound|80||auth.default.svc.cluster.local"`},
		{`request: {headers: {x-do: call}}, calls: [{to: a, response: {}}]`, `calls[0].to: got "outbound|80||auth.default.svc.cluster.local"; want "a"`},
		{`request: {headers: {x-do: call}}, calls: [{request: {body: x}, response: {}}]`, `calls[0].request.body: got "may it?"; want "x"`},
		{`capabilities: [], request: {headers: {x-do: call}}, calls: [{response: {}}]`, `calls[0]: it was not made`},
		{`request: {headers: {x-do: hold}}, response: {status: 200}`, `the plugin holds the exchange, and nothing is to come that it could wait for`},
		{`request: {headers: {x-do: trap}}, response: {status: 200}`, `response.status: got 500; want 200`},
		{`exchanges: [{request: {}}, {request: {}, response: {status: 204}}]`, `exchanges[1].response.status: got 200; want 204`},
		{`request: {}, metrics: {asked: 1}`, `metrics.asked: got 0; want 1`},
		{`request: {}, metrics: {other: 0}`, `metrics.other: no metric of this name; there are: asked`},
		{`request: {}, logs: [nothing]`, `logs[0]: no line has "nothing"`},
		{`request: {headers: {x-do: deny}}, logs: ["error: denied"]`, `logs[0]: no line has "error: denied"`},
		{`refused: a`, `refused: the plugin took its configuration`},
		{`config: {wrong: 1}, refused: other`, `refused for another reason: InvalidConfig: proxy_on_configure returned false`},
		{`config: {wrong: 1}, refused: other`, `; want "other" in it or in the log`},
		{`config: {wrong: 1}, request: {}`, `the plugin does not start: InvalidConfig: proxy_on_configure returned false`},
	}
	text := "cases:\n"
	for i, w := range wrong {
		text += fmt.Sprintf("- {name: \"%d\", %s}\n", i, w[0])
	}
	file := filepath.Join(dir, "cases.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	all, code := test(t, "--module", module, dir)
	if code != 1 || len(all) != len(wrong) {
		t.Fatalf("%d cases, exit code %d", len(all), code)
	}
	for i, r := range all {
		if !slices.ContainsFunc(r.Faults, func(f string) bool { return strings.Contains(f, wrong[i][1]) }) {
			t.Errorf("%s: got %q; want %q", wrong[i][0], r.Faults, wrong[i][1])
		}
	}
}
