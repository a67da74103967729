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

// TestLinesNameTheirExchange: what a guest logs carries the number that the
// access log has for the exchange, the filter and its digest.
func TestLinesNameTheirExchange(t *testing.T) {
	layout := t.TempDir()
	harness.Pack(t, layout, "seen", harness.Guest(t, "guests/seen"))
	upstream := harness.Upstream(t, harness.Echo)
	p := harness.Start(t, harness.Options{
		Files: map[string]string{
			"gateway.yaml": harness.GatewayFor(1),
			"shop.yaml":    harness.Service("shop", "- image: test.example/plugins/seen:1\n  config: {}\n  limits: {cpuTime: 200ms, cpuTimeExchange: 1s}", upstream),
		},
		Images: []string{layout},
	})
	digest := p.Chain("Service/default/shop").Filters[0].Digest
	const each = 10
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range each {
				ask(t, p.URL+"/shop/log", "log")
				ask(t, p.URL+"/shop/silent", "")
			}
		})
	}
	group.Wait()
	lines := func() (asked map[uint64]bool, said map[string]map[uint64]int) {
		asked, said = map[uint64]bool{}, map[string]map[uint64]int{}
		for text := range strings.Lines(p.Log()) {
			var l line
			if json.Unmarshal([]byte(text), &l) != nil {
				continue
			}
			switch {
			case l.Path == "/shop/log":
				asked[l.Exchange] = true
			case strings.HasPrefix(l.Msg, "a line "):
				if said[l.Msg] == nil {
					said[l.Msg] = map[uint64]int{}
				}
				said[l.Msg][l.Exchange]++
				if l.Plugin != "service/seen" || l.Digest != digest || l.Object != "Service/default/shop" {
					t.Fatalf("got %+v; want the filter and %s", l, digest)
				}
			}
		}
		return asked, said
	}
	p.Eventually("the access log is written", func() bool { asked, _ := lines(); return len(asked) == 4*each })
	asked, said := lines()
	for _, msg := range []string{"a line by the host", "a line of its own"} {
		if len(said[msg]) != 4*each {
			t.Errorf("%q: of %d exchanges; want %d", msg, len(said[msg]), 4*each)
		}
		for exchange, n := range said[msg] {
			if !asked[exchange] || n != 1 || exchange == 0 {
				t.Errorf("%q: exchange %d, %d times: the access log has no such request, or the line is told twice", msg, exchange, n)
			}
		}
	}
}
