package registry

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/harness"
)

// version pushes the transform plugin under the tag 1 of a repository, as an
// image that differs from others by its title, and returns its digest.
func (r *registry) version(repository, title, module string) string {
	r.t.Helper()
	manifest := filepath.Join(r.t.TempDir(), "plugin.json")
	if err := os.WriteFile(manifest, encode(object{"abi": "proxy-wasm", "title": title}), 0o600); err != nil {
		r.t.Fatal(err)
	}
	layout := r.t.TempDir()
	harness.Pack(r.t, layout, "v", module, "--manifest", manifest)
	return r.push(layout, "test.example/plugins/v:1", repository, "1")
}

// traffic sends requests one after another until its stop is called, which
// returns how many answers there were of each status.
func traffic(url string) (stop func() map[int]int) {
	done := make(chan struct{})
	statuses := map[int]int{}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			status := 0
			if response, err := http.Get(url); err == nil {
				response.Body.Close()
				if status = response.StatusCode; status == 200 && response.Header.Get("X-From") != "registry" {
					status = -1
				}
			}
			statuses[status]++
			time.Sleep(time.Millisecond)
		}
	})
	return func() map[int]int {
		close(done)
		group.Wait()
		return statuses
	}
}

// TestTagsThatMove: who runs a tag gets what it points to, without a failed
// request, unless that cannot run.
func TestTagsThatMove(t *testing.T) {
	t.Parallel()
	r := newRegistry(t)
	transform := harness.BundledModule(t, "transform")
	const repository = "plugins/moving"
	first := r.version(repository, "first", transform)
	upstream := harness.Upstream(t, harness.Echo)
	files := map[string]string{
		"gateway.yaml": harness.GatewayFor(r.port),
		"a.yaml":       harness.Service("a", annotation(r.host()+"/plugins/moving:1"), upstream),
		"b.yaml":       harness.Service("b", annotation(r.host()+"/plugins/moving:1"), upstream),
		"still.yaml":   harness.Service("still", annotation(r.host()+"/plugins/moving@"+first), upstream),
	}
	p := harness.Start(t, harness.Options{Files: files, LocalRegistry: r.host(), Args: []string{"--tag-interval", "500ms"}})
	runs := func(name, state, digest string) {
		t.Helper()
		p.Eventually(name+" is "+state+" with "+digest, func() bool {
			c := p.Chain("Service/default/" + name)
			return len(c.Filters) == 1 && c.Filters[0].State == state && c.Filters[0].Digest == digest
		})
	}
	for _, name := range []string{"a", "b", "still"} {
		runs(name, "Ready", first)
	}
	stop := traffic(p.URL + "/a")
	second := r.version(repository, "second", transform)
	runs("a", "Ready", second)
	runs("b", "Ready", second)

	text := filepath.Join(t.TempDir(), "text.wasm")
	if err := os.WriteFile(text, []byte("no module"), 0o600); err != nil {
		t.Fatal(err)
	}
	third := r.version(repository, "third", text)
	p.Eventually("the refusal is logged", func() bool { return strings.Contains(p.Log(), "the old one goes on") })
	runs("a", "Ready", second)
	p.Eventually("the refusal is told of the filter that goes on", func() bool {
		c := p.Chain("Service/default/a")
		said := c.Filters[0].Message
		return c.State == "Running" && strings.HasPrefix(said, "tag moved to "+third+": InvalidModule: ") && strings.HasSuffix(said, "; the old one goes on")
	})
	r.stop()
	time.Sleep(time.Second) // two intervals without a registry
	r.start()
	if got := stop(); len(got) != 1 || got[200] == 0 {
		t.Errorf("got %v; want 200 only", got)
	}
	for _, what := range []string{"filter ready", "the tag has moved"} {
		told := 0
		for line := range strings.Lines(p.Log()) {
			if strings.Contains(line, `"msg":"`+what+`"`) && strings.Contains(line, `"object":"Service/default/a"`) && strings.Contains(line, `"digest":"`+second+`"`) {
				told++
			}
		}
		if told != 1 {
			t.Errorf("%q was told %d times of one move", what, told)
		}
	}

	crashing := r.version(repository, "fourth", harness.Guest(t, "guests/crash"))
	runs("a", "Ready", crashing)
	stop = traffic(p.URL + "/a")
	p.Eventually("a goes back", func() bool {
		response, err := http.Get(p.URL + "/a")
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.Header.Get("X-From") == "registry"
	})
	if got := stop(); got[500] == 0 || got[200] == 0 || len(got) != 2 {
		t.Errorf("got %v; want 500 until it went back", got)
	}
	if !strings.Contains(p.Metrics(), `penstock_filter_rollbacks_total{filter="service/moving",owner="Service/default/a"} 1`) {
		t.Error("no roll-back was counted")
	}
	fifth := r.version(repository, "fifth", transform)
	runs("a", "Ready", fifth)
	runs("b", "Ready", fifth)
	runs("still", "Ready", first)
	state(t, p, "a", 200, "")
	state(t, p, "b", 200, "")
}

// TestAnImagePackedAgain: a folder of images is looked at all the time, whatever the
// interval of registries is.
func TestAnImagePackedAgain(t *testing.T) {
	t.Parallel()
	layout, transform := t.TempDir(), harness.BundledModule(t, "transform")
	pack := func(title, module string) (digest string) {
		t.Helper()
		manifest := filepath.Join(t.TempDir(), "plugin.json")
		if err := os.WriteFile(manifest, encode(object{"abi": "proxy-wasm", "title": title}), 0o600); err != nil {
			t.Fatal(err)
		}
		return harness.Pack(t, layout, "local", module, "--manifest", manifest)
	}
	upstream := harness.Upstream(t, harness.Echo)
	p := harness.Start(t, harness.Options{Images: []string{layout}, Files: map[string]string{
		"gateway.yaml": harness.GatewayFor(1),
		"a.yaml":       harness.Service("a", annotation("test.example/plugins/local:1"), upstream),
	}, Args: []string{"--tag-interval", "1h"}})
	runs := func(digest string) {
		t.Helper()
		p.Eventually(digest+" is live", func() bool {
			c := p.Chain("Service/default/a")
			return len(c.Filters) == 1 && c.Filters[0].State == "Ready" && c.Filters[0].Digest == digest
		})
	}
	runs(pack("first", transform)) // the proxy waits for it
	stop := traffic(p.URL + "/a")
	runs(pack("second", transform))
	text := filepath.Join(t.TempDir(), "text.wasm")
	if err := os.WriteFile(text, []byte("no module"), 0o600); err != nil {
		t.Fatal(err)
	}
	pack("third", text)
	p.Logged("the old one goes on")
	runs(pack("fourth", transform))
	if got := stop(); len(got) != 1 || got[200] == 0 {
		t.Errorf("got %v; want 200 only", got)
	}
}
