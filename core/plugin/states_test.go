package plugin

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// series returns the lines of /metrics that name the filter's own families.
func (b *bed) series() string {
	w := httptest.NewRecorder()
	b.o.Metrics.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	var all []string
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, "penstock_filter_") {
			all = append(all, strings.TrimSpace(line))
		}
	}
	return strings.Join(all, "\n")
}

// TestStates: a filter has one series, of the state that it is in; two while it
// is replaced; none once no object has it.
func TestStates(t *testing.T) {
	b := newBed(t)
	has := func(want ...string) {
		t.Helper()
		got := b.series()
		for _, state := range []string{"Pulling", "Compiling", "Ready", "Failed", "Quarantined", "RolledBack"} {
			line := `penstock_filter_state{filter="service/x",owner="/",state="` + state + `"} `
			wanted := ""
			for _, w := range want {
				if name, n, _ := strings.Cut(w, " "); name == state {
					wanted = n
				}
			}
			if wanted == "" && strings.Contains(got, line) || wanted != "" && !strings.Contains(got, line+wanted) {
				t.Errorf("%s: want %q of\n%s", state, wanted, got)
			}
		}
	}
	first := b.Acquire(spec())
	b.settle(t, first)
	has("Ready 1")
	if first.Counts() != nil {
		t.Error("a runtime that does not count has numbers")
	}
	b.Manager.quarantine(first)
	has("Quarantined 1")
	second := spec()
	second.Hash = "other"
	b.abi.err = &Fault{"InvalidConfig", errors.New("no")}
	broken := b.Acquire(second)
	b.settle(t, broken)
	has("Quarantined 1", "Failed 1")
	first.RollBack("what ran before")
	has("RolledBack 1", "Failed 1")
	broken.Release()
	first.Release()
	for end := time.Now().Add(10 * time.Second); b.series() != ""; time.Sleep(5 * time.Millisecond) { // its drain has no event
		if time.Now().After(end) {
			t.Fatalf("series are left:\n%s", b.series())
		}
	}
	b.set(first, State{Phase: Ready}) // a late word of somebody who still had it
	has()
	b.abi.err = nil
	again := b.Acquire(spec())
	defer again.Release()
	b.settle(t, again)
	has("Ready 1")
}
