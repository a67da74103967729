package rfc9110

import (
	"encoding/binary"
	"testing"
)

// ends returns where WebSocket frames end in b, read by hand.
func ends(b []byte) (all []int) {
	for at := 0; len(b)-at >= 2; {
		size, head := uint64(b[at+1]&0x7f), 2
		switch size {
		case 126:
			head = 4
		case 127:
			head = 10
		}
		if len(b)-at < head {
			return all
		}
		switch head {
		case 4:
			size = uint64(binary.BigEndian.Uint16(b[at+2:]))
		case 10:
			size = binary.BigEndian.Uint64(b[at+2:])
		}
		if b[at+1]&0x80 != 0 {
			head += 4
		}
		if rest := uint64(len(b) - at); rest < uint64(head) || rest-uint64(head) < size {
			return all
		}
		at += head + int(size)
		all = append(all, at)
	}
	return all
}

// FuzzWebSocketFrames: wherever the bytes are cut, frames end where they do.
func FuzzWebSocketFrames(f *testing.F) {
	f.Add([]byte("\x81\x03abc\x88\x00"), uint8(1))
	f.Add([]byte("\x82\x7e\x00\x02ab\x82\xfe\x00\x01mask1"), uint8(3))
	f.Add([]byte("\x82\x7f\x00\x00\x00\x00\x00\x00\x00\x01a\x82\xff\xff\xff\xff\xff\xff\xff\xff\xffmask"), uint8(2))
	f.Fuzz(func(t *testing.T, b []byte, cut uint8) {
		var fr WebSocketFrames
		var got []int
		step := int(cut)%7 + 1
		for at := 0; at < len(b); {
			part := b[at:min(at+step, len(b))]
			n := fr.Next(part)
			if n == 0 || n > len(part) {
				t.Fatalf("took %d of %d bytes", n, len(part))
			}
			if at += n; fr.Between() {
				got = append(got, at)
			} else if n < len(part) {
				t.Fatalf("stopped at %d, within a frame", at)
			}
		}
		want := ends(b)
		if len(got) != len(want) {
			t.Fatalf("%x: frames end at %v; want %v", b, got, want)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("%x: frames end at %v; want %v", b, got, want)
			}
		}
	})
}
