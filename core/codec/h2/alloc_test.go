package h2

import (
	"io"
	"net"
	"testing"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/telemetry"
)

// pipeConn is a connection that a test feeds; what is written is counted.
type pipeConn struct {
	net.Conn
	in  chan []byte
	buf []byte
	out chan int
}

func (c *pipeConn) Read(p []byte) (int, error) {
	if len(c.buf) == 0 {
		b, ok := <-c.in
		if !ok {
			return 0, io.EOF
		}
		c.buf = b
	}
	n := copy(p, c.buf)
	c.buf = c.buf[n:]
	return n, nil
}

func (c *pipeConn) Write(p []byte) (int, error) {
	c.out <- len(p)
	return len(p), nil
}

func (c *pipeConn) Close() error                     { return nil }
func (c *pipeConn) SetReadDeadline(time.Time) error  { return nil }
func (c *pipeConn) SetWriteDeadline(time.Time) error { return nil }

// warm returns what serves one request on a warm connection.
func warm(tb testing.TB) (once func()) {
	body := make([]byte, 1024)
	name, value := []byte("Content-Type"), []byte("text/plain")
	content := &exchange.Bytes{}
	h := handlerFunc(func(x *exchange.Exchange) {
		content.Reset(body)
		p := &x.Response
		p.Status, p.Body, p.ContentLength = 200, content, int64(len(body))
		p.Header.Add(name, value)
		x.Client.Send(x)
	})
	nc := &pipeConn{in: make(chan []byte), out: make(chan int)}
	c := NewServer(h, telemetry.New(), nil).NewConn(nc, &exchange.Conn{}, config.DefaultProxyParameters())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.Serve()
	}()
	tb.Cleanup(func() {
		close(nc.in)
		<-ended
	})
	// SETTINGS, and a window that a test does not use up.
	hello := []byte(Preface)
	hello = appendSetting(appendFrame(hello, frameSettings, 0, 0, 6), settingInitialWindowSize, 1<<20)
	hello = appendWindowUpdate(hello, 0, 1<<30)
	<-nc.out
	nc.in <- hello
	<-nc.out
	first := (&rawClient{}).encoder()
	blocks := [2][]byte{first.block(get("user-agent: x", "accept: */*")...), first.block(get("user-agent: x", "accept: */*")...)}
	id := uint32(1)
	frames := make([]byte, 0, 1024)
	return func() {
		b := blocks[min(id/2, 1)]
		frames = append(appendFrame(frames[:0], frameHeaders, flagEndHeaders|flagEndStream, id, len(b)), b...)
		id += 2
		nc.in <- frames
		if n := <-nc.out; n < 1024 {
			tb.Fatalf("wrote %d bytes", n)
		}
	}
}

func TestAWarmStreamAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("pools drop what they hold at random")
	}
	once := warm(t)
	for range 100 {
		once()
	}
	if n := testing.AllocsPerRun(500, once); n >= 1 {
		t.Errorf("%v allocations; want 0", n)
	}
}

func BenchmarkStream(b *testing.B) {
	once := warm(b)
	b.ReportAllocs()
	for b.Loop() {
		once()
	}
}
