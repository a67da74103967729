package h2

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/telemetry"
)

// testUp is a connection to a peer that a test plays.
type testUp struct {
	*UpstreamConn
	t testing.TB

	mu     sync.Mutex
	places []int // what changed was told
	ended  chan struct{}
}

// upstream connects to a peer that script plays. Its connection is closed when
// the script returns.
func upstream(t testing.TB, p *config.ProxyParameters, script func(r *rawClient)) *testUp {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		nc, err := ln.Accept()
		ln.Close()
		if err != nil {
			return
		}
		defer nc.Close()
		nc.SetDeadline(time.Now().Add(20 * time.Second))
		r := &rawClient{Framer: http2.NewFramer(nc, nc), nc: nc.(*net.TCPConn), t: t}
		r.AllowIllegalWrites = true
		r.SetMaxReadFrameSize(1 << 20)
		r.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		r.encoder()
		hello := make([]byte, len(Preface))
		if _, err := io.ReadFull(nc, hello); err != nil {
			return // nothing is sent
		}
		if string(hello) != Preface {
			t.Errorf("preface %q", hello)
			return
		}
		script(r)
	})
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return serveUp(t, nc, p, &wg)
}

// serveUp serves nc until the test ends; wg is waited for then.
func serveUp(t testing.TB, nc net.Conn, p *config.ProxyParameters, wg *sync.WaitGroup) *testUp {
	u := &testUp{t: t, ended: make(chan struct{})}
	u.UpstreamConn = NewClient(telemetry.New()).NewConn(nc, p, false, func(n int) {
		u.mu.Lock()
		u.places = append(u.places, n)
		u.mu.Unlock()
	})
	go func() {
		u.Serve()
		close(u.ended)
	}()
	t.Cleanup(func() {
		u.Abort()
		<-u.ended
		wg.Wait()
	})
	return u
}

// answering is a script that greets, and answers each request that has ended.
func answering(answer func(r *rawClient, id uint32)) func(r *rawClient) {
	return func(r *rawClient) {
		r.WriteSettings()
		for {
			f, err := r.ReadFrame()
			if err != nil {
				return
			}
			if s, ok := f.(*http2.SettingsFrame); ok && !s.IsAck() {
				r.WriteSettingsAck()
			}
			id := f.Header().StreamID
			switch f := f.(type) {
			case *http2.MetaHeadersFrame:
				if f.StreamEnded() {
					answer(r, id)
				}
			case *http2.DataFrame:
				if f.StreamEnded() {
					answer(r, id)
				}
			}
		}
	}
}

// informed is a client that notes interim responses.
type informed struct{ statuses []int }

func (c *informed) Inform(_ *exchange.Exchange, status int, _ *exchange.Header) error {
	c.statuses = append(c.statuses, status)
	return nil
}

func (c *informed) Send(*exchange.Exchange) error { return nil }

func (c *informed) Watch(func()) func() { return func() {} }

// asked is an exchange under way.
type asked struct {
	x      *exchange.Exchange
	s      *UpstreamStream
	client informed
	sent   chan struct{} // the request's body was sent, or not
	err    error

	content []byte // read by outcome
}

func newRequest(method string, body exchange.Body, length int64) *exchange.Exchange {
	x := &exchange.Exchange{Conn: &exchange.Conn{}}
	q := &x.Request
	q.Method, q.Authority, q.Path, q.Body, q.ContentLength = []byte(method), []byte("a.example"), []byte("/p?q"), body, length
	return x
}

// ask sends a request and reads the head of the answer.
func (u *testUp) ask(x *exchange.Exchange, timeout time.Duration) *asked {
	a := &asked{x: x, sent: make(chan struct{})}
	x.Client = &a.client
	a.s = u.NewStream(func(bool) { a.free() })
	rest, err := a.s.Write(x, false)
	if err != nil {
		close(a.sent)
		a.err = err
		a.s.Recycle()
		return a
	}
	if !rest {
		close(a.sent)
	} else {
		go func() {
			a.s.WriteRest(x)
			a.s.Interrupt()
			close(a.sent)
		}()
	}
	a.s.Arm(time.Now(), timeout)
	wake := time.AfterFunc(5*time.Millisecond, a.s.Interrupt)
	for a.err = a.s.ReadHead(x); a.err == ErrInterrupted; a.err = a.s.ReadHead(x) {
		if a.s.broke {
			break
		}
	}
	if !wake.Stop() {
		time.Sleep(time.Millisecond)
	}
	if a.err != nil {
		a.free()
	} else {
		a.s.Settle()
	}
	return a
}

func (a *asked) free() {
	a.s.Close()
	if b, ok := a.x.Request.Body.(*closer); ok { // the others never wait
		b.Close()
	}
	<-a.sent
	a.s.Recycle()
}

// outcome reads the answer to its end and says what it was.
func (a *asked) outcome() string {
	text := ""
	for _, s := range a.client.statuses {
		text += fmt.Sprint(s, " ")
	}
	if a.err != nil {
		return text + why(a.err)
	}
	p := &a.x.Response
	text += fmt.Sprint(p.Status)
	if up := p.Tunnel; up != nil {
		defer up.Close()
		_, _ = up.Write([]byte("abc"))
		_ = up.CloseWrite()
		content, err := io.ReadAll(up)
		return fmt.Sprintf("%s tunnel %s %v", text, content, err)
	}
	if p.Body == nil {
		if p.ContentLength != 0 {
			text += fmt.Sprint(" length ", p.ContentLength)
		}
		return text
	}
	content, err := io.ReadAll(p.Body)
	p.Body.Close()
	a.content = content
	text += " " + string(content)
	if err != nil {
		a.err = err
		return text + " " + why(err)
	}
	for _, f := range p.Trailer.Fields() {
		text += fmt.Sprintf(" %s=%s", f.Name, f.Value)
	}
	return strings.TrimRight(text, " ") // an empty body is none, whichever came first
}

func why(err error) string {
	var e *exchange.Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return err.Error()
}

// closer is a body that Close ends while another goroutine reads.
type closer struct {
	parts chan string
	done  chan struct{}
	once  sync.Once
}

func newCloser() *closer { return &closer{parts: make(chan string, 10), done: make(chan struct{})} }

func (b *closer) Read(p []byte) (int, error) {
	select {
	case s, ok := <-b.parts:
		if !ok {
			return 0, io.EOF
		}
		return copy(p, s), nil
	case <-b.done:
		return 0, errClosed
	}
}

func (b *closer) Buffered() int { return 0 }

func (b *closer) Close() { b.once.Do(func() { close(b.done) }) }

func (u *testUp) told() []int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.places
}
