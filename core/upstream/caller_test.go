package upstream

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/telemetry"
)

func TestSplitUpstream(t *testing.T) {
	tests := map[string]struct {
		name string
		port uint16
	}{
		"outbound|8080||auth.ns.svc.cluster.local": {"auth.ns.svc.cluster.local", 8080},
		"outbound|80|v1|auth.ns.svc.cluster.local": {"auth.ns.svc.cluster.local", 80},
		"outbound|443||api.example.com.dns":        {"api.example.com", 443},
		"outbound|80||fixed.static":                {"fixed", 80},
		"Auth:9000":                                {"auth", 9000},
		"auth":                                     {"auth", 80},
		"192.0.2.1:81":                             {"192.0.2.1", 81},
		"outbound|80|auth":                         {},
		"outbound|x||auth":                         {},
		"auth:0":                                   {},
		"auth:65536":                               {},
		"a/b":                                      {},
		"":                                         {},
		"..":                                       {},
		"[::1]:80":                                 {},
	}
	for text, want := range tests {
		name, port, ok := splitUpstream(text, false)
		if ok != (want.name != "") || ok && (name != want.name || port != want.port) {
			t.Errorf("%q: got %q, %d, %v; want %q, %d", text, name, port, ok, want.name, want.port)
		}
	}
}

// newCaller returns a caller whose set has the Service ns/auth:80 at addr, and
// whose names resolve to the given address.
func newTestCaller(t *testing.T, addr netip.AddrPort, resolves string) *Caller {
	t.Helper()
	p := config.DefaultProxyParameters()
	s := New(zap.NewNop(), telemetry.New(), NetDialer{})
	t.Cleanup(s.Close)
	upstreams, endpoints := map[string]*config.Upstream{}, map[string]*config.EndpointSet{}
	for _, name := range []string{"ns/auth:80", "other/auth:80"} {
		upstreams[name] = &config.Upstream{Name: name, Protocol: "http", Parameters: p}
		endpoints[name] = endpointSet(addr)
	}
	s.Apply(upstreams, config.OverlayOf(endpoints))
	c := NewCaller(s, func(context.Context, string) ([]netip.Addr, error) {
		if resolves == "" {
			return nil, errors.New("no such name")
		}
		return []netip.Addr{netip.MustParseAddr(resolves)}, nil
	}, p)
	t.Cleanup(c.Close)
	return c
}

type told struct {
	a   *Answer
	err error
}

func (c *Caller) begin(k *Call) (chan told, func(), error) {
	got := make(chan told, 2)
	cancel, err := c.Call(k, func(a *Answer, err error) { got <- told{a, err} })
	return got, cancel, err
}

func callOf(upstream string) *Call {
	return &Call{Namespace: "ns", Upstream: upstream, Method: []byte("POST"), Authority: []byte("auth"), Path: []byte("/check"), Body: []byte("hello")}
}

