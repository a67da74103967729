package listener

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	proxyproto "github.com/pires/go-proxyproto"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
)

const v2Signature = "\r\n\r\n\x00\r\nQUIT\n"

func TestProxyHeader(t *testing.T) {
	four := "\x0a\x00\x00\x01\x0a\x00\x00\x02\x30\x39\x01\xbb"
	six := strings.Repeat("\x00", 15) + "\x01" + strings.Repeat("\x00", 15) + "\x02\x30\x39\x01\xbb"
	tests := map[string]struct {
		raw                 string
		source, destination string // "": none
		rest                string // what follows
		err                 error
	}{
		"TCP4":                  {"PROXY TCP4 10.0.0.1 10.0.0.2 12345 443\r\nGET", "10.0.0.1:12345", "10.0.0.2:443", "GET", nil},
		"TCP6":                  {"PROXY TCP6 ::1 2001:db8::2 1 65535\r\n", "[::1]:1", "[2001:db8::2]:65535", "", nil},
		"UNKNOWN":               {"PROXY UNKNOWN\r\nx", "", "", "x", nil},
		"UNKNOWN and more":      {"PROXY UNKNOWN ff::1 ff::2 1 2\r\n", "", "", "", nil},
		"nothing":               {"GET / HTTP/1.1\r\n\r\n", "", "", "", errProxyHeader},
		"a bare LF":             {"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\n", "", "", "", errProxyHeader},
		"another family":        {"PROXY UDP4 10.0.0.1 10.0.0.2 1 2\r\n", "", "", "", errProxyHeader},
		"IPv6 as TCP4":          {"PROXY TCP4 ::1 ::2 1 2\r\n", "", "", "", errProxyHeader},
		"a zone":                {"PROXY TCP6 fe80::1%eth0 ::2 1 2\r\n", "", "", "", errProxyHeader},
		"a large port":          {"PROXY TCP4 10.0.0.1 10.0.0.2 1 65536\r\n", "", "", "", errProxyHeader},
		"a zero before a port":  {"PROXY TCP4 10.0.0.1 10.0.0.2 01 2\r\n", "", "", "", errProxyHeader},
		"two spaces":            {"PROXY TCP4  10.0.0.1 10.0.0.2 1 2\r\n", "", "", "", errProxyHeader},
		"one more":              {"PROXY TCP4 10.0.0.1 10.0.0.2 1 2 3\r\n", "", "", "", errProxyHeader},
		"a long line":           {"PROXY UNKNOWN " + strings.Repeat("x", 200) + "\r\n", "", "", "", errProxyHeader},
		"version 2, IPv4":       {v2Signature + "\x21\x11\x00\x0c" + four + "GET", "10.0.0.1:12345", "10.0.0.2:443", "GET", nil},
		"version 2, IPv6":       {v2Signature + "\x21\x21\x00\x24" + six, "[::1]:12345", "[::2]:443", "", nil},
		"version 2, TLVs":       {v2Signature + "\x21\x11\x00\x10" + four + "\x04\x00\x01x" + "y", "10.0.0.1:12345", "10.0.0.2:443", "y", nil},
		"version 2, LOCAL":      {v2Signature + "\x20\x11\x00\x0c" + four, "", "", "", nil},
		"version 2, UNSPEC":     {v2Signature + "\x21\x00\x00\x00", "", "", "", nil},
		"version 2, UDP":        {v2Signature + "\x21\x12\x00\x0c" + four, "", "", "", errProxyFamily},
		"version 2, a socket":   {v2Signature + "\x21\x31\x00\xd8" + strings.Repeat("x", 216), "", "", "", errProxyFamily},
		"version 2, too short":  {v2Signature + "\x21\x11\x00\x04\x0a\x00\x00\x01", "", "", "", errProxyHeader},
		"version 2, large":      {v2Signature + "\x21\x11\xff\xff", "", "", "", errProxyHeader},
		"version 2, command 2":  {v2Signature + "\x22\x11\x00\x0c" + four, "", "", "", errProxyHeader},
		"version 3":             {v2Signature + "\x31\x11\x00\x0c" + four, "", "", "", errProxyHeader},
		"a signature that ends": {"\r\n\r\n\x00\r\nQUIX", "", "", "", errProxyHeader},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h, n, err := parseProxyHeader([]byte(test.raw))
			if err != test.err {
				t.Fatalf("got %v; want %v", err, test.err)
			}
			if err != nil {
				return
			}
			source, destination := "", ""
			if h.source.IsValid() {
				source, destination = h.source.String(), h.destination.String()
			}
			if source != test.source || destination != test.destination || test.raw[n:] != test.rest {
				t.Errorf("got %s, %s, %q; want %s, %s, %q", source, destination, test.raw[n:], test.source, test.destination, test.rest)
			}
			for i := range n {
				if _, k, err := parseProxyHeader([]byte(test.raw[:i])); k != 0 || err != nil {
					t.Fatalf("the first %d bytes: got %d, %v; want more", i, k, err)
				}
			}
		})
	}
}

