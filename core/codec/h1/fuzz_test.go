package h1

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/http/httputil"
	"net/textproto"
	"strings"
	"testing"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/bufpool"
)

// FuzzRequest: what is accepted means the same to net/http, and nothing of what
// is left out or added changes how it is framed.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		browserRequest,
		"POST http://b:80?x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: x-a, close\r\nX-A: 1\r\n\r\nabc",
		"\r\nPUT /%20 HTTP/1.0\r\nA:\tb \r\nTE: trailers\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: [::1]:8\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
		"CONNECT a.example:443 HTTP/1.1\r\nHost: A.example:443\r\nTE: trailers\r\nConnection: upgrade\r\nUpgrade: websocket\r\nProxy-Authorization: Basic eA==\r\n\r\n",
		"CONNECT [::1]:8 HTTP/1.1\r\nHost: [::1]:8\r\n\r\nGET / HTTP/1.1\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		x := &exchange.Exchange{Conn: &exchange.Conn{Trusted: true}}
		var hd head
		n, refused := parseRequest(raw, &defaultLimits, &hd, x)
		prefixesAgree(t, raw, n, refused)
		if n == 0 || refused != nil {
			return
		}
		q := &x.Request
		req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(bytes.TrimPrefix(raw[:n], []byte("\r\n")))))
		if err != nil {
			t.Fatalf("net/http refuses %q: %v", raw[:n], err)
		}
		if req.Method != string(q.Method) || req.Host != string(q.Authority) || req.ProtoMinor != int(q.Version)-10 {
			t.Errorf("%q: got %s %s %d; net/http %s %s %d", raw[:n], q.Method, q.Authority, q.Version, req.Method, req.Host, req.ProtoMinor)
		}
		if q.Connect() {
			if req.URL.Host != string(q.Authority) || req.URL.Port() == "" || len(q.Path) > 0 || hd.length >= 0 || hd.chunked {
				t.Errorf("%q: got %q %q, length %d; net/http connects to %q", raw[:n], q.Authority, q.Path, hd.length, req.URL.Host)
			}
		} else if uri := req.URL.RequestURI(); uri != string(q.Path) && !strings.Contains(req.RequestURI, "#") && req.URL.Opaque == "" && !sameURI(uri, string(q.Path)) {
			t.Errorf("%q: got %q; net/http %q", raw[:n], q.Path, uri)
		}
		want := hd.length
		if hd.chunked {
			want = -1
		} else if want < 0 {
			want = 0
		}
		if req.ContentLength != want || (len(req.TransferEncoding) > 0) != hd.chunked {
			t.Errorf("%q: got length %d, chunked %v; net/http %d %v", raw[:n], want, hd.chunked, req.ContentLength, req.TransferEncoding)
		}
		sameFields(t, &q.Header, req.Header)
		encodes(t, x, hd)
	})
}

// sameURI allows for how net/url writes an URI again.
func sameURI(got, want string) bool {
	path, query, _ := strings.Cut(want, "?")
	gotPath, gotQuery, _ := strings.Cut(got, "?")
	return strings.EqualFold(unescape(gotPath), unescape(path)) && gotQuery == query
}

func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			hex := func(c byte) byte {
				if c <= '9' {
					return c - '0'
				}
				return c | 0x20 - 'a' + 10
			}
			b.WriteByte(hex(s[i+1])<<4 | hex(s[i+2]))
			i += 2
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// sameFields: every field that we kept is there for net/http, in order.
func sameFields(t *testing.T, h *exchange.Header, other http.Header) {
	t.Helper()
	next := map[string]int{}
	for _, f := range h.Fields() {
		name := textproto.CanonicalMIMEHeaderKey(string(f.Name))
		values := other[name]
		i := next[name]
		next[name]++
		if name == "Trailer" { // net/http takes it out
			continue
		}
		if i >= len(values) || values[i] != string(f.Value) {
			t.Errorf("field %s: got %q; net/http %q", name, f.Value, values)
		}
	}
}

// prefixesAgree: what is refused when whole is refused or incomplete in part,
// and what is accepted is incomplete until its last byte.
func prefixesAgree(t *testing.T, raw []byte, n int, refused *Refused) {
	t.Helper()
	if len(raw) > 400 {
		return
	}
	for i := range raw {
		if n > 0 && i >= n {
			return
		}
		var hd head
		k, r := parseRequest(raw[:i], &defaultLimits, &hd, &exchange.Exchange{Conn: &exchange.Conn{Trusted: true}})
		if k > 0 || r != nil && n > 0 {
			t.Fatalf("%q: %d bytes give %d, %v; all give %d, %v", raw, i, k, r, n, refused)
		}
	}
}

// encodes: the request for the upstream is one request that says the same.
func encodes(t *testing.T, x *exchange.Exchange, hd head) {
	t.Helper()
	q := &x.Request
	if hd.chunked {
		q.Body, q.ContentLength = exchange.NewBytes(nil), -1
	} else if hd.length > 0 {
		q.Body, q.ContentLength = exchange.NewBytes(nil), hd.length
	}
	b, err := appendRequest(nil, x, requestForm(q))
	if err != nil {
		t.Fatalf("%q cannot be sent on: %v", q.Path, err)
	}
	y := &exchange.Exchange{Conn: &exchange.Conn{Trusted: true}}
	if q.Version == exchange.HTTP10 && len(q.Authority) == 0 {
		return
	}
	var again head
	if n, refused := parseRequest(b, &limits{line: 1 << 20, bytes: 1 << 20, fields: 1000}, &again, y); n != len(b) || refused != nil {
		t.Fatalf("%q, sent on, is refused: %v", b, refused)
	}
	if again.chunked != hd.chunked || max(again.length, 0) != max(hd.length, 0) || !bytes.Equal(y.Request.Path, q.Path) || !bytes.Equal(y.Request.Authority, q.Authority) {
		t.Errorf("%q, sent on, means something else", b)
	}
}

