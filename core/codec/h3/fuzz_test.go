package h3

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/quic-go/qpack"
	"github.com/quic-go/quic-go/quicvarint"

	"penstock.dev/penstock/core/codec/fields"
	"penstock.dev/penstock/core/exchange"
)

// drip gives its bytes in pieces of one to three.
type drip struct {
	b []byte
	n int
}

func (d *drip) Read(p []byte) (int, error) {
	if len(d.b) == 0 {
		return 0, io.EOF
	}
	d.n = d.n%3 + 1
	n := copy(p[:min(d.n, len(p))], d.b)
	d.b = d.b[n:]
	return n, nil
}

// aFrame is a frame as it was read.
type aFrame struct {
	kind    uint64
	payload []byte
}

// otherFrames reads frames with quic-go's numbers; whole is false if the last one
// is cut.
func otherFrames(b []byte) (all []aFrame, whole bool) {
	for len(b) > 0 {
		kind, n, err := quicvarint.Parse(b)
		if err != nil {
			return all, false
		}
		size, m, err := quicvarint.Parse(b[n:])
		if err != nil || size > uint64(len(b)-n-m) {
			return all, false
		}
		b = b[n+m:]
		all = append(all, aFrame{kind, b[:size]})
		b = b[size:]
	}
	return all, true
}

// FuzzFrames: frames are those that quic-go's reader of numbers finds, however
// they come in.
func FuzzFrames(f *testing.F) {
	f.Add(join(headers(get()...), data("abc"), appendFrame(nil, 0x21, nil)))
	f.Add([]byte{0x40, 1, 0xc0, 0, 0, 0, 0, 0, 0, 1, 'a'})
	f.Add([]byte{0, 0x80, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		want, whole := otherFrames(b)
		in := &reader{}
		in.start(&drip{b: b}, make([]byte, 16))
		for i := 0; ; i++ {
			kind, size, err := in.frame()
			if err != nil {
				if (err == io.EOF) != whole || err != io.EOF && err != errTruncated || i != len(want) {
					t.Fatalf("frame %d of %d: %v; whole %v", i, len(want), err, whole)
				}
				return
			}
			var got []byte
			if i%2 == 0 { // as content
				for left := size; left > 0; {
					p := make([]byte, min(left, 5))
					n, err := in.payload(p, left)
					got, left = append(got, p[:n]...), left-uint64(n)
					if err != nil {
						if whole || i != len(want) || err != errTruncated {
							t.Fatalf("frame %d of %d: %v", i, len(want), err)
						}
						return
					}
				}
			} else if err := in.skip(size, func(int) error { return nil }); err != nil {
				if whole || i != len(want) || err != errTruncated {
					t.Fatalf("frame %d of %d: %v", i, len(want), err)
				}
				return
			}
			if i >= len(want) || kind != want[i].kind || size != uint64(len(want[i].payload)) || i%2 == 0 && !bytes.Equal(got, want[i].payload) {
				t.Fatalf("frame %d: got %#x of %d bytes, %q", i, kind, size, got)
			}
		}
	})
}

// FuzzSettings: a control stream ends in the way that a reader of whole frames says.
func FuzzSettings(f *testing.F) {
	f.Add([]byte{6, 0x40, 99, 8, 1, 0x33, 1, 0x21, 0})
	f.Add([]byte{2, 1})
	f.Add([]byte{6, 1, 6})
	f.Fuzz(func(t *testing.T, b []byte) {
		u := &control{in: &reader{}, pay: func(int) error { return nil }, datagrams: func() bool { return len(b)%2 == 0 }}
		u.in.start(&drip{b: appendFrame(nil, frameSettings, b)}, make([]byte, 64))
		got := u.read()
		var bad connError
		if !errors.As(got, &bad) && got != io.EOF && got != errShort {
			t.Fatalf("ended with %v", got)
		}
		if want := otherSettings(b, len(b)%2 == 0); want != got {
			t.Fatalf("%x: got %v; want %v", b, got, want)
		}
	})
}

// otherSettings judges a SETTINGS frame's payload.
func otherSettings(b []byte, datagrams bool) error {
	if len(b) > 1024 {
		return connError{codeExcessiveLoad, "settings"}
	}
	seen := map[uint64]bool{}
	for len(b) > 0 {
		id, n, err := quicvarint.Parse(b)
		if err != nil {
			return errShort
		}
		value, m, err := quicvarint.Parse(b[n:])
		if err != nil {
			return errShort
		}
		b = b[n+m:]
		switch {
		case len(seen) == 64:
			return connError{codeExcessiveLoad, "settings"}
		case seen[id], id < 6 && id != 1, id == 8 && value > 1, id == 0x33 && (value > 1 || value == 1 && !datagrams):
			return connError{codeSettings, "settings"}
		}
		seen[id] = true
	}
	return io.EOF
}

