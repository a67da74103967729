package proxy_test

import (
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock/core/config"
)

// TestGRPCIsAnsweredInItsForm: what the proxy refuses, a client of gRPC understands.
func TestGRPCIsAnsweredInItsForm(t *testing.T) {
	b := newBed(t)
	c := newConfig(b.port, rule("slow", "/slow", "slow"), rule("gone", "/gone", "gone"))
	service(t, c, "slow", func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // the server looks for the client's end only then
		<-r.Context().Done()
	})
	c.Upstreams["gone"] = &config.Upstream{Name: "gone", Protocol: "http", Parameters: config.DefaultProxyParameters()}
	c.Endpoints = c.Endpoints.With(map[string]*config.EndpointSet{"gone": &config.EndpointSet{}})
	if err := b.store.Apply(c); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ path, contentType, wantStatus, wantMessage string }{
		{"/none", "application/grpc+proto", "12", "404 Not Found"},
		{"/gone", "application/grpc", "14", "503 Service Unavailable"},
		{"/slow", "application/grpc", "4", "504 Gateway Timeout"},
		{"/none", "application/grpc-web+proto", "12", "404 Not Found"},
	} {
		began := time.Now()
		r, body := b.do(t, "POST", tt.path, "\x00\x00\x00\x00\x00", http.Header{"Content-Type": {tt.contentType}, "Te": {"trailers"}, "Grpc-Timeout": {"50m"}})
		if r.StatusCode != 200 || r.Header.Get("Grpc-Status") != tt.wantStatus || r.Header.Get("Grpc-Message") != tt.wantMessage || body != "" {
			t.Errorf("%s: got %d %v %q", tt.path, r.StatusCode, r.Header, body)
		}
		if time.Since(began) > 20*time.Second {
			t.Errorf("%s: the client's deadline was not heeded", tt.path)
		}
	}
	if r, body := b.do(t, "POST", "/none", "x", http.Header{"Content-Type": {"text/plain"}}); r.StatusCode != 404 || body != "404 Not Found\n" {
		t.Errorf("another client: got %d %q", r.StatusCode, body)
	}
}

// TestGRPCWebIsAnsweredInItsForm: also when it was translated before the upstream
// could not be reached.
func TestGRPCWebIsAnsweredInItsForm(t *testing.T) {
	b := newBed(t)
	c := newConfig(b.port, rule("gone", "/gone", "gone"))
	c.Upstreams["gone"] = &config.Upstream{Name: "gone", Protocol: config.ProtocolH2C, Parameters: config.DefaultProxyParameters()}
	c.Endpoints = c.Endpoints.With(map[string]*config.EndpointSet{"gone": &config.EndpointSet{}})
	if err := b.store.Apply(c); err != nil {
		t.Fatal(err)
	}
	for _, form := range []string{"application/grpc-web+json", "application/grpc-web-text", "application/grpc+json"} {
		r, _ := b.do(t, "POST", "/gone", "AAAAAAA=", http.Header{"Content-Type": {form}})
		if got := r.Header.Get("Content-Type"); r.StatusCode != 200 || r.Header.Get("Grpc-Status") != "14" || got != form {
			t.Errorf("%s: got %d %s %v", form, r.StatusCode, got, r.Header)
		}
	}
}

// called answers calls: with one message, and then as the path says.
func called(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/grpc")
	_, _ = io.WriteString(w, "\x00\x00\x00\x00\x01m")
	if r.URL.Path == "/web/half" {
		_, _ = io.WriteString(w, "\x00\x00\x00\x00")
	}
	_ = http.NewResponseController(w).Flush()
	if r.URL.Path != "/web/whole" {
		time.Sleep(60 * time.Millisecond) // the client's deadline
		panic(http.ErrAbortHandler)
	}
	w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
}

// TestGRPCWebEnds: with the frame of the upstream's trailers, with that of a deadline,
// or not at all; and a connection that ends with it touches no other exchange.
func TestGRPCWebEnds(t *testing.T) {
	b := newBed(t)
	c := newConfig(b.port, rule("web", "/web", "web"))
	up := httptest.NewUnstartedServer(http.HandlerFunc(called))
	up.Config.Protocols = &http.Protocols{}
	up.Config.Protocols.SetUnencryptedHTTP2(true)
	up.Start()
	t.Cleanup(up.Close)
	c.Upstreams["web"] = &config.Upstream{Name: "web", Protocol: config.ProtocolH2C, Parameters: config.DefaultProxyParameters()}
	c.Endpoints = c.Endpoints.With(map[string]*config.EndpointSet{"web": &config.EndpointSet{Endpoints: []config.Endpoint{{Address: netip.MustParseAddrPort(up.Listener.Addr().String()), Ready: true, Serving: true}}}})
	if err := b.store.Apply(c); err != nil {
		t.Fatal(err)
	}
	const message = "\x00\x00\x00\x00\x01m"
	frame := func(status string) string { return message + "\x80\x00\x00\x00\x10grpc-status: " + status + "\r\n" }
	tests := map[string]struct {
		path, timeout, want string
		cut                 bool
	}{
		"whole":                    {"/web/whole", "", frame("0"), false},
		"whole, in time":           {"/web/whole", "10S", frame("0"), false},
		"cut":                      {"/web/cut", "", message, true},
		"cut before the deadline":  {"/web/cut", "10S", message, true},
		"cut at the deadline":      {"/web/cut", "50m", frame("4"), false},
		"cut in the middle of one": {"/web/half", "50m", message + "\x00\x00\x00\x00", true},
	}
	for name, tt := range tests {
		for _, text := range []bool{false, true} {
			t.Run(name+map[bool]string{true: ", text"}[text], func(t *testing.T) {
				var group sync.WaitGroup
				for range 8 {
					group.Go(func() {
						request, want, form := "\x00\x00\x00\x00\x00", tt.want, "application/grpc-web"
						if text {
							request, form = base64.StdEncoding.EncodeToString([]byte(request)), form+"-text"
						}
						r, err := http.NewRequest("POST", b.url+tt.path, strings.NewReader(request))
						if err != nil {
							t.Error(err)
							return
						}
						r.Close = true
						r.Header.Set("Content-Type", form)
						if tt.timeout != "" {
							r.Header.Set("Grpc-Timeout", tt.timeout)
						}
						response, err := b.client.Do(r)
						if err != nil {
							t.Error(err)
							return
						}
						defer response.Body.Close()
						body, err := io.ReadAll(response.Body)
						got := string(body)
						if text {
							got = unbase64(got)
						}
						if got != want || (err != nil) != tt.cut {
							t.Errorf("got %q, %v; want %q, cut: %v", got, err, want, tt.cut)
						}
					})
				}
				group.Wait()
			})
		}
	}
	w := httptest.NewRecorder()
	b.metrics.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if text := w.Body.String(); !strings.Contains(text, "penstock_listener_panics_total 0\n") {
		t.Error("there were panics")
	}
}

// unbase64 reads parts that are each padded.
func unbase64(text string) string {
	var b strings.Builder
	for ; len(text) >= 4; text = text[4:] {
		part, _ := base64.StdEncoding.DecodeString(text[:4])
		b.Write(part)
	}
	return b.String()
}
