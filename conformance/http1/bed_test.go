// Package http1 sends the proxy HTTP/1.1 that is wrong, ambiguous or rare, byte by
// byte, and looks at what the client gets and what reaches the origin.
package http1

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/harness"
)

// origin is an HTTP server made of bytes: it keeps what it gets, and answers each
// request with what the test wants. It reads requests as strictly as can be: what
// it cannot read is the proxy's fault.
type origin struct {
	ln net.Listener

	mu       sync.Mutex
	seen     []string // head and content of each request
	broken   []string // what was no request
	response func(path string) string
}

const fine = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func newOrigin(t *testing.T) *origin {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &origin{ln: ln}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go o.serve(c)
		}
	}()
	return o
}

func (o *origin) port() int { return o.ln.Addr().(*net.TCPAddr).Port }

// reset forgets, and answers like this from now on; nil: all is fine.
func (o *origin) reset(response func(path string) string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seen, o.broken, o.response = nil, nil, response
}

func (o *origin) requests() (seen, broken []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]string(nil), o.seen...), append([]string(nil), o.broken...)
}

var errStrict = errors.New("not a request")

func (o *origin) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	for {
		request, path, err := readRequest(r)
		if err == io.EOF && request == "" {
			return
		}
		o.mu.Lock()
		if err == nil {
			o.seen = append(o.seen, request)
		} else if errors.Is(err, errStrict) {
			o.broken = append(o.broken, fmt.Sprintf("%v: %q", err, request))
		}
		response := fine
		if o.response != nil {
			response = o.response(path)
		}
		o.mu.Unlock()
		if err != nil {
			return
		}
		text, closes := strings.CutSuffix(response, "<close>")
		if _, err := io.WriteString(c, text); err != nil || closes {
			return
		}
	}
}

// readRequest reads one request as the proxy should write it.
func readRequest(r *bufio.Reader) (request, path string, err error) {
	var b strings.Builder
	length, chunked := 0, false
	for line := "x"; line != ""; {
		raw, err := r.ReadString('\n')
		b.WriteString(raw)
		if err != nil {
			return b.String(), path, err
		}
		var ok bool
		if line, ok = strings.CutSuffix(raw, "\r\n"); !ok || strings.ContainsAny(line, "\r\x00") {
			return b.String(), path, fmt.Errorf("%w: a line end", errStrict)
		}
		if path == "" {
			parts := strings.Split(line, " ")
			if len(parts) != 3 || parts[2] != "HTTP/1.1" {
				return b.String(), path, fmt.Errorf("%w: the request line", errStrict)
			}
			path = parts[1]
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		switch strings.ToLower(name) {
		case "content-length":
			if _, err := fmt.Sscanf(value, "%d", &length); err != nil || chunked {
				return b.String(), path, fmt.Errorf("%w: the length", errStrict)
			}
		case "transfer-encoding":
			if chunked = true; length > 0 || value != " chunked" {
				return b.String(), path, fmt.Errorf("%w: the coding", errStrict)
			}
		}
	}
	content := make([]byte, length)
	if _, err := io.ReadFull(r, content); err != nil {
		return b.String(), path, err
	}
	b.Write(content)
	for size := 1; chunked && size > 0; {
		var line string
		if line, err = r.ReadString('\n'); err != nil {
			return b.String(), path, err
		}
		if _, err := fmt.Sscanf(line, "%x\r\n", &size); err != nil {
			return b.String(), path, fmt.Errorf("%w: a chunk's size %q", errStrict, line)
		}
		if size == 0 {
			for line != "\r\n" {
				if line, err = r.ReadString('\n'); err != nil {
					return b.String(), path, err
				}
				b.WriteString(line)
			}
			break
		}
		chunk := make([]byte, size+2)
		if _, err := io.ReadFull(r, chunk); err != nil || !bytes.HasSuffix(chunk, []byte("\r\n")) {
			return b.String(), path, fmt.Errorf("%w: a chunk's end, %v", errStrict, err)
		}
		b.Write(chunk[:size])
	}
	return b.String(), path, nil
}

// bed is a proxy in front of an origin.
type bed struct {
	proxy  *harness.Proxy
	origin *origin
}

func start(t *testing.T) *bed {
	t.Helper()
	o := newOrigin(t)
	service := strings.Replace(harness.Service("a", "", o.port()), "value: /a", "value: /", 1)
	return &bed{harness.Start(t, harness.Options{Files: map[string]string{"gateway.yaml": harness.GatewayFor(1), "a.yaml": service}}), o}
}

// answers are the statuses and contents of what came, and whether the proxy has
// closed the connection.
type answers struct {
	raw    string
	status []string
	closed bool
}

// quiet is how long nothing must come for the proxy to have nothing to say.
const quiet = 150 * time.Millisecond

// send sends bytes on a connection of its own, and returns what comes.
func (b *bed) send(t *testing.T, raw string) answers {
	t.Helper()
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", b.proxy.Port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go func() { _, _ = io.WriteString(c, raw) }() // the proxy may close before it has read all
	var a answers
	var all []byte
	p := make([]byte, 64<<10)
	wait := 2 * time.Second // for the first byte
	for {
		_ = c.SetReadDeadline(time.Now().Add(wait))
		n, err := c.Read(p)
		all = append(all, p[:n]...)
		wait = quiet
		if err != nil {
			a.closed = !errors.Is(err, os.ErrDeadlineExceeded)
			break
		}
	}
	a.raw = string(all)
	for rest := a.raw; ; {
		i := strings.Index(rest, "HTTP/1.1 ")
		if i < 0 || len(rest) < i+12 {
			break
		}
		if status := rest[i+9 : i+12]; status[0] != '1' {
			a.status = append(a.status, status)
		}
		rest = rest[i+12:]
	}
	return a
}
