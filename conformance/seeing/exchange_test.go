package seeing

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"penstock.dev/penstock/conformance/harness"
)

// line is what the tests read of a line of the process.
type line struct {
	Exchange                          uint64
	Path, Msg, Plugin, Digest, Object string
}

func linesOf(p *harness.Proxy) []line {
	var all []line
	for text := range strings.Lines(p.Log()) {
		var l line
		if json.Unmarshal([]byte(text), &l) == nil {
			all = append(all, l)
		}
	}
	return all
}

// TestLinesNameTheirExchange: what a guest logs carries the number that the
// access log has for the exchange, the filter and its digest.
func TestLinesNameTheirExchange(t *testing.T) {
	layout := t.TempDir()
	harness.Pack(t, layout, "seen", harness.Guest(t, "guests/seen"))
	harness.Pack(t, layout, "many", harness.Guest(t, "../httpwasm/guests/many"))
	upstream := harness.Upstream(t, harness.Echo)
	const limits = "\n  limits: {cpuTime: 200ms, cpuTimeExchange: 1s}"
	p := harness.Start(t, harness.Options{
		Files: map[string]string{
			"gateway.yaml": harness.GatewayFor(1),
			"seen.yaml":    harness.Service("seen", "- image: test.example/plugins/seen:1\n  config: {}"+limits, upstream),
			"many.yaml":    harness.Service("many", "- image: test.example/plugins/many:1\n  config: x"+limits, upstream),
		},
		Images: []string{layout},
	})
	tests := map[string]struct {
		do    string
		times int // by each of two clients
		lines []string
	}{
		"seen": {"log", 20, []string{"a line by the host", "a line of its own"}},
		"many": {"trap", 2, []string{"panic: a secret that no client may see"}}, // http-wasm, to its standard error
	}
	var group sync.WaitGroup
	for name, test := range tests {
		for range 2 {
			group.Go(func() {
				for range test.times {
					ask(t, p.URL+"/"+name+"/"+test.do, test.do)
					p.Eventually(name+" runs again", func() bool { return ask(t, p.URL+"/"+name+"/silent", "").StatusCode == 200 })
				}
			})
		}
	}
	group.Wait()
	for name, test := range tests {
		asked := map[uint64]bool{}
		p.Eventually("the access log is written", func() bool {
			for _, l := range linesOf(p) {
				if l.Path == "/"+name+"/"+test.do {
					asked[l.Exchange] = true
				}
			}
			return len(asked) == 2*test.times
		})
		target := "Service/default/" + name
		digest := p.Chain(target).Filters[0].Digest
		for _, msg := range test.lines {
			said := map[uint64]int{}
			for _, l := range linesOf(p) {
				if l.Msg != msg {
					continue
				}
				if said[l.Exchange]++; l.Plugin != "service/"+name || l.Digest != digest || l.Object != target {
					t.Fatalf("got %+v; want the filter and %s", l, digest)
				}
				if !asked[l.Exchange] || said[l.Exchange] > 1 {
					t.Errorf("%q: exchange %d: the access log has no such request, or the line is told twice", msg, l.Exchange)
				}
			}
			if len(said) == 0 || name == "seen" && len(said) != len(asked) {
				t.Errorf("%q: of %d exchanges; want %d", msg, len(said), len(asked))
			}
		}
	}
}
