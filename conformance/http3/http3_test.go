package http3

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"penstock.dev/penstock/conformance/harness"
)

// do sends a request and returns status and content.
func do(t *testing.T, c *http3.ClientConn, method, url string, body io.Reader, change func(*http.Request)) (*http.Response, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(r)
	}
	resp, err := c.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, content
}

func TestRequests(t *testing.T) {
	b := start(t, harness.Echo)
	c, _ := b.client("a.example")
	resp, _ := do(t, c, http.MethodGet, "https://a.example/a?x=y", nil, func(r *http.Request) {
		r.Header.Set("X-Own", "v")
		r.Header.Set("X-Forwarded-For", "192.0.2.1")
	})
	got := resp.Header.Get
	if resp.StatusCode != http.StatusOK || got("X-Got-Path") != "/a?x=y" || got("X-Got-X-Own") != "v" || got("X-Got-X-Forwarded-Proto") != "https" ||
		got("X-Got-X-Forwarded-For") != "127.0.0.1" || got("X-Got-X-Forwarded-Port") != fmt.Sprint(b.Port) || !strings.HasPrefix(got("X-Got-Via"), "3.0 ") || got("Alt-Svc") != "" {
		t.Errorf("got %d %v", resp.StatusCode, resp.Header)
	}
	// RFC 9110, 15.5.20: 421; Gateway API: 404 if no listener has the hostname.
	for url, want := range map[string]int{"https://b.example/a": 421, "https://nobody.example/a": 404, "https://a.example/a": 200} {
		if resp, _ := do(t, c, http.MethodGet, url, nil, nil); resp.StatusCode != want {
			t.Errorf("%s: got %d; want %d", url, resp.StatusCode, want)
		}
	}
	if _, err := b.dial("nobody.example"); err == nil {
		t.Error("a server name that no listener has was served")
	}
	b.Eventually("connections are counted", func() bool {
		m := b.Metrics()
		return strings.Contains(m, `penstock_listener_accepted_total{socket="`+b.address()+`/udp"} 1`) && strings.Contains(m, `penstock_tls_handshake_failures_total{reason="name",socket="`+b.address()+`/udp"} 1`)
	})
}

// TestBodies: contents come through both ways as they are, many at a time.
func TestBodies(t *testing.T) {
	b := start(t, harness.Echo)
	c, _ := b.client("a.example")
	var wg sync.WaitGroup
	for _, size := range []int{0, 1, 16 << 10, 8 << 20} {
		for _, known := range []bool{true, false} {
			wg.Go(func() {
				sent := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
				var body io.Reader = bytes.NewReader(sent)
				if !known {
					body = io.MultiReader(body)
				}
				resp, got := do(t, c, http.MethodPost, "https://a.example/a", body, nil)
				if resp.StatusCode != http.StatusOK || sha256.Sum256(got) != sha256.Sum256(sent) {
					t.Errorf("%d bytes, known %v: got %d, %d bytes", size, known, resp.StatusCode, len(got))
				}
			})
		}
	}
	wg.Wait()
}

func TestTrailers(t *testing.T) {
	b := start(t, func(w http.ResponseWriter, r *http.Request) {
		content, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Trailer", "X-End")
		fmt.Fprintf(w, "%s %s", content, r.Trailer.Get("X-Sum"))
		w.(http.Flusher).Flush()
		w.Header().Set("X-End", "of content")
	})
	c, _ := b.client("a.example")
	resp, content := do(t, c, http.MethodPost, "https://a.example/a", io.MultiReader(strings.NewReader("abc")), func(r *http.Request) {
		r.Trailer = http.Header{"X-Sum": {"7"}}
		r.Header.Set("Te", "trailers")
	})
	if string(content) != "abc 7" || resp.Trailer.Get("X-End") != "of content" {
		t.Errorf("got %q, trailer %v", content, resp.Trailer)
	}
}

