package proxy_test

import (
	"io"
	"net/http"
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
	c.Endpoints["gone"] = &config.EndpointSet{}
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
	c.Endpoints["gone"] = &config.EndpointSet{}
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
