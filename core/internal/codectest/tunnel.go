package codectest

import (
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock/core/exchange"
)

// Pipe is an exchange.Tunnel that says back what it is told, in capitals, and "bye"
// once no more comes.
type Pipe struct {
	r *io.PipeReader
	w *io.PipeWriter

	once   sync.Once
	closed chan struct{}
}

// NewPipe returns a Pipe that is open.
func NewPipe() *Pipe {
	r, w := io.Pipe()
	return &Pipe{r: r, w: w, closed: make(chan struct{})}
}

// Read implements io.Reader.
func (p *Pipe) Read(b []byte) (int, error) { return p.r.Read(b) }

// Write implements io.Writer.
func (p *Pipe) Write(b []byte) (int, error) {
	return p.w.Write([]byte(strings.ToUpper(string(b))))
}

// CloseWrite implements exchange.Tunnel.
func (p *Pipe) CloseWrite() error {
	go func() {
		_, _ = p.w.Write([]byte("bye")) // nobody may be there to read it
		_ = p.w.Close()
	}()
	return nil
}

// Close implements exchange.Tunnel.
func (p *Pipe) Close() {
	p.once.Do(func() { close(p.closed) })
	_ = p.w.CloseWithError(io.ErrClosedPipe)
	_ = p.r.CloseWithError(io.ErrClosedPipe)
}

// Cut makes reads fail, as those of an upstream that was cut.
func (p *Pipe) Cut() { _ = p.w.CloseWithError(io.ErrUnexpectedEOF) }

// AwaitClose fails t if nobody calls Close within 10 s.
func (p *Pipe) AwaitClose(t *testing.T) {
	t.Helper()
	select {
	case <-p.closed:
	case <-time.After(10 * time.Second):
		t.Fatal("the upstream's end lives on")
	}
}

// Opens answers a CONNECT, as its target says, by p or otherwise, and what is none with
// 204.
func Opens(p *Pipe, scheme string) func(x *exchange.Exchange) {
	return func(x *exchange.Exchange) {
		q, a := &x.Request, &x.Response
		if !q.Connect() {
			_ = Answer(x, 204, "")
			return
		}
		if len(q.Path) > 0 || q.Body != nil || q.Upgrade != nil || q.TE || string(q.Scheme) != scheme {
			_ = Answer(x, 500, "")
			return
		}
		a.Header.Add([]byte("Content-Length"), []byte("5"))
		a.Status, a.Tunnel = 200, p
		switch string(q.Authority) {
		case "a:204":
			a.Status = 204
		case "a:403":
			a.Tunnel = nil
			_ = Answer(x, 403, "no")
			return
		case "a:2": // a filter's answer would read as the start of a tunnel
			a.Tunnel = nil
			_ = Answer(x, 200, "local")
			return
		case "a:3": // a filter has changed the status
			a.Status = 302
		case "a:101":
			a.Status, a.Upgrade = 101, []byte("websocket")
		}
		_ = x.Client.Send(x)
	}
}

var _ exchange.Tunnel = (*Pipe)(nil)
