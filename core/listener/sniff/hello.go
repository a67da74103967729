package sniff

import (
	"encoding/binary"
	"errors"
)

// MaxHello bounds the records of a ClientHello, in bytes. One with a key share for
// a post-quantum exchange has about 1,800.
const MaxHello = 16 << 10

// ErrNotTLS says that the bytes do not begin a TLS handshake, and ErrHello that
// they do, with a ClientHello that is malformed, or longer than MaxHello.
var (
	ErrNotTLS = errors.New("not a TLS handshake")
	ErrHello  = errors.New("malformed ClientHello")
)

// Hello is what a ClientHello asks for. Its slices are the parsed bytes, or were
// copied from several records.
type Hello struct {
	ServerName []byte   // server_name (RFC 6066, 3), as it stands; nil: none
	Protocols  [][]byte // application_layer_protocol_negotiation (RFC 7301)
}

// The numbers of RFC 8446, 4 and 5.1, and of the extensions.
const (
	recordHandshake  = 22
	recordHead       = 5
	maxFragment      = 1 << 14
	typeClientHello  = 1
	messageHead      = 4
	extServerName    = 0
	extProtocols     = 16
	nameTypeHostname = 0
)

// ClientHello reads the first message of a TLS client (RFC 8446, 4.1.2) from the
// beginning of b. need is 0 once it was read; else it is how many bytes b must have
// at least before more can be said. Nothing beyond the message is looked at.
func ClientHello(b []byte) (h Hello, need int, err error) {
	var message []byte // of the handshake, without the records' heads
	for at, records := 0, 0; ; records++ {
		if len(b) < at+recordHead {
			if !handshakeHead(b[min(at, len(b)):]) {
				return h, 0, refusal(records)
			}
			return h, at + recordHead, nil
		}
		size := int(binary.BigEndian.Uint16(b[at+3:]))
		if !handshakeHead(b[at:]) || size == 0 || size > maxFragment {
			return h, 0, refusal(records)
		}
		end := at + recordHead + size
		if end > MaxHello {
			return h, 0, ErrHello
		}
		if len(b) < end {
			return h, end, nil
		}
		if message = join(message, b[at+recordHead:end]); message[0] != typeClientHello {
			return h, 0, ErrHello
		}
		if len(message) >= messageHead {
			length := int(message[1])<<16 | int(message[2])<<8 | int(message[3])
			if length > MaxHello {
				return h, 0, ErrHello
			}
			if len(message) >= messageHead+length {
				h, err = parse(message[messageHead : messageHead+length])
				return h, 0, err
			}
		}
		at = end
	}
}

// handshakeHead reports whether b begins a record of the handshake, as far as it
// goes; of the version only that it is one of TLS (RFC 8446, 5.1).
func handshakeHead(b []byte) bool {
	return (len(b) < 1 || b[0] == recordHandshake) && (len(b) < 2 || b[1] == 3)
}

func refusal(records int) error {
	if records == 0 {
		return ErrNotTLS
	}
	return ErrHello
}

// join returns a and b; of one record nothing is copied.
func join(a, b []byte) []byte {
	if a == nil {
		return b[:len(b):len(b)]
	}
	return append(a, b...)
}

// parse reads the body of a ClientHello.
func parse(b []byte) (h Hello, err error) {
	in := input{b: b}
	in.skip(2 + 32) // legacy_version, random
	in.vector8()    // legacy_session_id
	suites := in.vector16()
	in.vector8() // legacy_compression_methods
	if in.bad || len(suites)%2 != 0 {
		return h, ErrHello
	}
	if len(in.b) == 0 { // no extensions
		return h, nil
	}
	extensions := input{b: in.vector16()}
	if in.bad || len(in.b) != 0 {
		return h, ErrHello
	}
	var seen map[uint16]bool
	for len(extensions.b) > 0 {
		kind := extensions.uint16()
		content := extensions.vector16()
		if extensions.bad || seen[kind] { // each at most once (RFC 8446, 4.2)
			return h, ErrHello
		}
		if seen == nil {
			seen = map[uint16]bool{}
		}
		seen[kind] = true
		switch kind {
		case extServerName:
			h.ServerName, err = serverName(content)
		case extProtocols:
			h.Protocols, err = protocols(content)
		}
		if err != nil {
			return Hello{}, err
		}
	}
	return h, nil
}

// serverName reads a ServerNameList: one name of each type (RFC 6066, 3).
func serverName(b []byte) (name []byte, err error) {
	in := input{b: b}
	list := input{b: in.vector16()}
	if in.bad || len(in.b) != 0 || len(list.b) == 0 {
		return nil, ErrHello
	}
	for len(list.b) > 0 {
		kind := list.uint8()
		one := list.vector16()
		if list.bad || len(one) == 0 {
			return nil, ErrHello
		}
		if kind != nameTypeHostname {
			continue
		}
		if name != nil || one[len(one)-1] == '.' {
			return nil, ErrHello
		}
		name = one
	}
	return name, nil
}

// protocols reads a ProtocolNameList (RFC 7301, 3.1).
func protocols(b []byte) (all [][]byte, err error) {
	in := input{b: b}
	list := input{b: in.vector16()}
	if in.bad || len(in.b) != 0 || len(list.b) == 0 {
		return nil, ErrHello
	}
	for len(list.b) > 0 {
		one := list.vector8()
		if list.bad || len(one) == 0 {
			return nil, ErrHello
		}
		all = append(all, one)
	}
	return all, nil
}

// input is bytes that are read from the front. Once it was too short it is bad,
// and whatever is read is nothing.
type input struct {
	b   []byte
	bad bool
}

func (in *input) skip(n int) []byte {
	if n > len(in.b) {
		in.b, in.bad = nil, true
		return nil
	}
	out := in.b[:n]
	in.b = in.b[n:]
	return out
}

func (in *input) uint8() int {
	if b := in.skip(1); b != nil {
		return int(b[0])
	}
	return 0
}

func (in *input) uint16() uint16 {
	if b := in.skip(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (in *input) vector8() []byte  { return in.skip(in.uint8()) }
func (in *input) vector16() []byte { return in.skip(int(in.uint16())) }
