package compress

import (
	"bytes"
	stdgzip "compress/gzip"
	stdflate "compress/zlib"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"penstock.dev/penstock/core/exchange"
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

func all() *Recoder { return New(1 << 30) }

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

func faultOf(t testing.TB, err error) *exchange.Error {
	t.Helper()
	var e *exchange.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v; want an *exchange.Error", err)
	}
	return e
}

func TestHostile(t *testing.T) {
	r := all()
	zeros := make([]byte, 8<<20)
	for _, c := range []capability.Coding{capability.Gzip, capability.Deflate, capability.Brotli, capability.Zstd} {
		plain := text(50_000)
		good := pack(t, c, plain)
		tests := map[string]struct {
			data   []byte
			limit  int64
			status int
		}{
			"nothing":          {nil, 1 << 20, 400},
			"trailing garbage": {append(bytes.Clone(good), "garbage"...), 1 << 20, 400},
			"one byte more":    {append(bytes.Clone(good), 0), 1 << 20, 400},
			"no such format":   {text(1000), 1 << 20, 400},
			"too long":         {good, 49_999, 413},
			"a bomb":           {pack(t, c, zeros), 4 << 20, 413},
		}
		if c != capability.Brotli { // it has no checksum
			bad := bytes.Clone(good)
			bad[len(bad)-1] ^= 1
			if c == capability.Gzip {
				bad[len(bad)-1] ^= 1
				bad[len(bad)-5] ^= 1
			}
			tests["bad checksum"] = struct {
				data   []byte
				limit  int64
				status int
			}{bad, 1 << 20, 400}
		}
		for name, test := range tests {
			for _, length := range []int64{-1, int64(len(test.data))} {
				_, got, err := decode(t, r, &chunks{data: test.data, sizes: []int{10, 10, 10, 1000}, end: io.EOF}, length, test.limit, c)
				if err == nil {
					t.Errorf("%v, %s: %d bytes and no error", c, name, len(got))
					continue
				}
				if e := faultOf(t, err); e.Status != test.status || e.Side != exchange.SideClient {
					t.Errorf("%v, %s: %d, %v; want %d", c, name, e.Status, e, test.status)
				}
				if int64(len(got)) > test.limit {
					t.Errorf("%v, %s: %d bytes came out; want %d at most", c, name, len(got), test.limit)
				}
			}
		}
		for cut := range len(good) {
			if cut > 40 && cut < len(good)-40 && cut%97 != 0 {
				continue
			}
			if _, _, err := decode(t, r, &chunks{data: good[:cut], end: io.EOF}, -1, 1<<20, c); err == nil {
				t.Errorf("%v: cut after %d of %d bytes, and no error", c, cut, len(good))
			}
		}
		if _, got, err := decode(t, r, &chunks{data: good, end: io.EOF}, -1, 50_000, c); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%v: as long as it may be: %d bytes, %v", c, len(got), err)
		}
	}
	if r.Held() != 0 {
		t.Errorf("%d bytes are held", r.Held())
	}
}

// TestRatio: small bodies that become very long are refused before the limit.
func TestRatio(t *testing.T) {
	r := all()
	for _, c := range []capability.Coding{capability.Brotli, capability.Zstd} {
		bomb := pack(t, c, make([]byte, 32<<20))
		if _, got, err := decode(t, r, &chunks{data: bomb, end: io.EOF}, -1, 1<<30, c); err == nil || faultOf(t, err).Status != 413 || len(got) > 8<<20 {
			t.Errorf("%v of %d bytes: %d bytes, %v", c, len(bomb), len(got), err)
		}
	}
}

// TestLayers: a bomb within another coding is met by the limit too, and codings are taken
// away from the outermost.
func TestLayers(t *testing.T) {
	r := all()
	plain := text(60_000)
	twice := pack(t, capability.Brotli, pack(t, capability.Gzip, plain))
	x, got, err := decode(t, r, &chunks{data: twice, end: io.EOF}, -1, 1<<20, capability.Brotli, capability.Gzip)
	if err != nil || !bytes.Equal(got, plain) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	_ = x
	inner := pack(t, capability.Zstd, bytes.Repeat(pack(t, capability.Gzip, nil), 200_000))
	if _, _, err := decode(t, r, &chunks{data: inner, end: io.EOF}, -1, 1<<20, capability.Zstd, capability.Gzip); err == nil || faultOf(t, err).Status != 413 {
		t.Errorf("a bomb within: %v", err)
	}
}

