package websocket

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"penstock.dev/penstock/conformance/harness"
)

// overHTTP2 sends a client's handshake of RFC 6455 as an extended CONNECT (RFC
// 8441), on a connection of its own, and answers it with what the client expects.
type overHTTP2 struct{ addr string }

func (o overHTTP2) RoundTrip(r *http.Request) (*http.Response, error) {
	c, err := net.Dial("tcp", o.addr)
	if err != nil {
		return nil, err
	}
	s := &stream{nc: c, f: http2.NewFramer(c, c), dec: hpack.NewDecoder(4096, nil), conn: 65535, window: 65535}
	s.changed.L = &s.mu
	s.r, s.w = io.Pipe()
	if err := s.open(r); err != nil {
		c.Close()
		return nil, err
	}
	resp, ended, err := s.head()
	if err != nil {
		c.Close()
		return nil, err
	}
	if ended {
		s.w.Close()
	}
	go s.receive()
	resp.Body = s
	if resp.StatusCode == http.StatusOK {
		sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		resp.StatusCode = http.StatusSwitchingProtocols
		resp.Header.Set("Connection", "Upgrade")
		resp.Header.Set("Upgrade", "websocket")
		resp.Header.Set("Sec-WebSocket-Accept", base64.StdEncoding.EncodeToString(sum[:]))
	}
	return resp, nil
}

// stream is the one stream of a connection.
type stream struct {
	nc  net.Conn
	f   *http2.Framer
	dec *hpack.Decoder
	r   *io.PipeReader
	w   *io.PipeWriter

	mu           sync.Mutex // of writing, and of what follows
	changed      sync.Cond
	conn, window int // windows of the proxy's
	first        int // that of new streams
	gone         error
}

func (s *stream) open(r *http.Request) error {
	if _, err := io.WriteString(s.nc, http2.ClientPreface); err != nil {
		return err
	}
	if err := s.f.WriteSettings(); err != nil {
		return err
	}
	for { // RFC 8441, 3: not before the server offers it
		f, err := s.f.ReadFrame()
		if err != nil {
			return err
		}
		g, ok := f.(*http2.SettingsFrame)
		if !ok || g.IsAck() {
			continue
		}
		if v, _ := g.Value(http2.SettingEnableConnectProtocol); v != 1 {
			return errors.New("SETTINGS_ENABLE_CONNECT_PROTOCOL is not sent")
		}
		if v, ok := g.Value(http2.SettingInitialWindowSize); ok {
			s.window = int(v)
		}
		if err := s.f.WriteSettingsAck(); err != nil {
			return err
		}
		break
	}
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	field := func(name, value string) { _ = enc.WriteField(hpack.HeaderField{Name: name, Value: value}) }
	field(":method", "CONNECT")
	field(":protocol", "websocket")
	field(":scheme", "http")
	field(":path", r.URL.RequestURI())
	field(":authority", r.URL.Host)
	for name, values := range r.Header {
		switch name {
		case "Connection", "Upgrade", "Sec-Websocket-Key", "Sec-WebSocket-Key":
			continue
		}
		for _, v := range values {
			field(strings.ToLower(name), v)
		}
	}
	return s.f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true})
}

// head reads up to the response's head.
func (s *stream) head() (r *http.Response, ended bool, err error) {
	for {
		f, err := s.f.ReadFrame()
		if err != nil {
			return nil, false, err
		}
		h, ok := f.(*http2.HeadersFrame)
		if !ok {
			if err := s.handle(f); err != nil {
				return nil, false, err
			}
			continue
		}
		list, err := s.dec.DecodeFull(h.HeaderBlockFragment())
		if err != nil {
			return nil, false, err
		}
		r = &http.Response{Header: http.Header{}, Proto: "HTTP/2.0", ProtoMajor: 2}
		for _, field := range list {
			if field.Name == ":status" {
				if r.StatusCode, err = strconv.Atoi(field.Value); err != nil {
					return nil, false, err
				}
				continue
			}
			r.Header.Add(textproto.CanonicalMIMEHeaderKey(field.Name), field.Value)
		}
		return r, h.StreamEnded(), nil
	}
}

// handle takes a frame that is no HEADERS.
func (s *stream) handle(f http2.Frame) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch f := f.(type) {
	case *http2.DataFrame:
		n := uint32(len(f.Data()))
		s.mu.Unlock()
		_, err := s.w.Write(f.Data())
		if f.StreamEnded() {
			s.w.Close()
		}
		s.mu.Lock()
		if n == 0 || err != nil {
			return err
		}
		if f.StreamEnded() {
			return s.f.WriteWindowUpdate(0, n)
		}
		return errors.Join(s.f.WriteWindowUpdate(0, n), s.f.WriteWindowUpdate(1, n))
	case *http2.WindowUpdateFrame:
		if f.StreamID == 0 {
			s.conn += int(f.Increment)
		} else {
			s.window += int(f.Increment)
		}
		s.changed.Broadcast()
	case *http2.PingFrame:
		if !f.IsAck() {
			return s.f.WritePing(true, f.Data)
		}
	case *http2.RSTStreamFrame:
		return fmt.Errorf("reset: %v", f.ErrCode)
	}
	return nil
}

func (s *stream) receive() {
	for {
		f, err := s.f.ReadFrame()
		if err == nil {
			err = s.handle(f)
		}
		if err != nil {
			s.w.CloseWithError(err)
			s.mu.Lock()
			s.gone = err
			s.changed.Broadcast()
			s.mu.Unlock()
			return
		}
	}
}

func (s *stream) Read(p []byte) (int, error) { return s.r.Read(p) }

