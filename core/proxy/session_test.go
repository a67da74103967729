package proxy_test

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/core/config"
)

// sessionBed has three endpoints behind two Services.
func sessionBed(t *testing.T, s *config.Session) (*bed, *config.Config) {
	b := newBed(t)
	r := rule("r", "/", "one")
	r.Session = s
	r.Backends = append(r.Backends, config.Backend{Weight: 1, Upstream: "two", Service: "ns/two"})
	c := newConfig(b.port, r)
	c.Gateways[0].Parameters.SessionKeys = [][]byte{[]byte(strings.Repeat("k", 32))}
	for _, name := range []string{"one", "other", "two"} {
		service(t, c, name, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(name)) })
	}
	c.Endpoints.Of("one").Endpoints = append(c.Endpoints.Of("one").Endpoints, c.Endpoints.Of("other").Endpoints...)
	if err := b.store.Apply(c); err != nil {
		t.Fatal(err)
	}
	return b, c
}

func cookieOf(r *http.Response) *http.Cookie {
	for _, c := range r.Cookies() {
		return c
	}
	return nil
}

func TestSessionByCookie(t *testing.T) {
	b, c := sessionBed(t, &config.Session{Name: "s", Path: "/", Permanent: true, Lifetime: time.Hour})
	seen := map[string]bool{}
	for range 40 { // that one of three is never chosen is a matter of 1 in 10 million
		r, first := b.do(t, "GET", "/", "", nil)
		seen[first] = true
		cookie := cookieOf(r)
		if cookie == nil || cookie.Name != "s" || cookie.Path != "/" || cookie.MaxAge != 3600 || !cookie.HttpOnly || cookie.Secure {
			t.Fatalf("got cookie %+v", cookie)
		}
		if raw, _ := base64.RawURLEncoding.DecodeString(cookie.Value); strings.Contains(string(raw), "127.0.0.1") || len(raw) != 33 {
			t.Errorf("the cookie tells an address, or has %d bytes", len(raw))
		}
		for range 6 {
			r, again := b.do(t, "GET", "/", "", http.Header{"Cookie": {"a=b; s=" + cookie.Value}})
			if again != first || cookieOf(r) != nil {
				t.Fatalf("got %s, %v; want %s and no new cookie", again, cookieOf(r), first)
			}
		}
	}
	if len(seen) != 3 {
		t.Errorf("new sessions are at %v; want all three", seen)
	}

	t.Run("a token that was changed begins a new session", func(t *testing.T) {
		r, _ := b.do(t, "GET", "/", "", nil)
		value := []byte(cookieOf(r).Value)
		for i := range value {
			forged := append([]byte(nil), value...)
			if forged[i]++; forged[i] > 'z' || forged[i] == 0x5b || forged[i] == 0x3a {
				continue
			}
			r, _ := b.do(t, "GET", "/", "", http.Header{"Cookie": {"s=" + string(forged)}})
			if cookieOf(r) == nil {
				t.Errorf("byte %d was changed, and the token counts", i)
			}
		}
	})
	t.Run("and so does one of an endpoint that is gone", func(t *testing.T) {
		var r *http.Response
		for body := ""; body != "other"; {
			r, body = b.do(t, "GET", "/", "", nil)
		}
		value := cookieOf(r).Value
		next := *c
		next.Endpoints = config.OverlayOf(map[string]*config.EndpointSet{"one": {Endpoints: c.Endpoints.Of("one").Endpoints[:1]}, "two": c.Endpoints.Of("two"), "other": c.Endpoints.Of("other")})
		if err := b.store.Apply(&next); err != nil {
			t.Fatal(err)
		}
		if r, body := b.do(t, "GET", "/", "", http.Header{"Cookie": {"s=" + value}}); r.StatusCode != 200 || body == "other" || cookieOf(r) == nil {
			t.Errorf("got %d from %s; want a new session", r.StatusCode, body)
		}
	})
}

func TestSessionByHeader(t *testing.T) {
	b, _ := sessionBed(t, &config.Session{Name: "X-Session", Header: true, Lifetime: time.Second})
	r, first := b.do(t, "GET", "/", "", nil)
	token := r.Header.Get("X-Session")
	for range 6 {
		r, again := b.do(t, "GET", "/", "", http.Header{"X-Session": {token}})
		if again != first || r.Header.Get("X-Session") != "" {
			t.Fatalf("got %s, %q; want %s and no new token", again, r.Header.Get("X-Session"), first)
		}
	}
	deadline := time.Now().Add(10 * time.Second)
	for { // until its time is over
		if r, _ := b.do(t, "GET", "/", "", http.Header{"X-Session": {token}}); r.Header.Get("X-Session") != "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("a session of one second lasts for ten")
		}
	}
}