// TestWindows: what would take more memory than is counted is refused.
func TestWindows(t *testing.T) {
	r := all()
	var b bytes.Buffer
	w := brotli.NewWriterOptions(&b, brotli.WriterOptions{Quality: 1, LGWin: 24})
	_, _ = w.Write(text(100))
	_ = w.Close()
	if _, _, err := decode(t, r, &chunks{data: b.Bytes(), end: io.EOF}, -1, 1<<20, capability.Brotli); !errors.Is(err, errWindow) {
		t.Errorf("brotli: %v", err)
	}
	for bits := 10; bits <= 22; bits++ {
		b.Reset()
		w := brotli.NewWriterOptions(&b, brotli.WriterOptions{Quality: 2, LGWin: bits})
		_, _ = w.Write(text(100))
		_ = w.Close()
		if _, _, err := decode(t, r, &chunks{data: b.Bytes(), end: io.EOF}, -1, 1<<20, capability.Brotli); err != nil {
			t.Errorf("brotli, window of %d bits: %v", bits, err)
		}
	}
	b.Reset()
	z, _ := zstd.NewWriter(&b, zstd.WithWindowSize(16<<20))
	_, _ = z.Write(text(100))
	_ = z.Flush()
	_ = z.Close()
	if _, _, err := decode(t, r, &chunks{data: b.Bytes(), end: io.EOF}, -1, 1<<20, capability.Zstd); err == nil {
		t.Error("zstd: a window of 16 MiB is taken")
	}
}

// TestBrokenBody: what a body fails with is told as it is, and nothing looks whole.
func TestBrokenBody(t *testing.T) {
	r := all()
	broken := &exchange.Error{Status: 502, Reason: "response-body-cut", Err: io.ErrUnexpectedEOF}
	for _, c := range encoded {
		if _, _, err := encode(t, r, c, 0, &chunks{data: text(50_000), end: broken}, -1); !errors.Is(err, error(broken)) {
			t.Errorf("encode %v: %v", c, err)
		}
		if _, _, err := encode(t, r, c, 0, &chunks{data: text(50), end: broken}, 100); !errors.Is(err, error(broken)) {
			t.Errorf("encode %v, short: %v", c, err)
		}
		data := pack(t, c, text(50_000))
		if _, _, err := decode(t, r, &chunks{data: data[:len(data)/2], end: broken}, -1, 1<<20, c); !errors.Is(err, error(broken)) {
			t.Errorf("decode %v: %v", c, err)
		}
	}
	if r.Held() != 0 {
		t.Errorf("%d bytes are held", r.Held())
	}
}

func TestMemoryIsBounded(t *testing.T) {
	r := New(4 * encoderBytes(capability.Gzip, 5))
	one, err := r.Encode("a", capability.Gzip, 5)
	two, err2 := r.Encode("a", capability.Gzip, 5)
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	if _, err := r.Encode("a", capability.Gzip, 5); !errors.Is(err, capability.ErrCodingMemory) {
		t.Errorf("beyond a namespace's half: %v", err)
	}
	for range 2 {
		if _, err := r.Encode("b", capability.Gzip, 5); err != nil {
			t.Errorf("another namespace: %v", err)
		}
	}
	if _, err := r.Encode("c", capability.Gzip, 5); !errors.Is(err, capability.ErrCodingMemory) {
		t.Errorf("beyond all: %v", err)
	}
	one.Release()
	one.Release()
	two.Release()
	if got, want := r.Held(), 2*encoderBytes(capability.Gzip, 5); got != want {
		t.Errorf("%d are held; want %d", got, want)
	}
	for _, test := range []struct {
		c     capability.Coding
		level int
	}{{capability.Deflate, 1}, {0, 1}, {capability.Gzip, 10}, {capability.Gzip, -1}, {99, 1}} {
		if _, err := r.Encode("a", test.c, test.level); !errors.Is(err, capability.ErrCoding) {
			t.Errorf("%d %d: %v", test.c, test.level, err)
		}
	}
	for _, codings := range [][]capability.Coding{nil, {99}, {1, 1, 1, 1}} {
		if _, err := r.Decode("a", codings, 1); !errors.Is(err, capability.ErrCoding) {
			t.Errorf("%v: %v", codings, err)
		}
	}
}

// TestRelease: a body may be given up while another goroutine reads it.
func TestRelease(t *testing.T) {
	r := all()
	for i := range 50 {
		e, _ := r.Encode("ns", encoded[i%3], 1)
		x := response(&chunks{data: text(100_000), sizes: []int{100, 1000, 5000}, end: io.EOF}, -1)
		if err := e.Convert(x, false); err != nil {
			t.Fatal(err)
		}
		var group sync.WaitGroup
		group.Go(func() { _, _ = io.Copy(io.Discard, reader{x.Response.Body}) })
		e.Release()
		group.Wait()
	}
	if r.Held() != 0 {
		t.Errorf("%d bytes are held", r.Held())
	}
}