// FuzzControl: a control stream ends with one of our errors, and without a panic.
func FuzzControl(f *testing.F) {
	f.Add(join(number(frameMaxPushID, 4), number(frameGoAway, 3), appendFrame(nil, framePriorityUpdateRequest, []byte("\x04u=1"))))
	f.Add(join(appendFrame(nil, 0x21, make([]byte, 100)), data("a")))
	f.Fuzz(func(t *testing.T, b []byte) {
		u := &control{in: &reader{}, pay: func(int) error { return nil }, datagrams: func() bool { return true }}
		u.in.start(&drip{b: append(appendFrame(nil, frameSettings, nil), b...)}, make([]byte, 64))
		err := u.read()
		frames, whole := otherFrames(b)
		var bad connError
		switch {
		case errors.As(err, &bad), err == errShort:
			return
		case err == io.EOF && whole:
			for _, f := range frames {
				if known(f.kind) && !slices.Contains([]uint64{frameGoAway, frameMaxPushID, framePriorityUpdateRequest, framePriorityUpdatePush}, f.kind) {
					t.Fatalf("frame %#x was taken", f.kind)
				}
			}
		case err == errTruncated && !whole:
		default:
			t.Fatalf("ended with %v; whole %v", err, whole)
		}
	})
}

// FuzzSection: a field section means what quic-go's decoder says, or is refused
// by both.
func FuzzSection(f *testing.F) {
	f.Add(section(get("cookie: a=b", "x-y: z", "accept: */*")...))
	f.Add(section(":status: 200", "content-type: text/html; charset=utf-8"))
	f.Add([]byte{0, 0, 0xff, 36, 0x5f, 84, 1, 'a', 0x27, 0, 'a', 'b', 'c', 'd', 'e', 'f', 'g', 0})
	f.Add([]byte{0, 0, 0x51, 0x81, 0x1f})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<12 {
			return
		}
		lim := &fields.Limits{Line: 1 << 20, Bytes: 1 << 20, Fields: 1 << 12}
		x := &exchange.Exchange{}
		var hd fields.Section
		hd.Begin(lim, &x.Request.Header, &x.Arena, true, true)
		var got []qpack.HeaderField
		rest, ok := readPrefix(b)
		for ok && len(rest) > 0 {
			var name, value []byte
			if name, value, rest, ok = readLine(rest, &x.Arena); ok {
				got = append(got, qpack.HeaderField{Name: string(name), Value: string(value)})
			}
		}
		var want []qpack.HeaderField
		next := qpack.NewDecoder().Decode(b)
		for {
			field, otherErr := next()
			if otherErr == io.EOF {
				break
			}
			if otherErr != nil {
				// It wants a Base of 0, which is ours to ignore.
				if ok && (len(b) < 2 || b[0] != 0 || b[1]&0x7f == 0) {
					t.Fatalf("%x: quic-go says %v", b, otherErr)
				}
				return
			}
			want = append(want, field)
		}
		if !ok {
			// A negative Base, and numbers of 63 bits, are ours alone to refuse.
			if len(b) > 1 && b[1]&0x80 != 0 || len(b) < 2 {
				return
			}
			t.Fatalf("%x: refused; quic-go has %v", b, want)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%x: got %q; want %q", b, got, want)
		}
		if decode(b, &hd, &x.Arena) != nil {
			t.Fatal("decode disagrees with itself")
		}
	})
}

// FuzzEncode: what is sent of a header means the same to quic-go's decoder.
func FuzzEncode(f *testing.F) {
	f.Add("Content-Type", "text/html", "X-Long-Name-That-Is-In-No-Table", "")
	f.Add("Set-Cookie", " a=b ", "Age", "0")
	f.Fuzz(func(t *testing.T, n1, v1, n2, v2 string) {
		h := &exchange.Header{}
		h.Add([]byte(n1), []byte(v1))
		h.Add([]byte(n2), []byte(v2))
		b, _, ok := encoding.AppendFields(appendStatus(appendSection(nil), 418), h)
		if !ok {
			return
		}
		b = endSection(b)
		frames, whole := otherFrames(b)
		if !whole || len(frames) != 1 || frames[0].kind != frameHeaders {
			t.Fatalf("no frame: %x", b)
		}
		next := qpack.NewDecoder().Decode(frames[0].payload)
		var got []exchange.Field
		for {
			field, err := next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%x: %v", b, err)
			}
			got = append(got, exchange.Field{Name: []byte(field.Name), Value: []byte(field.Value)})
		}
		i := 1
		for _, f := range h.Fields() {
			if i >= len(got) || !exchange.EqualFold(f.Name, string(got[i].Name)) {
				continue // of the connection
			}
			if string(bytes.Trim(f.Value, " \t")) == string(got[i].Value) {
				i++
			}
		}
		if i != len(got) || string(got[0].Value) != "418" {
			t.Fatalf("got %q of %q", got, h.Fields())
		}
	})
}
