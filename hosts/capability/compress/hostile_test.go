package compress

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/hosts/capability"
)

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