// FuzzResponse: what is accepted means the same to net/http.
func FuzzResponse(f *testing.F) {
	f.Add([]byte(originResponse))
	f.Add([]byte("HTTP/1.0 304\r\nConnection: keep-alive\r\nContent-Length: 9\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: x\r\nX: 1\r\n\r\n5\r\nhello\r\n0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var p exchange.Response
		var hd head
		n, refused := parseResponse(raw, &defaultLimits, &hd, &p)
		if n == 0 || refused != nil {
			return
		}
		resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw[:n])), &http.Request{Method: "GET"})
		if err != nil {
			t.Fatalf("net/http refuses %q: %v", raw[:n], err)
		}
		if resp.StatusCode != p.Status || resp.ProtoMinor != int(p.Version)-10 {
			t.Errorf("%q: got %d %d; net/http %d %d", raw[:n], p.Status, p.Version, resp.StatusCode, resp.ProtoMinor)
		}
		if !bodyless(p.Status) {
			want := hd.length
			if hd.chunked {
				want = -1
			}
			if resp.ContentLength != want || (len(resp.TransferEncoding) > 0) != hd.chunked {
				t.Errorf("%q: got length %d, chunked %v; net/http %d %v", raw[:n], want, hd.chunked, resp.ContentLength, resp.TransferEncoding)
			}
		}
		sameFields(t, &p.Header, resp.Header)
	})
}

// pieces is a reader that gives at most some bytes at a time.
type pieces struct {
	b    []byte
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.b) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), p.size)], p.b)
	p.b = p.b[n:]
	return n, nil
}

// readChunked decodes raw, which comes in pieces, with reads of some bytes.
func readChunked(raw []byte, piece, size int) (body []byte, trailer exchange.Header, rest int, err error) {
	var w wire
	var pool bufpool.Pool
	w.init(&fakeConn{r: &pieces{raw, piece}}, &pool)
	in := &reader{w: &w, pool: &pool}
	c := content{in: in, lim: &defaultLimits, idle: 1 << 40, trusted: true}
	c.start(formChunked, -1, &trailer)
	p := make([]byte, size)
	for {
		n, err := c.read(p)
		body = append(body, p[:n]...)
		if err == io.EOF {
			return body, trailer, in.end - in.r + len(w.nc.(*fakeConn).r.(*pieces).b), nil
		}
		if err != nil {
			return body, trailer, 0, err
		}
	}
}

// FuzzChunked: what is accepted is the same content to net/http, however it is
// cut; and what we encode is decoded to what it was.
func FuzzChunked(f *testing.F) {
	f.Add([]byte("5\r\nhello\r\n00a;x=y\r\n0123456789\r\n0\r\nX: y\r\n\r\n"), uint8(1), uint8(3))
	f.Add([]byte("0\r\n\r\nGET / HTTP/1.1\r\n"), uint8(200), uint8(1))
	f.Add([]byte("3;a\r\nabc\r\n0;b\r\n\r\n"), uint8(7), uint8(200))
	f.Fuzz(func(t *testing.T, raw []byte, piece, size uint8) {
		body, _, rest, err := readChunked(raw, int(piece)+1, int(size)+1)
		whole, _, rest2, err2 := readChunked(raw, len(raw)+1, 1<<16)
		if (err == nil) != (err2 == nil) || err == nil && (!bytes.Equal(body, whole) || rest != rest2) {
			t.Fatalf("%q: in pieces %q, %d, %v; at once %q, %d, %v", raw, body, rest, err, whole, rest2, err2)
		}
		if err == nil {
			want, err := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(raw)))
			if err != nil || !bytes.Equal(body, want) {
				t.Fatalf("%q: got %q; net/http %q, %v", raw, body, want, err)
			}
		}
		roundTrip(t, raw, int(piece)+1)
	})
}

// roundTrip encodes content, read in pieces, and decodes it again.
func roundTrip(t *testing.T, content []byte, piece int) {
	t.Helper()
	nc := &fakeConn{}
	var w wire
	var pool bufpool.Pool
	w.init(nc, &pool)
	s := sender{w: &w, pool: &pool, idle: 1 << 40}
	s.begin()
	s.b = append(s.b, "head"...)
	list := []string{}
	for b := content; len(b) > 0; {
		k := min(piece, len(b))
		list = append(list, string(b[:k]))
		b = b[k:]
	}
	var trailer exchange.Header
	trailer.Add([]byte("X-T"), []byte("v"))
	if err := s.sendChunked(&parts{list: list}, &trailer); err != nil {
		t.Fatal(err)
	}
	out := bytes.TrimPrefix(nc.out.Bytes(), []byte("head"))
	got, h, rest, err := readChunked(out, piece, 100)
	if v, _ := h.Get("x-t"); err != nil || rest != 0 || !bytes.Equal(got, content) || string(v) != "v" {
		t.Fatalf("%q encoded as %q decodes to %q, %q, %d bytes left, %v", content, out, got, v, rest, err)
	}
}
