package upstream

import (
	"context"
	"encoding/binary"
	"io"
	"net/netip"
	"testing"

	"penstock.dev/penstock/core/codec/h2"
	"penstock.dev/penstock/core/exchange"
)

// answeringH2 answers each request with these frames, whose stream it fills in,
// and allocates nothing for it.
func answeringH2(t testing.TB, answer []byte) netip.AddrPort {
	t.Helper()
	return newOrigin(t, func(_ int, c *originConn) {
		if _, err := io.ReadFull(c.r, make([]byte, len(h2.Preface))); err != nil {
			return
		}
		c.Conn.Write([]byte{0, 0, 0, 4, 0, 0, 0, 0, 0}) // SETTINGS
		head, payload := make([]byte, 9), make([]byte, 1<<14)
		for {
			if _, err := io.ReadFull(c.r, head); err != nil {
				return
			}
			size := int(head[1])<<8 | int(head[2])
			if _, err := io.ReadFull(c.r, payload[:size]); err != nil {
				return
			}
			if head[3] != 1 {
				continue
			}
			for b := answer; len(b) > 0; b = b[9+int(b[1])<<8+int(b[2]):] {
				copy(b[5:9], head[5:9])
			}
			c.Conn.Write(answer)
		}
	}).addr
}

// sending returns a function that has one request answered.
func sending(tb testing.TB, answer []byte) func() {
	_, g := newH2Set(tb, params(), answeringH2(tb, answer))
	x := &exchange.Exchange{Conn: &exchange.Conn{}, Client: ContextClient{Context: context.Background()}}
	method, authority, path := []byte("GET"), []byte("a.example"), []byte("/p?q")
	name, value, b := []byte("User-Agent"), []byte("x"), make([]byte, 4096)
	return func() {
		x.Reset()
		q := &x.Request
		q.Method, q.Authority, q.Path = method, authority, path
		q.Header.Add(name, value)
		if err := g.Send(x, 0); err != nil {
			tb.Fatal(err)
		}
		if body := x.Response.Body; body != nil {
			for {
				if _, err := body.Read(b); err == io.EOF {
					break
				} else if err != nil {
					tb.Fatal(err)
				}
			}
			body.Close()
		}
	}
}

func TestAWarmStreamAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("pools drop what they hold at random")
	}
	content := binary.BigEndian.AppendUint32([]byte{0, 4, 0, 0, 1}, 0)
	content = append(content, make([]byte, 1024)...)
	tests := map[string]struct {
		answer []byte
		most   float64
	}{
		"without content": {[]byte{0, 0, 1, 1, 5, 0, 0, 0, 0, 0x89}, 0},                     // 204
		"with content":    {append([]byte{0, 0, 1, 1, 4, 0, 0, 0, 0, 0x88}, content...), 1}, // 200; its body, for a client that keeps none
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			once := sending(t, test.answer)
			for range 100 {
				once()
			}
			if n := testing.AllocsPerRun(500, once); n > test.most {
				t.Errorf("%v allocations, the upstream's included; want %v", n, test.most)
			}
		})
	}
}

func BenchmarkStream(b *testing.B) {
	once := sending(b, []byte{0, 0, 1, 1, 5, 0, 0, 0, 0, 0x89})
	once()
	b.ReportAllocs()
	for b.Loop() {
		once()
	}
}