func TestCallReachesWhatItMay(t *testing.T) {
	o := newOrigin(t, func(_ int, c *originConn) {
		for c.head() != "" {
			c.r.Discard(5)
			c.say("HTTP/1.1 201 Created\r\nX-A: b\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	listed := []config.Egress{{Hostname: "auth.other.svc.cluster.local", Ports: []uint16{80}}, {Hostname: "*.example.com"}}
	tests := map[string]struct {
		upstream, resolves string
		egress             []config.Egress
		refused            error
		fails              error
	}{
		"a Service of its namespace":       {"outbound|80||auth.ns.svc.cluster.local", "", nil, nil, nil},
		"by its bare name":                 {"auth:80", "", nil, nil, nil},
		"another port":                     {"auth:81", "", nil, ErrUnknown, nil},
		"another namespace":                {"auth.other:80", "", nil, ErrForbidden, nil},
		"another namespace that is listed": {"outbound|80||auth.other.svc.cluster.local", "", listed, nil, nil},
		"a hostname":                       {"api.example.com:80", "192.0.2.1", nil, ErrUnknown, nil},
		"a listed hostname on loopback":    {"api.example.com:80", "127.0.0.1", listed, nil, ErrNotAllowed},
		"a mapped loopback address":        {"api.example.com:80", "::ffff:127.0.0.1", listed, nil, ErrNotAllowed},
		"a link-local address":             {"api.example.com:80", "169.254.169.254", listed, nil, ErrNotAllowed},
		"nonsense":                         {"a b", "", nil, ErrUnknown, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := newTestCaller(t, o.addr, test.resolves)
			k := callOf(test.upstream)
			k.Egress = test.egress
			got, _, err := c.begin(k)
			if !errors.Is(err, test.refused) || err != nil {
				if test.refused == nil || !errors.Is(err, test.refused) {
					t.Errorf("got %v; want %v", err, test.refused)
				}
				return
			}
			r := <-got
			if test.fails != nil {
				if !errors.Is(r.err, test.fails) {
					t.Errorf("got %v; want %v", r.err, test.fails)
				}
				return
			}
			if r.err != nil || r.a.Status != 201 || string(r.a.Body) != "ok" {
				t.Fatalf("got %+v, %v; want 201 ok", r.a, r.err)
			}
			if v, _ := r.a.Header.Get("x-a"); string(v) != "b" {
				t.Errorf("X-A: got %q; want b", v)
			}
		})
	}
}

// TestARedirectIsAnAnswer: where an upstream sends a plugin is the plugin's to judge.
func TestARedirectIsAnAnswer(t *testing.T) {
	elsewhere := newOrigin(t, func(_ int, c *originConn) { c.head() })
	o := newOrigin(t, func(_ int, c *originConn) {
		for c.head() != "" {
			c.r.Discard(5)
			c.say("HTTP/1.1 307 Temporary Redirect\r\nLocation: http://" + elsewhere.addr.String() + "/\r\nContent-Length: 0\r\n\r\n")
		}
	})
	c := newTestCaller(t, o.addr, "")
	got, _, err := c.begin(callOf("auth:80"))
	if err != nil {
		t.Fatal(err)
	}
	if r := <-got; r.err != nil || r.a.Status != 307 {
		t.Errorf("got %+v, %v; want the 307 itself", r.a, r.err)
	}
	if n := elsewhere.accepted(); n != 0 || o.accepted() != 1 {
		t.Errorf("%d connections to where it pointed, %d to the upstream; want 0 and 1", n, o.accepted())
	}
}

func TestCallEnds(t *testing.T) {
	release := make(chan struct{})
	o := newOrigin(t, func(_ int, c *originConn) {
		c.head()
		<-release
	})
	slow := newOrigin(t, func(_ int, c *originConn) {
		c.head()
		c.say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
		<-release
	})
	t.Cleanup(func() { close(release) })
	for name, at := range map[string]*origin{"silent": o, "stops within the body": slow} {
		t.Run(name, func(t *testing.T) {
			c := newTestCaller(t, at.addr, "")
			k := callOf("auth:80")
			k.Timeout = 50 * time.Millisecond
			got, _, err := c.begin(k)
			if err != nil {
				t.Fatal(err)
			}
			if r := <-got; r.err == nil {
				t.Errorf("got %+v; want a timeout", r.a)
			}
			k.Timeout = 0
			got, cancel, err := c.begin(k)
			if err != nil {
				t.Fatal(err)
			}
			cancel()
			time.AfterFunc(30*time.Millisecond, func() { got <- told{} })
			if r := <-got; r.a != nil || r.err != nil {
				t.Errorf("got %+v, %v after cancel; want nothing", r.a, r.err)
			}
			at.closeAll()
		})
	}
}

func (o *origin) closeAll() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range o.conns {
		c.Close()
	}
}

func TestCallRefusesAnAnswerWithoutEnd(t *testing.T) {
	o := newOrigin(t, func(_ int, c *originConn) {
		c.head()
		c.say("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
		part := strings.Repeat("x", 1<<20)
		for range 20 {
			c.say(part)
		}
	})
	c := newTestCaller(t, o.addr, "")
	got, _, err := c.begin(callOf("auth:80"))
	if err != nil {
		t.Fatal(err)
	}
	if r := <-got; !errors.Is(r.err, errAnswerSize) {
		t.Errorf("got %v; want %v", r.err, errAnswerSize)
	}
}

// TestResolve: names of the egress only, and no address that may not be dialled.
func TestResolve(t *testing.T) {
	tests := map[string]struct {
		name, resolves, want string
		err                  error
	}{
		"allowed":        {"API.example.com.", "192.0.2.9", "192.0.2.9", nil},
		"on loopback":    {"api.example.com", "127.0.0.1", "", ErrNotAllowed},
		"not in egress":  {"example.org", "192.0.2.9", "", ErrUnknown},
		"no hostname":    {"a b", "192.0.2.9", "", ErrUnknown},
		"does not exist": {"api.example.com", "", "", nil},
		"an own Service": {"auth", "192.0.2.9", "", ErrUnknown},
	}
	for name, test := range tests {
		c := newTestCaller(t, netip.MustParseAddrPort("127.0.0.1:1"), test.resolves)
		type result struct {
			a   netip.Addr
			err error
		}
		got := make(chan result, 1)
		_, err := c.Resolve([]config.Egress{{Hostname: "*.example.com", Ports: []uint16{443}}}, test.name, func(a netip.Addr, err error) { got <- result{a, err} })
		r := result{err: err}
		if err == nil {
			r = <-got
		}
		if test.want != "" && (r.err != nil || r.a.String() != test.want) || test.want == "" && (r.err == nil || test.err != nil && !errors.Is(r.err, test.err)) {
			t.Errorf("%s: got %v, %v; want %q, %v", name, r.a, r.err, test.want, test.err)
		}
	}
}
