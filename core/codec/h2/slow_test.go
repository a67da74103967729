package h2

import (
	"net/http"
	"testing"
	"time"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/codectest"
)

func slowServer(t *testing.T, rate int, h func(*exchange.Exchange)) (client *http.Client, url string) {
	t.Helper()
	before := slowGrace
	slowGrace = 200 * time.Millisecond
	t.Cleanup(func() { slowGrace = before }) // when the server has ended
	p := params()
	p.MinBytesPerSecond = rate
	p.IdleTimeout = 30 * time.Second
	ts := newTestServer(t, p, h)
	return ts.client(t), "http://a.example/"
}

func TestASlowRequest(t *testing.T) { codectest.SlowRequest(t, slowServer) }
func TestASlowReader(t *testing.T)  { codectest.SlowReader(t, slowServer) }
