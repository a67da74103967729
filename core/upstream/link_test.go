package upstream

import (
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"penstock.dev/penstock/core/codec/h2"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
)

// TestStreamsShareConnections: as few connections as the upstream's limit on
// streams allows, no more than MaxConnections, and who finds no place waits.
func TestStreamsShareConnections(t *testing.T) {
	tests := map[string]struct{ streams, exchanges, most, conns int }{
		"all on one":              {100, 64, 10, 1},
		"as many as are needed":   {10, 64, 10, 7},
		"not more than there may": {10, 64, 3, 3},
		"one stream on each":      {1, 10, 20, 10},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			release := make(chan struct{})
			var open, most atomic.Int32
			o := newRealServer(t, test.streams, func(w http.ResponseWriter, r *http.Request) {
				if n := open.Add(1); n > most.Load() {
					most.Store(n)
				}
				<-release
				open.Add(-1)
			})
			p := params()
			p.MaxConnections, p.ConnectTimeout, p.ResponseTimeout = test.most, 20*time.Second, 20*time.Second
			_, g := newH2Set(t, p, o.addr)
			var wg sync.WaitGroup
			var bad atomic.Int32
			for range test.exchanges {
				wg.Go(func() {
					if err := getOnce(g); err != nil {
						t.Error(err)
						bad.Add(1)
					}
				})
			}
			want := int32(min(test.exchanges, test.streams*test.most))
			for end := time.Now().Add(10 * time.Second); open.Load() < want && time.Now().Before(end); time.Sleep(time.Millisecond) {
			}
			if got := open.Load(); got != want {
				t.Errorf("%d exchanges at a time; want %d", got, want)
			}
			close(release)
			wg.Wait()
			if n := int(o.conns.Load()); n > test.conns {
				t.Errorf("%d connections; want %d", n, test.conns)
			}
		})
	}
}

func TestOverflowWithStreams(t *testing.T) {
	release, asked := make(chan struct{}), make(chan struct{})
	o := newRealServer(t, 1, func(http.ResponseWriter, *http.Request) {
		close(asked)
		<-release
	})
	defer close(release)
	p := params()
	p.MaxConnections, p.MaxPending, p.ConnectTimeout = 1, 1, 100*time.Millisecond
	_, g := newH2Set(t, p, o.addr)
	go getOnce(g)
	<-asked
	for range 3 {
		var e *exchange.Error
		if err := getOnce(g); !errors.As(err, &e) || e.Status != 503 || e.Reason != "overflow" {
			t.Errorf("got %v", e)
		}
	}
}

func TestDialFailuresReachAllWhoWait(t *testing.T) {
	p := params()
	_, g := newH2Set(t, p, closedPort(t))
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			var e *exchange.Error
			if err := getOnce(g); !errors.As(err, &e) || e.Reason != "connect-refused" {
				t.Errorf("got %v", err)
			}
		})
	}
	wg.Wait()
}

// TestAGracefulEndLosesNothing: the upstream says goodbye again and again, and
// every exchange is answered.
func TestAGracefulEndLosesNothing(t *testing.T) {
	var o [2]*realServer
	var asked atomic.Int32
	for i := range o {
		o[i] = newRealServer(t, 0, func(w http.ResponseWriter, r *http.Request) {
			if asked.Add(1)%100 == 0 { // rarer than three tries take
				w.Header().Set("Connection", "close") // GOAWAY
			}
			io.WriteString(w, "hello")
		})
	}
	p := params()
	_, g := newH2Set(t, p, o[0].addr, o[1].addr)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				if err := getOnce(g); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestAnEndpointThatLeavesFinishesItsStreams(t *testing.T) {
	release, asked := make(chan struct{}), make(chan struct{})
	o := newRealServer(t, 0, func(w http.ResponseWriter, r *http.Request) {
		close(asked)
		<-release
		io.WriteString(w, "hello")
	})
	s, g := newH2Set(t, params(), o.addr)
	done := make(chan error, 1)
	go func() { done <- getOnce(g) }()
	<-asked
	e := g.current.Load().all[0]
	s.Apply(map[string]*config.Upstream{"u": g.config}, config.Overlay[string, *config.EndpointSet]{})
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		e.mu.Lock()
		links, slots := len(e.links), e.slots
		e.mu.Unlock()
		if links+slots == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d connections, %d slots", links, slots)
		}
	}
}

func TestIdleSharedConnectionsAreClosed(t *testing.T) {
	o := newRealServer(t, 0, func(http.ResponseWriter, *http.Request) {})
	p := params()
	p.IdleTimeout = 100 * time.Millisecond
	_, g := newH2Set(t, p, o.addr)
	if err := getOnce(g); err != nil {
		t.Fatal(err)
	}
	e := g.current.Load().all[0]
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		e.mu.Lock()
		links, slots, opening := len(e.links), e.slots, e.opening
		e.mu.Unlock()
		if links+slots+opening == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d connections, %d slots, %d being opened", links, slots, opening)
		}
	}
}

