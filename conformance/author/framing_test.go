package author

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"net/textproto"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"penstock.dev/penstock/conformance/harness"
)

// content is a body: as it is sent, from its framing on, and as a case says it.
type content struct{ wire, inCase string }

var (
	longBody = strings.Repeat("0123456789", 20_000)
	nothing  = content{"\r\n", ""}
	empty    = content{"Content-Length: 0\r\n\r\n", ", body: \"\""}
	short    = content{"Content-Length: 5\r\n\r\nhello", ", body: hello"}
	long     = content{fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(longBody), longBody), ", body: \"" + longBody + "\""}
	parts    = content{"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3\r\nyou\r\n0\r\n\r\n", ", chunks: [hello, you]"}
	declared = content{"Content-Length: 10\r\n\r\n", ", headers: {content-length: \"10\"}"} // where there is none
)

// framed are the fields of a message that frame it or belong to its connection, as a case
// says them.
func framed(h textproto.MIMEHeader) string {
	length, alive := "null", "null"
	if v, ok := h["Content-Length"]; ok {
		length = strconv.Quote(strings.Join(v, ", "))
	}
	if v, ok := h["Keep-Alive"]; ok {
		alive = strconv.Quote(strings.Join(v, ", "))
	}
	return fmt.Sprintf("headers: {content-length: %s, keep-alive: %s}", length, alive)
}

// ask sends a request, and returns the head of the response.
func ask(t *testing.T, address, request string) textproto.MIMEHeader {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	r := textproto.NewReader(bufio.NewReader(c))
	if line, err := r.ReadLine(); err != nil || strings.Contains(line, " 5") {
		t.Fatalf("got %s, %v", line, err)
	}
	h, err := r.ReadMIMEHeader()
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, c) // to the end, so that the upstream has sent it all
	return h
}

// answering is an upstream that answers one request of each connection.
type answering struct {
	answer chan string
	seen   chan textproto.MIMEHeader // what it had
}

func (a *answering) serve(c *net.TCPConn) {
	b := bufio.NewReader(c)
	r := textproto.NewReader(b)
	if _, err := r.ReadLine(); err != nil {
		return
	}
	h, err := r.ReadMIMEHeader()
	if err != nil {
		return
	}
	body := io.LimitReader(b, 0)
	if n, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64); err == nil {
		body = io.LimitReader(b, n)
	} else if h.Get("Transfer-Encoding") != "" {
		body = httputil.NewChunkedReader(b)
	}
	if _, err := io.Copy(io.Discard, body); err != nil {
		return
	}
	a.seen <- h
	_, _ = io.WriteString(c, <-a.answer)
}

// TestFraming: what a case shows of the fields that frame a message is what the proxy sends,
// whatever a plugin does to the body and to these fields.
func TestFraming(t *testing.T) {
	dir, module := guest(t)
	layout := t.TempDir()
	harness.Pack(t, layout, "guest", module, "--manifest", filepath.Join(dir, "plugin.json"))
	up := &answering{make(chan string, 1), make(chan textproto.MIMEHeader, 1)}
	p := harness.Start(t, harness.Options{Images: []string{layout}, Files: map[string]string{
		"gateway.yaml": harness.GatewayFor(1),
		"shop.yaml":    harness.Service("shop", "- image: test.example/plugins/guest:1", harness.UpstreamTCP(t, up.serve)),
	}})
	p.Eventually("the plugin runs", func() bool { return p.Chain("Service/default/shop").State == "Running" })
	text := "cases:\n"
	for i, e := range []struct {
		method, do string
		body       content
		status     int
		answer     content
	}{
		{"GET", "", nothing, 200, short}, {"GET", "twice", nothing, 200, short}, {"GET", "lie", nothing, 200, short},
		{"GET", "", nothing, 200, long}, {"GET", "twice", nothing, 200, long}, {"GET", "lie", nothing, 200, long},
		{"GET", "", nothing, 200, parts}, {"GET", "twice", nothing, 200, parts}, {"GET", "lie", nothing, 200, empty},
		{"POST", "", nothing, 200, empty}, {"POST", "lie", empty, 200, empty}, {"POST", "twice", short, 200, empty},
		{"POST", "twice", long, 200, empty}, {"POST", "lie", long, 200, empty}, {"POST", "lie", parts, 200, empty},
		{"PUT", "", parts, 200, empty}, {"DELETE", "", nothing, 404, short}, {"DELETE", "twice", short, 200, empty},
		{"HEAD", "", nothing, 200, declared}, {"HEAD", "", nothing, 200, nothing}, {"HEAD", "lie", nothing, 200, declared}, {"HEAD", "lie", nothing, 200, nothing},
		{"GET", "", nothing, 304, declared}, {"GET", "", nothing, 304, nothing}, {"GET", "lie", nothing, 304, nothing}, {"GET", "lie", nothing, 204, nothing},
	} {
		up.answer <- fmt.Sprintf("HTTP/1.1 %d X\r\nConnection: close\r\n%s", e.status, e.answer.wire)
		got := ask(t, strings.TrimPrefix(p.URL, "http://"), fmt.Sprintf("%s /shop HTTP/1.1\r\nHost: www.example\r\nConnection: close\r\nX-Do: %s\r\n%s", e.method, e.do, e.body.wire))
		text += fmt.Sprintf("- name: \"%d %s %s %d\"\n  request: {method: %s, headers: {x-do: %q}%s}\n  upstream: {request: {%s}, response: {status: %d%s}}\n  response: {%s}\n",
			i, e.method, e.do, e.status, e.method, e.do, e.body.inCase, framed(<-up.seen), e.status, e.answer.inCase, framed(got))
	}
	file := filepath.Join(dir, "cases.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	right(t, 26, "--module", module, dir)
}
