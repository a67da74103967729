package h1

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/codectest"
)

// serverTLS is a configuration with a certificate that nobody checks.
var serverTLS = sync.OnceValue(func() *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
})

func newTLSServer(t *testing.T, h handlerFunc) *testServer {
	t.Helper()
	return newTestServerOver(t, params(), h, func(nc net.Conn) net.Conn {
		c := tls.Server(nc, serverTLS())
		nc.SetDeadline(time.Now().Add(5 * time.Second))
		if err := c.Handshake(); err != nil {
			t.Error(err)
		}
		return c
	})
}

// dialTLS returns both layers of a connection.
func (ts *testServer) dialTLS(t *testing.T) (*tls.Conn, *net.TCPConn) {
	t.Helper()
	tcp := ts.dial(t)
	c := tls.Client(tcp, &tls.Config{InsecureSkipVerify: true})
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	return c, tcp
}

// inPieces is a connection whose writes leave byte by byte.
type inPieces struct {
	net.Conn
	pause time.Duration
}

func (c inPieces) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := c.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
		time.Sleep(c.pause)
	}
	return len(p), nil
}

func TestOverTLS(t *testing.T) {
	ts := newTLSServer(t, describe)
	c, _ := ts.dialTLS(t)
	large := strings.Repeat("x", 100_000)
	var b strings.Builder
	for i := range 20 { // many in one record, and bodies over many records
		fmt.Fprintf(&b, "GET /%d HTTP/1.1\r\nHost: a\r\n\r\n", i)
	}
	fmt.Fprintf(&b, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(large), large)
	fmt.Fprintf(&b, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(large), large)
	b.WriteString("GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	go io.WriteString(c, b.String())
	got, err := io.ReadAll(c) // fails unless the server says that this is the end
	if err != nil || strings.Count(string(got), "200 OK") != 23 || strings.Count(string(got), large) != 2 || !strings.Contains(string(got), "/last") {
		t.Errorf("got %d bytes, %d answers, %v", len(got), strings.Count(string(got), "200 OK"), err)
	}
}

// TestInterruptedReadsOverTLS: a watch begins and ends while records come byte
// by byte; nothing of them is lost.
func TestInterruptedReadsOverTLS(t *testing.T) {
	ts := newTLSServer(t, func(x *exchange.Exchange) {
		for range 20 {
			stop := x.Client.Watch(func() { t.Error("gone") })
			time.Sleep(time.Millisecond)
			stop()
		}
		codectest.Answer(x, 200, "answer to "+string(x.Request.Path)+";")
	})
	tcp := ts.dial(t)
	c := tls.Client(inPieces{tcp, 100 * time.Microsecond}, &tls.Config{InsecureSkipVerify: true})
	go func() {
		for i := range 10 {
			fmt.Fprintf(c, "GET /%d HTTP/1.1\r\nHost: a\r\n", i)
			io.WriteString(c, "\r\n")
		}
	}()
	until(t, c, "answer to /9;")
}

func TestWatchOverTLS(t *testing.T) {
	for _, how := range []string{"close", "the connection breaks", "the connection breaks with an unread body"} {
		t.Run(how, func(t *testing.T) {
			seen, started := make(chan struct{}), make(chan struct{})
			ts := newTLSServer(t, func(x *exchange.Exchange) {
				stop := x.Client.Watch(func() { close(seen) })
				close(started)
				<-seen
				stop()
			})
			c, tcp := ts.dialTLS(t)
			if strings.HasSuffix(how, "body") {
				io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
			} else {
				io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			}
			<-started
			if how == "close" {
				c.Close()
			} else {
				tcp.Close()
			}
			select {
			case <-seen:
			case <-time.After(5 * time.Second):
				t.Error("not noticed")
			}
		})
	}
}

func TestAnAnswerReachesAClientThatStillSendsOverTLS(t *testing.T) {
	ts := newTLSServer(t, func(x *exchange.Exchange) { codectest.Answer(x, 413, "too large") })
	c, _ := ts.dialTLS(t)
	wrote := make(chan error, 1)
	go func() {
		io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
		_, err := c.Write(make([]byte, 4<<20))
		wrote <- err
	}()
	b, err := io.ReadAll(c)
	if err != nil || !strings.Contains(string(b), "too large") {
		t.Errorf("got %q, %v", b, err)
	}
	if err := <-wrote; err != nil {
		t.Errorf("the client was cut off: %v", err)
	}
}

// TestACutResponseOverTLS: an HTTP/1.0 response ends with the connection, so the
// end must not look like one that was meant.
func TestACutResponseOverTLS(t *testing.T) {
	for _, version := range []string{"1.0", "1.1"} {
		ts := newTLSServer(t, func(x *exchange.Exchange) {
			x.Response.Status, x.Response.ContentLength = 200, -1
			x.Response.Body = &parts{list: []string{"hello"}, err: errors.New("cut")}
			x.Client.Send(x)
		})
		c, _ := ts.dialTLS(t)
		fmt.Fprintf(c, "GET / HTTP/%s\r\nHost: a\r\n\r\n", version)
		if b, err := io.ReadAll(c); err == nil || !bytes.Contains(b, []byte("hello")) {
			t.Errorf("HTTP/%s: got %q, %v; want an error", version, b, err)
		}
	}
}

func TestDrainOverTLS(t *testing.T) {
	ts := newTLSServer(t, func(x *exchange.Exchange) { codectest.Answer(x, 200, "done") })
	c, _ := ts.dialTLS(t)
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	until(t, c, "done")
	ts.mu.Lock()
	ts.conns[0].Drain()
	ts.mu.Unlock()
	if b, err := io.ReadAll(c); err != nil || len(b) > 0 {
		t.Errorf("got %q, %v; want an end that was meant", b, err)
	}
}

// TestAClientThatDoesNotReadOverTLS: the write that times out ends the
// connection, though TLS could not go on either.
func TestAClientThatDoesNotReadOverTLS(t *testing.T) {
	result := make(chan error, 1)
	ts := newTLSServer(t, func(x *exchange.Exchange) {
		x.Response.Status, x.Response.ContentLength = 200, 64<<20
		x.Response.Body = exchange.NewBytes(make([]byte, 64<<20))
		result <- x.Client.Send(x)
	})
	c, _ := ts.dialTLS(t)
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	var e *exchange.Error
	if err := <-result; !errors.As(err, &e) || e.Reason != "client-timeout" {
		t.Errorf("got %v; want client-timeout", err)
	}
	if n, err := io.Copy(io.Discard, c); err == nil {
		t.Errorf("got %d bytes that look whole", n)
	}
}

// counted is an exchange.Tunnel that counts writes, and ends once it has all.
type counted struct {
	mu            sync.Mutex
	writes, bytes int
	all           int
	done          chan struct{}
}

func (c *counted) Read([]byte) (int, error) {
	<-c.done
	return 0, io.EOF
}

func (c *counted) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writes++
	if c.bytes += len(p); c.bytes == c.all {
		close(c.done)
	}
	return len(p), nil
}

func (c *counted) CloseWrite() error { return nil }
func (c *counted) Close()            {}

// TestTunnelOverTLS: what comes in one record goes on as one, not byte by byte.
func TestTunnelOverTLS(t *testing.T) {
	const records, size = 20, 10_000
	up := &counted{all: records * size, done: make(chan struct{})}
	ts := newTLSServer(t, func(x *exchange.Exchange) {
		x.Response.Status, x.Response.Tunnel = 200, up
		x.Client.Send(x)
	})
	c, _ := ts.dialTLS(t)
	io.WriteString(c, "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n")
	for range records {
		c.Write(make([]byte, size))
	}
	got, err := io.ReadAll(c)
	if err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 200 OK\r\nDate: ") {
		t.Errorf("got %q, %v", got, err)
	}
	c.Close()
	up.mu.Lock()
	defer up.mu.Unlock()
	if up.bytes != records*size || up.writes > 4*records {
		t.Errorf("%d bytes in %d writes; want about one for each of %d records", up.bytes, up.writes, records)
	}
}