// TestAReplacedGroupKeepsItsTimeouts: nobody sweeps its connections any more.
func TestAReplacedGroupKeepsItsTimeouts(t *testing.T) {
	asked := make(chan struct{})
	o := newRealServer(t, 0, func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
	})
	p := params()
	p.ResponseTimeout = 300 * time.Millisecond
	s, g := newH2Set(t, p, o.addr)
	answered := make(chan error, 1)
	go func() { answered <- getOnce(g) }()
	<-asked
	s.Apply(nil, config.Overlay[string, *config.EndpointSet]{})
	select {
	case err := <-answered:
		var e *exchange.Error
		if !errors.As(err, &e) || e.Reason != "response-timeout" {
			t.Errorf("got %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it still waits")
	}
}

// TestAReplacedGroupLosesNothing: whoever still has it sends by the new one.
func TestAReplacedGroupLosesNothing(t *testing.T) {
	o := newRealServer(t, 0, func(http.ResponseWriter, *http.Request) {})
	s, g := newH2Set(t, params(), o.addr)
	for range 3 {
		s.Apply(map[string]*config.Upstream{"u": {Name: "u", Protocol: config.ProtocolH2C, Parameters: params()}}, config.OverlayOf(map[string]*config.EndpointSet{"u": endpointSet(o.addr)}))
		if err := getOnce(g); err != nil {
			t.Error(err)
		}
	}
	s.Apply(nil, config.Overlay[string, *config.EndpointSet]{})
	var e *exchange.Error
	if err := getOnce(g); !errors.As(err, &e) || e.Reason != "no-endpoint" {
		t.Errorf("got %v", err)
	}
}

// TestTheConnectionDecidesTheProtocol: what was agreed on for it counts, whatever
// the group's.
func TestTheConnectionDecidesTheProtocol(t *testing.T) {
	got := make(chan string, 10)
	o := newRealServer(t, 0, func(_ http.ResponseWriter, r *http.Request) { got <- r.Proto })
	_, g := newSet(t, params(), o.addr)
	e := g.current.Load().all[0]
	if c, ticket := e.take(false); c != nil || ticket != nil {
		t.Fatal("no slot")
	}
	nc, err := net.Dial("tcp", o.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	c, fault := e.open(nc, "h2")
	if fault != nil {
		t.Fatal(fault)
	}
	e.put(c)
	for range 3 {
		if err := getOnce(g); err != nil {
			t.Fatal(err)
		}
		if p := <-got; p != "HTTP/2.0" {
			t.Errorf("got %s", p)
		}
	}
	if n := o.conns.Load(); n != 1 {
		t.Errorf("%d connections; want 1", n)
	}
}

// TestARefusedRequestIsSentAgain: with its body if that came as one part.
func TestARefusedRequestIsSentAgain(t *testing.T) {
	tests := map[string]struct {
		body   exchange.Body
		length int64
		tries  int
		want   string
	}{
		"without a body":     {nil, 0, 2, ""},
		"with a length":      {exchange.NewBytes([]byte("hello")), 5, 2, ""},
		"without a length":   {exchange.NewBytes([]byte("hello")), -1, 1, "stream-refused"}, // its end comes by itself
		"with more parts":    {exchange.NewBytes(make([]byte, 40000)), 40000, 1, "stream-refused"},
		"refused every time": {nil, 0, 3, "stream-refused"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := make(chan int, 10)
			o := newOrigin(t, func(_ int, c *originConn) {
				io.ReadFull(c.r, make([]byte, len(h2.Preface)))
				c.Conn.Write([]byte{0, 0, 0, 4, 0, 0, 0, 0, 0}) // SETTINGS
				head, size := make([]byte, 9), 0
				for n := 0; ; {
					if _, err := io.ReadFull(c.r, head); err != nil {
						return
					}
					length := int(head[1])<<8 | int(head[2])
					io.CopyN(io.Discard, c.r, int64(length))
					if head[3] == 0 {
						size += length
					}
					if head[3] > 1 || head[4]&1 == 0 { // the request goes on
						continue
					}
					got <- size
					size = 0
					if n++; n == 1 || name == "refused every time" {
						c.Conn.Write([]byte{0, 0, 4, 3, 0, 0, 0, 0, head[8], 0, 0, 0, 7}) // RST_STREAM
					} else {
						c.Conn.Write([]byte{0, 0, 1, 1, 5, 0, 0, 0, head[8], 0x89}) // 204
					}
				}
			})
			_, g := newH2Set(t, params(), o.addr)
			x := &exchange.Exchange{Conn: &exchange.Conn{}, Client: ContextClient{Context: t.Context()}}
			q := &x.Request
			q.Method, q.Authority, q.Path, q.Body, q.ContentLength = []byte("POST"), []byte("a"), []byte("/"), test.body, test.length
			reason := ""
			if err := g.Send(x, 0); err != nil {
				reason = err.Reason
			}
			if reason != test.want || x.Attempts != test.tries {
				t.Errorf("%q after %d tries; want %q after %d", reason, x.Attempts, test.want, test.tries)
			}
			for range test.tries {
				if n := <-got; n != int(max(test.length, 0)) && test.length >= 0 {
					t.Errorf("%d bytes came; want %d", n, test.length)
				}
			}
		})
	}
}