func (s *stream) Write(p []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n < len(p) {
		k := min(len(p)-n, s.conn, s.window, 16384)
		if s.gone != nil {
			return n, s.gone
		}
		if k <= 0 {
			s.changed.Wait()
			continue
		}
		if err := s.f.WriteData(1, false, p[n:n+k]); err != nil {
			return n, err
		}
		s.conn, s.window, n = s.conn-k, s.window-k, n+k
	}
	return n, nil
}

// Close ends the client's direction, and waits for the other.
func (s *stream) Close() error {
	s.mu.Lock()
	err := s.f.WriteData(1, true, nil)
	s.mu.Unlock()
	_, _ = io.Copy(io.Discard, s.r)
	return errors.Join(err, s.nc.Close())
}

// TestHTTP2: all of that over HTTP/2 (RFC 8441).
func TestHTTP2(t *testing.T) {
	p := start(t)
	client := &http.Client{Transport: overHTTP2{strings.TrimPrefix(p.URL, "http://")}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	t.Run("messages", func(t *testing.T) { messages(t, p, client) })
	t.Run("guarded", func(t *testing.T) { guard(t, p, client) })
	for path, want := range map[string]int{
		"/a/plain": http.StatusBadGateway, // a 200 would read as the start of a tunnel
		"/nowhere": http.StatusNotFound,
	} {
		if _, r, err := websocket.Dial(t.Context(), p.URL+path, &websocket.DialOptions{HTTPClient: client}); err == nil || r == nil || r.StatusCode != want {
			t.Errorf("%s: got %v, %v; want %d", path, r, err, want)
		}
	}
}

// TestHTTP2GoingAway: as TestGoingAway.
func TestHTTP2GoingAway(t *testing.T) {
	port := harness.Upstream(t, echo)
	p := harness.Start(t, harness.Options{Files: map[string]string{"gateway.yaml": harness.GatewayFor(1), "a.yaml": harness.Service("a", "", port)}})
	goingAway(t, p, &http.Client{Transport: overHTTP2{strings.TrimPrefix(p.URL, "http://")}})
}

// TestHTTP2ToHTTP2: there is no way on to a Service that is spoken to in HTTP/2.
func TestHTTP2ToHTTP2(t *testing.T) {
	port := harness.Upstream(t, echo)
	service := strings.Replace(harness.Service("a", "", port), "port: 80, targetPort:", "port: 80, appProtocol: kubernetes.io/h2c, targetPort:", 1)
	p := harness.Start(t, harness.Options{Files: map[string]string{"gateway.yaml": harness.GatewayFor(1), "a.yaml": service}})
	client := &http.Client{Transport: overHTTP2{strings.TrimPrefix(p.URL, "http://")}}
	if _, r, err := websocket.Dial(t.Context(), p.URL+"/a/", &websocket.DialOptions{HTTPClient: client}); err == nil || r == nil || r.StatusCode != http.StatusNotImplemented {
		t.Errorf("got %v, %v; want 501", r, err)
	}
}

// TestChromium: a browser opens a WebSocket on the connection that it has loaded a
// page over.
func TestChromium(t *testing.T) {
	harness.Long(t)
	const page = `<!doctype html><script>
const s = new WebSocket(location.href.replace("https", "wss").replace("page", "chat"), "chat");
const tell = what => fetch("/a/tell?" + encodeURIComponent(what));
s.onopen = () => s.send("x".repeat(300000));
s.onerror = () => tell("error");
s.onmessage = e => { if (e.data.length === 300000) s.send("bye"); else tell("got " + e.data.length); };
s.onclose = e => tell([s.protocol, e.code, e.reason, performance.getEntriesByType("navigation")[0].nextHopProtocol].join());
</script>`
	told := make(chan string, 10)
	port := harness.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/a/page":
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, page)
		case "/a/tell":
			told <- r.URL.RawQuery
		default:
			echo(w, r)
		}
	})
	secret, _ := harness.Secret(t, "edge", "a.example")
	p := harness.Start(t, harness.Options{Files: map[string]string{"gateway.yaml": harness.SecureGateway(1), "edge.yaml": secret, "a.yaml": harness.Service("a", "", port)}})
	block, _ := pem.Decode([]byte(strings.ReplaceAll(secret[strings.Index(secret, "-----BEGIN CERT"):], "\n    ", "\n")))
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	spki := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	log := filepath.Join(t.TempDir(), "log.json")
	browser := exec.CommandContext(ctx, harness.Tool(t, "chromium"), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic",
		"--user-data-dir="+t.TempDir(), "--remote-debugging-port=0", "--log-net-log="+log, "--ignore-certificate-errors-spki-list="+base64.StdEncoding.EncodeToString(spki[:]),
		"--host-resolver-rules=MAP a.example 127.0.0.1", fmt.Sprintf("https://a.example:%d/a/page", p.Port))
	browser.Env = append(os.Environ(), "HOME="+t.TempDir())
	browser.Cancel = func() error { return browser.Process.Signal(syscall.SIGTERM) }
	browser.WaitDelay = 10 * time.Second
	if err := browser.Start(); err != nil {
		t.Fatal(err)
	}
	defer cancel()
	select {
	case got := <-told:
		if got != "chat%2C4001%2Cas%20you%20wish%2Ch2" {
			t.Errorf("got %s", got)
		}
	case <-ctx.Done():
		_ = browser.Wait()
		t.Fatalf("the browser tells nothing\n%s", p.Log())
	}
	cancel()
	_ = browser.Wait() // ended by a signal
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), ":protocol: websocket") {
		t.Error("the browser sent no extended CONNECT")
	}
}
