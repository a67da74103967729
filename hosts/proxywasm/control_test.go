package proxywasm

import (
	"net/http/httptest"
	"strings"
	"testing"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/telemetry"
)

// TestALocalResponseCountsAsHeld: its body and fields are in the budget until the
// exchange ends; without room it is 503, whatever onError says.
func TestALocalResponseCountsAsHeld(t *testing.T) {
	body := strings.Repeat("x", 400)
	answer := `send_local_response 403 "" "` + body + `" {x-long=` + strings.Repeat("y", 594) + `;te=not-sent} -1`
	at := map[string][]string{
		"in a callback":  {"request_headers: " + answer},
		"while it waits": {"configure: set_tick_period_milliseconds 10", "tick: set_effective_context 2; " + answer, "request_headers: return 1"},
	}
	for name, lines := range at {
		for room, want := range map[int64]int{1000: 403, 999: 503} {
			t.Run(name, func(t *testing.T) {
				s, m := script(t, lines...), telemetry.New()
				e := s.exchange(config.Skip)
				e.chain = filter.New([]filter.Entry{{Filter: s.f, ID: "service/script", OnError: config.Skip, Tenant: "ns",
					Bodies: filter.NewBudget(4*room, m), Failures: m.Counters("penstock_test_failures_total", "test", "name").With("x")}})
				held := func(want string) {
					t.Helper()
					w := httptest.NewRecorder()
					m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
					_, got, _ := strings.Cut(w.Body.String(), "\npenstock_filter_body_held_bytes ")
					if got, _, _ = strings.Cut(got, "\n"); got != want {
						t.Errorf("%s bytes are counted; want %s", got, want)
					}
				}
				out := e.request("")
				if want == 503 {
					if err := e.Err(); out != filter.Failed || err == nil || err.Status != 503 || err.Reason != "body-budget" {
						t.Errorf("got %v, %v; want 503", out, err)
					}
				} else if held("1000"); out != filter.Answered || e.x.Response.Status != want || e.read(t, e.x.Response.Body) != body || e.x.Response.Header.Count("x-long") != 1 {
					t.Errorf("got %v, %d, %v; want %d, the body and the field", out, e.x.Response.Status, e.Err(), want)
				}
				e.Done()
				held("0")
			})
		}
	}
}
