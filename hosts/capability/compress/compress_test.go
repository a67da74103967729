package compress

import (
	"bytes"
	stdgzip "compress/gzip"
	stdflate "compress/zlib"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/telemetry"
	"penstock.dev/penstock/hosts/capability"
)

// chunks is a body that comes in parts of these sizes, one after another.
type chunks struct {
	data   []byte
	sizes  []int
	ready  int // of data, there without waiting
	end    error
	closed bool
	reads  int
}

// Read implements exchange.Body.
func (c *chunks) Read(p []byte) (int, error) {
	c.reads++
	if c.ready == 0 {
		if len(c.data) == 0 {
			return 0, c.end
		}
		c.ready = len(c.data)
		if len(c.sizes) > 0 {
			c.ready, c.sizes = max(min(c.sizes[0], len(c.data)), 1), c.sizes[1:]
		}
	}
	n := copy(p, c.data[:c.ready])
	c.data, c.ready = c.data[n:], c.ready-n
	return n, nil
}

// Buffered implements exchange.Body.
func (c *chunks) Buffered() int { return c.ready }

// Close implements exchange.Body.
func (c *chunks) Close() { c.closed = true }

var encoded = []capability.Coding{capability.Gzip, capability.Brotli, capability.Zstd}

// response is an exchange whose response has a body.
func response(b exchange.Body, length int64) *exchange.Exchange {
	x := &exchange.Exchange{}
	x.Request.Method = []byte("GET")
	x.Response = exchange.Response{Status: 200, Body: b, ContentLength: length}
	return x
}

// encode has a body encoded as the response's, and returns what a client reads.
func encode(t testing.TB, r *Recoder, c capability.Coding, level int, b exchange.Body, length int64) (*exchange.Exchange, []byte, error) {
	t.Helper()
	e, err := r.Encode("ns", c, level)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Release()
	x := response(b, length)
	if err := e.Convert(x, false); err != nil {
		return x, nil, err
	}
	out, err := io.ReadAll(reader{x.Response.Body})
	x.Response.Body.Close()
	return x, out, err
}

type reader struct{ exchange.Body }

// oracle decodes with another implementation, or the library's own reader.
func oracle(t testing.TB, c capability.Coding, text []byte) []byte {
	t.Helper()
	var from io.Reader
	var err error
	switch c {
	case capability.Gzip:
		from, err = stdgzip.NewReader(bytes.NewReader(text))
	case capability.Brotli:
		from = brotli.NewReader(bytes.NewReader(text))
	case capability.Deflate:
		from, err = stdflate.NewReader(bytes.NewReader(text))
	case capability.Zstd:
		var d *zstd.Decoder
		d, err = zstd.NewReader(bytes.NewReader(text), zstd.WithDecoderMaxWindow(8<<20))
		from = d
	}
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(from)
	if err != nil {
		t.Fatalf("%v: %v", c, err)
	}
	return plain
}

