package httpwasm

import (
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/telemetry"
)

// watched is a filter whose last stream a test looks at.
type watched struct {
	*Filter
	s *stream
}

func (w *watched) Begin(x *exchange.Exchange, waker *filter.Waker) (filter.Stream, error) {
	s, err := w.Filter.Begin(x, waker)
	w.s = s.(*stream)
	return s, err
}

type quietClient struct{}

func (quietClient) Inform(*exchange.Exchange, int, *exchange.Header) error { return nil }
func (quietClient) Send(*exchange.Exchange) error                          { return nil }
func (quietClient) Watch(func()) func()                                    { return func() {} }

// budgeted runs exchanges through the filter, within a budget of bodies.
type budgeted struct {
	filter.Run
	f       *watched
	chain   *filter.Chain
	metrics *telemetry.Metrics
}

func (b *bed) budgeted(bytes int64) *budgeted {
	r := &budgeted{f: &watched{Filter: b.f}, metrics: telemetry.New()}
	r.chain = filter.New([]filter.Entry{{Filter: r.f, ID: "service/x", OnError: config.Reject, BodyBytes: b.f.config.Limits.BodyBytes,
		Bodies: filter.NewBudget(bytes, r.metrics), Failures: r.metrics.Counters("penstock_test_failures_total", "test", "name").With("x")}})
	return r
}

func (r *budgeted) request(x *exchange.Exchange) filter.Outcome {
	x.Client = quietClient{}
	r.Start(x)
	return r.Request(r.chain, x.Request.Path)
}

// counted returns the bytes that the budget counts.
func (r *budgeted) counted(tb testing.TB) int {
	tb.Helper()
	w := httptest.NewRecorder()
	r.metrics.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	_, text, _ := strings.Cut(w.Body.String(), "\npenstock_filter_body_held_bytes ")
	text, _, _ = strings.Cut(text, "\n")
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		tb.Fatal(err)
	}
	return int(n)
}

// TestABodyBeforeNextIsCounted: all that is in memory of it, before and after the
// next handler's turn.
func TestABodyBeforeNextIsCounted(t *testing.T) {
	text := strings.Repeat("x", 1000)
	tests := map[string]struct {
		features int
		steps    []op
		held     int
	}{
		"a body":                    {0, nil, 1000},
		"a body and trailers":       {trailers, []op{do("set_header_value", 3, "a", "1")}, 1004},
		"a body, the response read": {bufferResponse, nil, 1004},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := &guest{start: []op{do("enable_features", test.features)}, next: 1, request: append([]op{do("write_body", 1, text)}, test.steps...)}
			if test.features == bufferResponse {
				g.response = []op{do("read_body", 1, buffer, 5000)}
			}
			r := start(t, g, nil).budgeted(1004)
			for range 2 {
				x := newExchange()
				if out := r.request(x); out != filter.Passed || r.counted(t) != len(text) {
					t.Fatalf("got %v, %v, %d counted", out, r.Err(), r.counted(t))
				}
				respondWith(x, 200, "next")
				if out := r.Response(); out != filter.Passed {
					t.Fatalf("got %v, %v", out, r.Err())
				}
				s := r.f.s
				if n := len(s.request.kept) + len(s.request.data) + len(s.response.kept) + len(s.response.data) + len(s.answer.body); n != test.held || r.counted(t) != n {
					t.Errorf("%d bytes are held, %d of them counted; want %d", n, r.counted(t), test.held)
				}
				if got := content(t, x.Response.Body); got != text+"next" {
					t.Errorf("got %d bytes, %.10q...%q; want the guest's text, then the next handler's", len(got), got, got[len(got)-6:])
				}
				r.Done()
				if n := r.counted(t); n != 0 {
					t.Errorf("%d bytes are counted afterwards", n)
				}
			}
		})
	}
}