// TestMemory: encoders and decoders take no more than is counted.
func TestMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("with the race detector all takes more")
	}
	measure := func(do func() any) int64 {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		kept := do()
		runtime.GC()
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(kept)
		return int64(after.HeapAlloc) - int64(before.HeapAlloc)
	}
	plain := text(2 << 20)
	for _, c := range encoded {
		for _, level := range []int{1, 3, 4, 5, 6, 7, 8, 9} {
			got := measure(func() any {
				r := all()
				e, _ := r.Encode("ns", c, level)
				x := response(&chunks{data: plain, end: errors.New("cut")}, -1)
				_ = e.Convert(x, false)
				p := make([]byte, 4<<10)
				for e.(*encoding).inner.(*chunks).reads < 60 {
					_, _ = x.Response.Body.Read(p)
				}
				return []any{r, x}
			})
			t.Logf("encoding %v %d: %d KiB", c, level, got>>10)
			if want := encoderBytes(c, level); got > want {
				t.Errorf("%v %d takes %d; counted are %d", c, level, got, want)
			}
		}
	}
	random := make([]byte, 10<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(random)
	for _, c := range []capability.Coding{capability.Gzip, capability.Deflate, capability.Brotli, capability.Zstd} {
		data := pack(t, c, random)
		got := measure(func() any {
			r := all()
			d, _ := r.Decode("ns", []capability.Coding{c}, 1<<30)
			x := response(&chunks{data: data, end: io.EOF}, -1)
			_ = d.Convert(x, false)
			p := make([]byte, 32<<10)
			for n := 0; n < 9<<20; {
				m, _ := x.Response.Body.Read(p)
				n += m
			}
			return []any{r, x, data}
		})
		t.Logf("decoding %v: %d KiB", c, got>>10)
		if got > decoderBytes[c] {
			t.Errorf("%v takes %d; counted are %d", c, got, decoderBytes[c])
		}
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

// FuzzRoundTrip compares what is encoded, and decoded again, with the plain text; the other
// implementation's reader is the judge of what is encoded.
func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte("hello"), uint8(0), uint8(5), uint16(3), true)
	f.Add(text(100_000), uint8(1), uint8(1), uint16(5000), false)
	f.Add(make([]byte, 200_000), uint8(2), uint8(9), uint16(40_000), false)
	r := all()
	f.Fuzz(func(t *testing.T, plain []byte, coding, level uint8, size uint16, known bool) {
		c := encoded[int(coding)%len(encoded)]
		sizes := make([]int, 8)
		for i := range sizes {
			sizes[i] = int(size) * i
		}
		length := int64(-1)
		if known {
			length = int64(len(plain))
		}
		_, out, err := encode(t, r, c, int(level)%(capability.MaxCodingLevel+1), &chunks{data: plain, sizes: sizes, end: io.EOF}, length)
		if err != nil {
			t.Fatal(err)
		}
		if got := oracle(t, c, out); !bytes.Equal(got, plain) {
			t.Fatalf("%v: %d bytes became %d others", c, len(plain), len(got))
		}
		_, got, err := decode(t, r, &chunks{data: out, sizes: sizes, end: io.EOF}, -1, 1<<30, c)
		if err != nil && !errors.Is(err, errRatio) || err == nil && !bytes.Equal(got, plain) {
			t.Fatalf("%v: %d bytes became %d, %v", c, len(plain), len(got), err)
		}
	})
}

// FuzzDecode: what the decoders make of any bytes is what the standard readers make of them,
// or an error.
func FuzzDecode(f *testing.F) {
	for _, c := range []capability.Coding{capability.Gzip, capability.Deflate} {
		f.Add(pack(f, c, text(1000)), uint8(c), uint16(10))
		f.Add(append(pack(f, c, text(1000)), 0), uint8(c), uint16(0))
		f.Add(append(pack(f, c, text(10)), pack(f, c, text(10))...), uint8(c), uint16(1))
	}
	r := all()
	f.Fuzz(func(t *testing.T, data []byte, coding uint8, size uint16) {
		c := capability.Gzip
		if coding%2 == 0 {
			c = capability.Deflate
		}
		const limit = 1 << 16
		_, got, err := decode(t, r, &chunks{data: data, sizes: []int{int(size), 3, int(size)}, end: io.EOF}, -1, limit, c)
		if err != nil {
			faultOf(t, err)
		}
		if len(got) > limit {
			t.Fatalf("%d bytes came out", len(got))
		}
		want, wantErr := standard(c, data, limit)
		if (err == nil) != (wantErr == nil) || err == nil && !bytes.Equal(got, want) {
			t.Fatalf("%v: got %d bytes, %v; want %d, %v", c, len(got), err, len(want), wantErr)
		}
	})
}

// standard decodes with the standard library, which has to be at the end of data then.
func standard(c capability.Coding, data []byte, limit int) ([]byte, error) {
	from := bytes.NewReader(data)
	var z io.Reader
	var err error
	if c == capability.Gzip {
		z, err = stdgzip.NewReader(from)
	} else {
		z, err = stdflate.NewReader(from)
	}
	if err != nil {
		return nil, err
	}
	plain, err := io.ReadAll(io.LimitReader(z, int64(limit)+1))
	switch {
	case err != nil:
		return nil, err
	case len(plain) > limit:
		return nil, errLong
	case from.Len() > 0:
		return nil, errTrailing
	}
	return plain, nil
}