// pack encodes with the libraries' writers, at once.
func pack(t testing.TB, c capability.Coding, plain []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var to io.WriteCloser
	switch c {
	case capability.Gzip:
		to = stdgzip.NewWriter(&b)
	case capability.Deflate:
		to = stdflate.NewWriter(&b)
	case capability.Brotli:
		to = brotli.NewWriter(&b)
	case capability.Zstd:
		w, err := zstd.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		to = w
	}
	_, err := to.Write(plain)
	if err = errors.Join(err, to.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func text(n int) []byte {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	words := strings.Fields("the quick brown fox jumps over a lazy dog and <p> </p> { } class= 200 3.14")
	var b bytes.Buffer
	for b.Len() < n {
		fmt.Fprintf(&b, "%s %d ", words[r.IntN(len(words))], r.IntN(100))
	}
	return b.Bytes()[:n]
}

// decode has a body decoded, as the response's or the request's.
func decode(t testing.TB, r *Recoder, b exchange.Body, length, limit int64, codings ...capability.Coding) (*exchange.Exchange, []byte, error) {
	t.Helper()
	d, err := r.Decode("ns", codings, limit)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Release()
	x := &exchange.Exchange{}
	x.Request = exchange.Request{Method: []byte("POST"), Body: b, ContentLength: length}
	if err := d.Convert(x, true); err != nil {
		return x, nil, err
	}
	out, err := io.ReadAll(reader{x.Request.Body})
	x.Request.Body.Close()
	return x, out, err
}

func all() *Recoder { return New(1<<30, telemetry.New()) }

func TestRoundTrip(t *testing.T) {
	r := all()
	rnd := rand.New(rand.NewPCG(2, 3))
	for _, c := range encoded {
		for level := range capability.MaxCodingLevel + 1 {
			if raceEnabled && level > 5 { // tables of many MiB take seconds
				break
			}
			for _, size := range []int{0, 1, 100, part - 1, part, part + 1, 70_000, 300_000} {
				if level > 0 && size != 100 && size != 70_000 {
					continue
				}
				for _, known := range []bool{true, false} {
					body := &chunks{data: text(size), end: io.EOF}
					for range 20 {
						body.sizes = append(body.sizes, rnd.IntN(20_000))
					}
					length := int64(-1)
					if known {
						length = int64(size)
					}
					x, out, err := encode(t, r, c, level, body, length)
					if err != nil || !body.closed {
						t.Fatalf("%v %d, %d bytes: %v; closed: %v", c, level, size, err, body.closed)
					}
					if got := oracle(t, c, out); !bytes.Equal(got, text(size)) {
						t.Fatalf("%v %d, %d bytes: got %d others", c, level, size, len(got))
					}
					want := int64(-1)
					if known && size <= part {
						want = int64(len(out))
					}
					if x.Response.ContentLength != want {
						t.Errorf("%v, %d bytes: length %d; want %d", c, size, x.Response.ContentLength, want)
					}
					_, plain, err := decode(t, r, &chunks{data: out, sizes: []int{1, 7, 100, 5000}, end: io.EOF}, -1, int64(size)+1, c)
					if err != nil || !bytes.Equal(plain, text(size)) {
						t.Fatalf("%v %d, %d bytes: decoded %d, %v", c, level, size, len(plain), err)
					}
				}
			}
		}
	}
	if r.Held() != 0 {
		t.Errorf("%d bytes are held", r.Held())
	}
}

// TestFlush: what is there goes on before the next part is waited for; parts that are there
// are encoded as one.
func TestFlush(t *testing.T) {
	for _, c := range encoded {
		r := all()
		e, _ := r.Encode("ns", c, 0)
		body := &chunks{data: text(30_000), sizes: []int{1000, 2000}, end: io.EOF}
		x := response(body, -1)
		if err := e.Convert(x, false); err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		p := make([]byte, 64<<10)
		for i, want := range []int{1000, 3000, 30_000} {
			for body.reads <= i || x.Response.Body.Buffered() > 0 {
				n, err := x.Response.Body.Read(p)
				if err != nil {
					t.Fatal(err)
				}
				got.Write(p[:n])
			}
			if plain := partly(c, got.Bytes()); len(plain) != want {
				t.Errorf("%v: %d bytes got through after %d parts; want %d", c, len(plain), i+1, want)
			}
		}
		x.Response.Body.Close()
		if r.Held() != 0 {
			t.Errorf("%v: %d bytes are held after Close", c, r.Held())
		}
	}
}

// partly decodes as much as there is.
func partly(c capability.Coding, b []byte) []byte {
	var from io.Reader
	switch c {
	case capability.Gzip:
		from, _ = stdgzip.NewReader(bytes.NewReader(b))
	case capability.Brotli:
		from = brotli.NewReader(bytes.NewReader(b))
	default:
		from, _ = zstd.NewReader(bytes.NewReader(b), zstd.WithDecoderConcurrency(1))
	}
	plain, _ := io.ReadAll(from)
	return plain
}

// TestDecodeStreams: what a part of an encoded body tells gets through before the next one.
func TestDecodeStreams(t *testing.T) {
	for _, c := range encoded {
		r := all()
		first, second := text(1000), text(2000)
		e, _ := r.Encode("ns", c, 0)
		x := response(&chunks{data: append(bytes.Clone(first), second...), sizes: []int{1000}, end: io.EOF}, -1)
		if err := e.Convert(x, false); err != nil {
			t.Fatal(err)
		}
		p := make([]byte, 64<<10)
		n, err := x.Response.Body.Read(p)
		for err == nil && x.Response.Body.Buffered() > 0 {
			var m int
			m, err = x.Response.Body.Read(p[n:])
			n += m
		}
		if err != nil {
			t.Fatal(err)
		}
		rest, err := io.ReadAll(reader{x.Response.Body})
		if err != nil {
			t.Fatal(err)
		}
		body := &chunks{data: append(p[:n:n], rest...), sizes: []int{n}, end: io.EOF}
		d, _ := r.Decode("ns", []capability.Coding{c}, 1<<20)
		y := response(body, -1)
		if err := d.Convert(y, false); err != nil {
			t.Fatal(err)
		}
		got := 0
		for got < 1000 {
			n, err := y.Response.Body.Read(p)
			if err != nil {
				t.Fatal(err)
			}
			if got += n; body.reads > 1 {
				t.Fatalf("%v: the second part was read when %d bytes of the first were there", c, got)
			}
		}
		y.Response.Body.Close()
	}
}

func TestFields(t *testing.T) {
	field := func(pairs ...string) (h exchange.Header) {
		for i := 0; i < len(pairs); i += 2 {
			h.Add([]byte(pairs[i]), []byte(pairs[i+1]))
		}
		return h
	}
	said := func(h *exchange.Header) string {
		var all []string
		for _, f := range h.Fields() {
			all = append(all, string(f.Name)+": "+string(f.Value))
		}
		return strings.Join(all, "; ")
	}
	tests := map[string]struct {
		in     exchange.Header
		status int
		decode []capability.Coding // nil: gzip is put on
		want   string
	}{
		"encoded":                  {in: field("Content-Type", "a/b", "Content-Length", "9", "ETag", `"x"`, "Accept-Ranges", "bytes"), want: `Content-Type: a/b; ETag: W/"x"; Content-Encoding: gzip`},
		"a weak tag stays":         {in: field("ETag", `W/"x"`), want: `ETag: W/"x"; Content-Encoding: gzip`},
		"encoded again":            {in: field("content-encoding", "br"), want: "content-encoding: br; Content-Encoding: gzip"},
		"digests":                  {in: field("Content-MD5", "x", "digest", "x", "Repr-Digest", "x", "content-digest", "x"), want: "Content-Encoding: gzip"},
		"not modified":             {in: field("ETag", `"x"`), status: 304, want: `ETag: W/"x"`},
		"decoded":                  {in: field("Content-Encoding", "gzip", "ETag", `"x"`), decode: []capability.Coding{capability.Gzip}, want: `ETag: W/"x"`},
		"the outer one":            {in: field("Content-Encoding", "gzip, br"), decode: []capability.Coding{capability.Brotli}, want: "Content-Encoding: gzip"},
		"in two fields":            {in: field("Content-Encoding", "zstd, GZIP", "content-encoding", "identity, br"), decode: []capability.Coding{capability.Brotli}, want: "Content-Encoding: zstd, gzip"},
		"without saying so":        {in: field("Content-Encoding", "br"), decode: []capability.Coding{capability.Gzip}, want: "Content-Encoding: br"},
		"beside one that is other": {in: field("Content-Encoding", "foo"), decode: []capability.Coding{capability.Gzip}, want: "Content-Encoding: foo"},
	}
	for name, test := range tests {
		x := response(nil, 9)
		x.Response.Header = test.in
		if test.status != 0 {
			x.Response.Status = test.status
		}
		var c capability.Recoding
		if test.decode == nil {
			c, _ = all().Encode("", capability.Gzip, 0)
		} else {
			c, _ = all().Decode("", test.decode, 1)
		}
		if err := c.Convert(x, false); err != nil {
			t.Fatal(err)
		}
		if got := said(&x.Response.Header); got != test.want || x.Response.ContentLength != -1 {
			t.Errorf("%s: got %q and length %d; want %q", name, got, x.Response.ContentLength, test.want)
		}
	}
}

func TestParseCodings(t *testing.T) {
	for list, want := range map[string]string{
		"": "[] true", "gzip": "[gzip] true", " gzip ,\tBR": "[gzip br] true", "identity": "[] true", "x-gzip, ,deflate,": "[gzip deflate] true",
		"foo": "[] false", "gzip;q=1": "[] false", "gzip br": "[] false", "gzip,gzip,gzip,gzip": "[] false", "compress": "[] false",
	} {
		got, ok := ParseCodings([]byte(list))
		if s := fmt.Sprintf("%v %v", got, ok); s != want {
			t.Errorf("%q: got %s; want %s", list, s, want)
		}
	}
}
