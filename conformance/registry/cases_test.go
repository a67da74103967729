package registry

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"penstock.dev/penstock/conformance/harness"
)

// casesText is the transform plugin's case that X-From is as it is to be.
func casesText(want string) string {
	return fmt.Sprintf(`config: {response: {headers: {set: {X-From: registry}}}}
cases:
- name: the response says where it is from
  request: {path: /a}
  response: {status: 200, headers: {x-from: %s}}
`, want)
}

// TestCasesInImages: a digest whose own cases fail does not go live: neither in place of
// one that runs, nor where there is none.
func TestCasesInImages(t *testing.T) {
	t.Parallel()
	r := newRegistry(t)
	home, module := t.TempDir(), harness.BundledModule(t, "transform")
	folder := func(cases string) string {
		t.Helper()
		dir := t.TempDir()
		for file, text := range map[string]string{"plugin.json": `{"abi": "proxy-wasm"}`, "cases.yaml": cases} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	push := func(name, cases string, args ...string) (string, bool) {
		t.Helper()
		dir := folder(cases)
		return command(t, home, append([]string{"push", r.host() + "/" + name, dir, "--module", module, "--local-registry", r.host()}, args...)...)
	}
	pushed := func(name, cases string, args ...string) (digest string) {
		t.Helper()
		out, ok := push(name, cases, args...)
		if !ok {
			t.Fatal(out)
		}
		_, digest, _ = strings.Cut(out, "@")
		return digest
	}
	// A push refuses what fails its cases; other tools do not.
	elsewhere := func(repository string) (digest string) {
		t.Helper()
		dir, layout := folder(casesText("elsewhere")), t.TempDir()
		harness.Pack(t, layout, "v", module, "--manifest", filepath.Join(dir, "plugin.json"), "--cases", filepath.Join(dir, "cases.yaml"))
		return r.push(layout, "test.example/plugins/v:1", repository, "1")
	}
	good := pushed("plugins/moving:1", casesText("registry"))
	broken := elsewhere("plugins/broken")
	if out, ok := push("plugins/failing:1", casesText("elsewhere")); ok || !strings.Contains(out, "the plugin fails its cases: nothing is pushed (--no-cases pushes without them)") {
		t.Errorf("cases that fail: got %s", out)
	}
	if pushed("plugins/moving:2", casesText("registry"), "--no-cases") == good {
		t.Error("--no-cases changes nothing")
	}
	if out, ok := push("plugins/bad:1", "cases: [{name: a}]"); ok || !strings.Contains(out, `cases.yaml: case "a": it says nothing that is to be so (--no-cases leaves them out of the image)`) {
		t.Errorf("cases that cannot be read: got %s", out)
	}

	upstream := harness.Upstream(t, harness.Echo)
	p := harness.Start(t, harness.Options{LocalRegistry: r.host(), Args: []string{"--tag-interval", "500ms"}, Files: map[string]string{
		"gateway.yaml": harness.GatewayFor(r.port),
		"a.yaml":       harness.Service("a", annotation(r.host()+"/plugins/moving:1"), upstream),
		"b.yaml":       harness.Service("b", annotation(r.host()+"/plugins/moving@"+good), upstream),
		"first.yaml":   harness.Service("first", annotation(r.host()+"/plugins/broken@"+broken), upstream),
	}})
	state(t, p, "a", 200, "")
	state(t, p, "first", 503, "InvalidModule")
	const why = `the image's own case "the response says where it is from" (cases.yaml) fails: response.headers.x-from: got "registry"; want "elsewhere"`
	if got := p.Chain("Service/default/first").Message; !strings.Contains(got, why) {
		t.Errorf("got %s; want %s", got, why)
	}
	out, _, code := harness.Check(t, map[string]string{
		"gateway.yaml": harness.GatewayFor(r.port), "first.yaml": harness.Service("first", annotation(r.host()+"/plugins/broken@"+broken), upstream),
	}, "--local-registry", r.host(), "--state", t.TempDir())
	if code != 1 || !strings.Contains(out, "InvalidModule") || !strings.Contains(out, why) {
		t.Errorf("penstock check: exit code %d: %s", code, out)
	}
	stop := traffic(p.URL + "/a")
	elsewhere("plugins/moving") // the tag moves
	p.Eventually("the old one goes on", func() bool {
		return strings.Contains(p.Log(), "the tag has moved to a digest that cannot run: the old one goes on")
	})
	state(t, p, "b", 200, "")
	p.Write("b.yaml", harness.Service("b", annotation(r.host()+"/plugins/broken@"+broken), upstream)) // the text changes
	p.Eventually("b is told why, and goes on", func() bool {
		c := p.Chain("Service/default/b")
		return c.State == "LastGood" && len(c.Filters) == 1 && c.Filters[0].Reason == "InvalidModule" && strings.Contains(c.Filters[0].Message, why)
	})
	state(t, p, "b", 200, "")
	mended := pushed("plugins/moving:1", strings.Replace(casesText("registry"), "path: /a", "path: /mended", 1))
	p.Eventually("the mended one runs", func() bool {
		c := p.Chain("Service/default/a")
		return len(c.Filters) == 1 && c.Filters[0].Digest == mended && c.Filters[0].State == "Ready"
	})
	if got := stop(); len(got) != 1 || got[200] == 0 {
		t.Errorf("got %v; want 200 only", got)
	}
}
