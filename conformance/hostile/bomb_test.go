package hostile

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/harness"
)

// bomb is a small module whose one function takes a compiler long: many locals
// that stay alive across many branches.
func bomb(locals, blocks int) []byte {
	section := func(id byte, body []byte) []byte { return append(append([]byte{id}, leb(len(body))...), body...) }
	code := append([]byte{1}, append(leb(locals), 0x7f)...)
	for i := range blocks {
		local := leb(i % locals)
		code = append(code, 0x02, 0x40, 0x20, 0, 0x0d, 0, 0x20)
		code = append(append(code, local...), 0x41, 1, 0x6a, 0x21)
		code = append(append(code, local...), 0x0b)
	}
	for i := range locals { // all are needed at the end
		code = append(append(append(code, 0x20), leb(i)...), 0x1a)
		code = append(append(code, 0x20), leb(i)...)
		code = append(append(append(code, 0x20, 0, 0x6a), 0x21), leb(0)...)
	}
	code = append(code, 0x0b)
	out := []byte("\x00asm\x01\x00\x00\x00")
	out = append(out, section(1, []byte{1, 0x60, 0, 0})...)
	out = append(out, section(3, []byte{1, 0})...)
	return append(out, section(10, append([]byte{1}, append(leb(len(code)), code...)...))...)
}

// TestCompileBomb: a module that takes minutes to compile ends with its own
// limit; until then its neighbours serve as ever. It takes more than a minute:
// make conformance runs it.
func TestCompileBomb(t *testing.T) {
	if os.Getenv("PENSTOCK_LONG") == "" {
		t.Skip("takes more than a minute: set PENSTOCK_LONG=1")
	}
	layout := t.TempDir()
	file := filepath.Join(t.TempDir(), "bomb.wasm")
	module := bomb(8000, 30000)
	if err := os.WriteFile(file, module, 0o600); err != nil {
		t.Fatal(err)
	}
	harness.Pack(t, layout, "bomb", file)
	upstream := harness.Upstream(t, harness.Echo)
	p := harness.Launch(t, harness.Options{Files: map[string]string{
		"gateway.yaml": harness.GatewayFor(1),
		"good.yaml":    harness.Service("good", "", upstream),
		"bomb.yaml":    harness.Service("bomb", "- image: test.example/plugins/bomb:1", upstream),
	}, Images: []string{layout}})
	start, slowest, n := time.Now(), time.Duration(0), 0
	p.Eventually("the neighbour serves", func() bool {
		r, err := http.Get(p.URL + "/good")
		if err != nil {
			return false
		}
		r.Body.Close()
		return r.StatusCode == 200
	})
	for time.Since(start) < 100*time.Second && p.Chain("Service/default/bomb").State != "Broken" {
		before := time.Now()
		r, err := http.Get(p.URL + "/good")
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		slowest = max(slowest, time.Since(before))
		if n++; r.StatusCode != 200 {
			t.Fatalf("the neighbour answers %d", r.StatusCode)
		}
		time.Sleep(50 * time.Millisecond)
	}
	c := p.Chain("Service/default/bomb")
	t.Logf("%d bytes: %s after %v; %d requests to the neighbour, slowest %v", len(module), c.Message, time.Since(start).Round(time.Second), n, slowest)
	if c.State != "Broken" || c.Reason != "InvalidModule" || !strings.Contains(c.Message, "not done after") && !strings.Contains(c.Message, "needs more than") {
		t.Errorf("got %+v; want the compiler's limit", c)
	}
}