// TestCancel: a client that gives up ends the request at the upstream, and nothing
// else.
func TestCancel(t *testing.T) {
	begun, ended := make(chan struct{}), make(chan struct{}, 1)
	b := start(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/a/slow" {
			harness.Echo(w, r)
			return
		}
		begun <- struct{}{}
		<-r.Context().Done()
		ended <- struct{}{}
	})
	c, _ := b.client("a.example")
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-begun
		cancel()
	}()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://a.example/a/slow", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.RoundTrip(r); err == nil {
		t.Error("it was answered")
	}
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Error("the upstream was not told")
	}
	if resp, _ := do(t, c, http.MethodGet, "https://a.example/a", nil, nil); resp.StatusCode != http.StatusOK {
		t.Errorf("then got %d", resp.StatusCode)
	}
}

// TestAltSvc: responses over TCP tell of HTTP/3 (RFC 7838), unless it is off.
func TestAltSvc(t *testing.T) {
	b := start(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/a/own" {
			w.Header().Set("Alt-Svc", "clear")
		}
	})
	ask := func(path string, http2 bool) string {
		t.Helper()
		resp, err := b.tcp("a.example", http2).Get("https://a.example" + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return strings.Join(resp.Header.Values("Alt-Svc"), " | ")
	}
	want := fmt.Sprintf(`h3=":%d"; ma=86400`, b.Port)
	for _, http2 := range []bool{false, true} {
		if got := ask("/a", http2); got != want {
			t.Errorf("HTTP/2 %v: got %q; want %q", http2, got, want)
		}
		if got := ask("/a/own", http2); got != "clear" {
			t.Errorf("HTTP/2 %v, one of its own: got %q", http2, got)
		}
	}
	c, qc := b.client("a.example")
	do(t, c, http.MethodGet, "https://a.example/a", nil, nil)
	b.Write("parameters.yaml", off)
	b.Write("gateway.yaml", strings.Replace(gateway, "gatewayClassName: penstock\n", "gatewayClassName: penstock\n  infrastructure: {parametersRef: {group: penstock.dev, kind: ProxyParameters, name: edge}}\n", 1))
	b.Eventually("it is off", func() bool { return ask("/a", true) == "" })
	var closed *quic.ApplicationError
	<-qc.Context().Done()
	if err := context.Cause(qc.Context()); !errors.As(err, &closed) || closed.ErrorCode != 0x100 {
		t.Errorf("the connection ended with %v", err)
	}
	b.Write("gateway.yaml", gateway)
	b.Eventually("it is on again", func() bool { return ask("/a", true) == want })
	c, _ = b.client("a.example")
	do(t, c, http.MethodGet, "https://a.example/a", nil, nil)
}

// TestRenewal: a changed certificate serves from the next handshake on, and
// connections live on.
func TestRenewal(t *testing.T) {
	b := start(t, harness.Echo)
	c, old := b.client("a.example")
	do(t, c, http.MethodGet, "https://a.example/a", nil, nil)
	b.renew()
	do(t, c, http.MethodGet, "https://a.example/a", nil, nil)
	if old.Context().Err() != nil {
		t.Error("the old connection has ended")
	}
}

// TestDrain: after SIGTERM what is under way finishes, and connections close
// without an error (RFC 9114, 5.2).
func TestDrain(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	b := start(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/a/slow" {
			begun <- struct{}{}
			<-release
		}
		harness.Echo(w, r)
	})
	c, qc := b.client("a.example")
	sent := bytes.Repeat([]byte("x"), 1<<20)
	answered := make(chan error, 1)
	go func() {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://a.example/a/slow", bytes.NewReader(sent))
		if err != nil {
			answered <- err
			return
		}
		resp, err := c.RoundTrip(r)
		if err != nil {
			answered <- err
			return
		}
		got, err := io.ReadAll(resp.Body)
		if err == nil && !bytes.Equal(got, sent) {
			err = fmt.Errorf("%d bytes", len(got))
		}
		answered <- err
	}()
	<-begun
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		b.Stop()
	}()
	b.Eventually("no connections are accepted any more", func() bool {
		nc, err := b.tcp("a.example", false).Get("https://a.example/a")
		if err == nil {
			nc.Body.Close()
		}
		return err != nil
	})
	close(release)
	if err := <-answered; err != nil {
		t.Errorf("the request under way: %v", err)
	}
	var closed *quic.ApplicationError
	<-qc.Context().Done()
	if err := context.Cause(qc.Context()); !errors.As(err, &closed) || closed.ErrorCode != 0x100 {
		t.Errorf("the connection ended with %v", err)
	}
	<-stopped
}
