package compress

import (
	"bytes"
	stdgzip "compress/gzip"
	stdflate "compress/zlib"
	"errors"
	"io"
	"testing"

	"github.com/klauspost/compress/gzip"

	"penstock.dev/penstock/hosts/capability"
)

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
	f.Add(append(pack(f, capability.Gzip, text(10)), "\x1f\x8b\x08\x10000000a"...), uint8(capability.Gzip), uint16(10))
	for _, c := range []capability.Coding{capability.Gzip, capability.Brotli, capability.Zstd, capability.Deflate} {
		f.Add(pack(f, c, text(1000)), uint8(c), uint16(10))
		f.Add(append(pack(f, c, text(1000)), 0), uint8(c), uint16(0))
		f.Add(append(pack(f, c, text(10)), pack(f, c, text(10))...), uint8(c), uint16(1))
	}
	r := all()
	f.Fuzz(func(t *testing.T, data []byte, coding uint8, size uint16) {
		c := 1 + capability.Coding(coding-1)%4
		const limit = 1 << 16
		_, got, err := decode(t, r, &chunks{data: data, sizes: []int{int(size), 3, int(size)}, end: io.EOF}, -1, limit, c)
		if err != nil {
			faultOf(t, err)
		}
		if len(got) > limit {
			t.Fatalf("%d bytes came out", len(got))
		}
		if c == capability.Brotli || c == capability.Zstd { // there is no other implementation
			if err == nil && !bytes.Equal(got, oracle(t, c, data)) {
				t.Fatalf("%v: got %d others", c, len(got))
			}
			return
		}
		if errors.Is(err, gzip.ErrHeader) { // the standard reader takes reserved flags (RFC 1952, 2.3.1.2)
			return
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
