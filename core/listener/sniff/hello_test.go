package sniff

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"time"
)

// recorder is a connection on which a client says its first message.
type recorder struct {
	net.Conn
	written []byte
}

var errRecorded = errors.New("recorded")

func (r *recorder) Write(p []byte) (int, error) {
	r.written = append(r.written, p...)
	return 0, errRecorded
}

func (*recorder) Read([]byte) (int, error)         { return 0, io.EOF }
func (*recorder) SetDeadline(time.Time) error      { return nil }
func (*recorder) SetReadDeadline(time.Time) error  { return nil }
func (*recorder) SetWriteDeadline(time.Time) error { return nil }
func (*recorder) Close() error                     { return nil }

// hello returns what a client of crypto/tls says first.
func hello(t testing.TB, c *tls.Config) []byte {
	t.Helper()
	r := &recorder{}
	c.InsecureSkipVerify = true
	if err := tls.Client(r, c).Handshake(); !errors.Is(err, errRecorded) {
		t.Fatal(err)
	}
	return r.written
}

// player is a connection from which a server reads.
type player struct {
	recorder
	rest []byte
}

func (p *player) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

// oracle returns what crypto/tls reads; ok is false if it refuses.
func oracle(b []byte) (name string, protocols []string, ok bool) {
	config := &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		name, protocols, ok = h.ServerName, h.SupportedProtos, true
		return nil, errRecorded
	}}
	_ = tls.Server(&player{rest: b}, config).Handshake()
	return name, protocols, ok
}

// fragment puts the message into records of n bytes.
func fragment(b []byte, n int) []byte {
	var out []byte
	for part := range slices.Chunk(b[recordHead:], n) {
		out = append(out, b[0], b[1], b[2])
		out = binary.BigEndian.AppendUint16(out, uint16(len(part)))
		out = append(out, part...)
	}
	return out
}

func TestClientHello(t *testing.T) {
	named := hello(t, &tls.Config{ServerName: "a.Example", NextProtos: []string{"h2", "x"}})
	tests := map[string]struct {
		in        []byte
		name      string
		protocols int
		err       error
	}{
		"a name and protocols":    {named, "a.Example", 2, nil},
		"what follows is ignored": {append(slices.Clone(named), "more"...), "a.Example", 2, nil},
		"no name":                 {hello(t, &tls.Config{}), "", 0, nil},
		"TLS 1.2":                 {hello(t, &tls.Config{ServerName: "b", MaxVersion: tls.VersionTLS12}), "b", 0, nil},
		"several records":         {fragment(named, 7), "a.Example", 2, nil},
		"HTTP":                    {[]byte("GET / HTTP/1.1\r\n"), "", 0, ErrNotTLS},
		"one byte of something":   {[]byte("G"), "", 0, ErrNotTLS},
		"an alert":                {[]byte{21, 3, 1, 0, 2, 1, 0}, "", 0, ErrNotTLS},
		"SSL 2":                   {[]byte{0x80, 0x2e, 1, 3, 1}, "", 0, ErrNotTLS},
		"a ServerHello":           {[]byte{22, 3, 1, 0, 4, 2, 0, 0, 0}, "", 0, ErrHello},
		"an empty record":         {[]byte{22, 3, 1, 0, 0}, "", 0, ErrNotTLS},
		"an empty hello":          {[]byte{22, 3, 1, 0, 4, 1, 0, 0, 0}, "", 0, ErrHello},
		"too long":                {[]byte{22, 3, 1, 0, 4, 1, 0, 0x41, 0}, "", 0, ErrHello},
		"a long record":           {[]byte{22, 3, 1, 0x40, 1}, "", 0, ErrNotTLS},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h, need, err := ClientHello(tt.in)
			if need != 0 || !errors.Is(err, tt.err) || string(h.ServerName) != tt.name || len(h.Protocols) != tt.protocols {
				t.Errorf("got %q %q, need %d, %v", h.ServerName, h.Protocols, need, err)
			}
		})
	}
}

// TestPartsOfAHello: each beginning says how much it needs, and never too much.
func TestPartsOfAHello(t *testing.T) {
	for _, whole := range [][]byte{hello(t, &tls.Config{ServerName: "a"}), fragment(hello(t, &tls.Config{ServerName: "a"}), 100)} {
		for n := range whole {
			_, need, err := ClientHello(whole[:n])
			if err != nil || need <= n || need > len(whole) {
				t.Fatalf("%d of %d bytes: need %d, %v", n, len(whole), need, err)
			}
		}
	}
}

// oldVersion reports whether a record of b has a version other than of TLS, which is
// how others than TLS's clients are told from them.
func oldVersion(b []byte) bool {
	for len(b) >= 5 {
		if b[1] != 3 {
			return true
		}
		b = b[min(len(b), 5+int(binary.BigEndian.Uint16(b[3:]))):]
	}
	return false
}

func FuzzClientHello(f *testing.F) {
	named := hello(f, &tls.Config{ServerName: "a.example", NextProtos: []string{"h2"}})
	f.Add(named)
	f.Add(fragment(named, 50))
	f.Add(hello(f, &tls.Config{MaxVersion: tls.VersionTLS12, ServerName: "b"}))
	f.Add([]byte("GET / HTTP/1.1\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, need, err := ClientHello(b)
		if need != 0 && (err != nil || need <= len(b) || need > MaxHello) {
			t.Fatalf("need %d of %d, %v", need, len(b), err)
		}
		name, protocols, ok := oracle(b)
		if !ok || len(b) > MaxHello {
			return // crypto/tls looks at more
		}
		if err != nil && oldVersion(b) {
			return // crypto/tls takes a record of any version
		}
		if err != nil || need != 0 {
			t.Fatalf("crypto/tls reads %q; got need %d, %v", name, need, err)
		}
		if string(h.ServerName) != name || !slices.EqualFunc(h.Protocols, protocols, func(a []byte, b string) bool { return bytes.Equal(a, []byte(b)) }) {
			t.Fatalf("crypto/tls reads %q %q; got %q %q", name, protocols, h.ServerName, h.Protocols)
		}
	})
}
