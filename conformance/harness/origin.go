package harness

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// Origin is an HTTP server made of bytes: it keeps what it gets, and answers each
// request with what the test wants. It reads requests as strictly as can be: what
// it cannot read is the proxy's fault.
type Origin struct {
	port int

	mu       sync.Mutex
	seen     []string // head and content of each request
	broken   []string // what was no request
	response func(path string) string
}

// Fine is a good answer.
const Fine = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// NewOrigin starts one on loopback.
func NewOrigin(t testing.TB) *Origin {
	t.Helper()
	o := &Origin{}
	o.port = UpstreamTCP(t, o.serve)
	return o
}

// Port is where it listens.
func (o *Origin) Port() int { return o.port }

// Reset forgets, and answers like this from now on; nil: all is fine.
func (o *Origin) Reset(response func(path string) string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seen, o.broken, o.response = nil, nil, response
}

// Requests returns what came since, and what of it was no request.
func (o *Origin) Requests() (seen, broken []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]string(nil), o.seen...), append([]string(nil), o.broken...)
}

var errStrict = errors.New("not a request")

func (o *Origin) serve(c *net.TCPConn) {
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
		response := Fine
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
