package proxy_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"penstock.dev/penstock/core/config"
)

// plain returns the protocols of a server or a client without TLS.
func plain(http2 bool) *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(!http2)
	p.SetUnencryptedHTTP2(http2)
	return p
}

// slow reads as "a", then, after a pause, "b".
type slow struct {
	pause time.Duration
	n     int
}

func (s *slow) Read(p []byte) (int, error) {
	switch s.n++; s.n {
	case 1:
		return copy(p, "a"), nil
	case 2:
		time.Sleep(s.pause)
		return copy(p, "b"), nil
	}
	return 0, io.EOF
}

// TestSilentStreams: gRPC and server-sent events may be silent for longer than
// timeouts.idle, in both directions, and nothing else.
func TestSilentStreams(t *testing.T) {
	const idle, pause = 200 * time.Millisecond, 1200 * time.Millisecond
	for _, up := range []string{"one", "two"} {
		for name, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
			t.Run(name+" to "+up, func(t *testing.T) {
				t.Parallel()
				b := newBed(t)
				c := newConfig(b.port, rule("u", "/", up))
				c.Gateways[0].Parameters.IdleTimeout = idle
				s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					got, err := io.ReadAll(r.Body)
					if err != nil {
						return
					}
					w.Header().Set("Content-Type", r.Header.Get("X-Answer"))
					w.Write(got)
					w.(http.Flusher).Flush()
					time.Sleep(pause)
					w.Write([]byte("c"))
				}))
				s.Config.Protocols = plain(up == "two")
				s.Start()
				t.Cleanup(s.Close)
				u := &config.Upstream{Name: up, Protocol: "http", Parameters: c.Gateways[0].Parameters}
				if up == "two" {
					u.Protocol = config.ProtocolH2C
				}
				c.Upstreams[up] = u
				c.Endpoints = c.Endpoints.With(map[string]*config.EndpointSet{up: &config.EndpointSet{Endpoints: []config.Endpoint{{Address: netip.MustParseAddrPort(s.Listener.Addr().String()), Ready: true, Serving: true}}}})
				if err := b.store.Apply(c); err != nil {
					t.Fatal(err)
				}
				b.client.Transport = &http.Transport{Protocols: plain(http2)}
				for _, tt := range []struct {
					request, response string
					pause             time.Duration // of the request's body
					whole             bool
				}{
					{"application/grpc+proto", "application/grpc", pause, true},
					{"text/plain", "Text/Event-Stream; charset=utf-8", 0, true},
					{"text/plain", "text/event-streams", 0, false},
					{"text/plain", "text/event-stream", pause, false},
				} {
					r, _ := http.NewRequest("POST", b.url+"/", &slow{pause: tt.pause})
					r.Header.Set("Content-Type", tt.request)
					r.Header.Set("X-Answer", tt.response)
					got := ""
					a, err := b.client.Do(r)
					if err == nil {
						var text []byte
						text, err = io.ReadAll(a.Body)
						a.Body.Close()
						got = string(text)
					}
					if whole := err == nil && got == "abc"; whole != tt.whole {
						t.Errorf("%+v: got %q, %v", tt, got, err)
					}
				}
			})
		}
	}
}