// TestProxyProtocol: what the header says counts for peers that send one, and the
// request follows it, whatever comes in one piece. Of others it is no request.
func TestProxyProtocol(t *testing.T) {
	l, m := newListeners(t, func(x *exchange.Exchange) {
		answer(x, x.Conn.Remote.String()+" "+string(x.Conn.RemoteIP)+" "+x.Conn.Local.String()+" "+string(x.Conn.LocalPort))
	})
	p := config.DefaultProxyParameters()
	p.HeaderTimeout = 2 * time.Second
	p.ProxyProtocol = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	if err := l.Reconcile(socketOf(p)); err != nil {
		t.Fatal(err)
	}
	addr := l.Addr(anyPort.String())
	const header, request = "PROXY TCP4 192.0.2.7 192.0.2.1 1234 443\r\n", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
	said := "192.0.2.7:1234 192.0.2.7 192.0.2.1:443 443"
	v2 := v2Signature + "\x21\x11\x04\x0c\xc0\x00\x02\x07\xc0\x00\x02\x01\x04\xd2\x01\xbb" + strings.Repeat("x", 1024)
	for name, test := range map[string]struct {
		parts []string
		want  string
	}{
		"in one":             {[]string{header + request}, said},
		"one by one":         {[]string{header[:3], header[3:20], header[20:], request}, said},
		"into the request":   {[]string{header[:10], header[10:] + request[:5], request[5:]}, said},
		"version 2":          {[]string{v2 + request}, said},
		"version 2 in parts": {[]string{v2[:5], v2[5:14], v2[14:700], v2[700:] + request[:1], request[1:]}, said},
		"UNKNOWN":            {[]string{"PROXY UNKNOWN\r\n" + request}, "127.0.0.1:"},
		"none":               {[]string{request}, ""},
		"two":                {[]string{header + header + request}, "400"},
		"never whole":        {[]string{header[:10]}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			nc := dial(t, addr)
			for _, part := range test.parts {
				_, _ = io.WriteString(nc, part) // the proxy may have closed
				time.Sleep(10 * time.Millisecond)
			}
			b, _ := io.ReadAll(nc) // a reset is an end too
			if test.want == "" && len(b) > 0 || !strings.Contains(string(b), test.want) {
				t.Errorf("got %q; want %q", b, test.want)
			}
		})
	}
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if text := w.Body.String(); !strings.Contains(text, `penstock_listener_proxy_protocol_failures_total{socket="127.0.0.1:0"} 2`) {
		t.Errorf("got %s; want 2 failures", text)
	}
	p = config.DefaultProxyParameters() // nobody is believed
	if err := l.Reconcile(socketOf(p)); err != nil {
		t.Fatal(err)
	}
	nc := dial(t, addr)
	_, _ = io.WriteString(nc, header+request)
	if b, _ := io.ReadAll(nc); !strings.HasPrefix(string(b), "HTTP/1.1 400 ") {
		t.Errorf("got %q; want 400", b)
	}
}

// FuzzProxyHeader: what we accept a well-known library reads the same.
func FuzzProxyHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 10.0.0.1 10.0.0.2 12345 443\r\nGET"))
	f.Add([]byte("PROXY TCP6 ::1 ::ffff:10.0.0.1 1 2\r\n"))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Add([]byte(v2Signature + "\x21\x11\x00\x0c\x0a\x00\x00\x01\x0a\x00\x00\x02\x30\x39\x01\xbb"))
	f.Add([]byte(v2Signature + "\x20\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := parseProxyHeader(b)
		if err != nil || n == 0 || !h.source.IsValid() {
			return
		}
		in := bufio.NewReader(bytes.NewReader(b))
		want, err := proxyproto.Read(in)
		if err != nil {
			t.Fatalf("we read %v of %q, the library does not: %v", h, b, err)
		}
		source, ok := want.SourceAddr.(*net.TCPAddr)
		if !ok || source.AddrPort().Addr().Unmap() != h.source.Addr() || source.AddrPort().Port() != h.source.Port() {
			t.Fatalf("%q: got %v; want %v", b, h.source, want.SourceAddr)
		}
		if rest, err := io.ReadAll(in); err != nil || len(rest) != len(b)-n {
			t.Fatalf("%q: got a header of %d bytes, %v; want %d", b, n, err, len(b)-len(rest))
		}
	})
}
