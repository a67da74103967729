package grpc

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"

	"penstock.dev/penstock/core/exchange"
)

// trailerFlag marks the frame of gRPC-Web that holds the trailer fields.
const trailerFlag = 0x80

var errBase64 = errors.New("gRPC-Web: the body is not in base64")

// ToGRPC makes the head of a gRPC-Web request that of a gRPC request with the same
// format of messages, and reports which form it had; None: it is no gRPC-Web, and
// nothing was changed. New values are copied to x.Arena.
func ToGRPC(x *exchange.Exchange) Kind {
	q := &x.Request
	t, _ := q.Header.Get("content-type")
	kind := KindOf(t)
	if kind != Web && kind != Text || q.Body == nil {
		return None
	}
	format := t[len(kind.contentType()):]
	made := x.Arena.Alloc(len(typeGRPC) + len(format))
	copy(made[copy(made, typeGRPC):], format)
	q.Header.Set(contentType, made)
	q.TE = true // gRPC servers want to hear it
	q.Header.Del("x-grpc-web")
	if kind == Text {
		q.ContentLength = -1
	}
	return kind
}

// TextBody reads what is in base64 in another body. Padding may stand between
// pieces, as some clients encode each message by itself.
type TextBody struct {
	inner exchange.Body
	store []byte
	raw   []byte // of store: read from inner, not decoded yet
	out   [3]byte
	rest  []byte // of out: decoded, not read yet
	last  error  // of inner, after raw
}

// Reset makes b read inner, which it owns from then on.
func (b *TextBody) Reset(inner exchange.Body) { *b = TextBody{inner: inner, store: b.store} }

// Read implements exchange.Body.
func (b *TextBody) Read(p []byte) (int, error) {
	done := copy(p, b.rest)
	b.rest = b.rest[done:]
	for done < len(p) {
		switch {
		case len(b.raw) >= quantum:
			n, err := b.decode(p[done:])
			done += n
			if err != nil {
				b.raw, b.last = nil, err
			}
		case done > 0:
			return done, nil
		case b.last == io.EOF && len(b.raw) > 0:
			return 0, textError()
		case b.last != nil:
			return 0, b.last
		default:
			b.more()
		}
	}
	return done, nil
}

// quantum is what stands for three bytes.
const quantum = 4

// more reads on behind what is left of a quantum.
func (b *TextBody) more() {
	if b.store == nil {
		b.store = make([]byte, textPart)
	}
	k := copy(b.store, b.raw)
	n, err := b.inner.Read(b.store[k:])
	b.raw, b.last = b.store[:k+n], err
}

// decode decodes what fits into p, up to padding; at least a quantum.
func (b *TextBody) decode(p []byte) (int, error) {
	n := min(len(b.raw)/quantum, max(len(p)/len(b.out), 1)) * quantum
	if i := bytes.IndexByte(b.raw[:n], '='); i >= 0 {
		n = (i/quantum + 1) * quantum
	}
	from := b.raw[:n]
	b.raw = b.raw[n:]
	if bytes.ContainsAny(from, "\r\n") { // Decode would skip them
		return 0, textError()
	}
	if len(p) >= len(b.out) {
		n, err := base64.StdEncoding.Decode(p, from)
		if err != nil {
			return 0, textError()
		}
		return n, nil
	}
	n, err := base64.StdEncoding.Decode(b.out[:], from)
	if err != nil {
		return 0, textError()
	}
	k := copy(p, b.out[:n])
	b.rest = b.out[k:n]
	return k, nil
}

func textError() error {
	return &exchange.Error{Phase: exchange.PhaseRequestBody, Side: exchange.SideClient, Status: 400, Reason: "grpc-web", Err: errBase64}
}

// Buffered implements exchange.Body.
func (b *TextBody) Buffered() int {
	return len(b.rest) + (len(b.raw)+b.inner.Buffered())/quantum
}

// Close implements exchange.Body.
func (b *TextBody) Close() { b.inner.Close() }

// Stop ends a Read that waits, if the body inside can do that.
func (b *TextBody) Stop() {
	if s, ok := b.inner.(interface{ Stop() }); ok {
		s.Stop()
	}
}

// FromGRPC makes the response of x, if it is gRPC's, one of gRPC-Web of that kind;
// its body is b then.
func FromGRPC(x *exchange.Exchange, kind Kind, b *WebBody) {
	p := &x.Response
	t, _ := p.Header.Get("content-type")
	if KindOf(t) != GRPC {
		return
	}
	format := t[len(typeGRPC):]
	made := x.Arena.Alloc(len(kind.contentType()) + len(format))
	copy(made[copy(made, kind.contentType()):], format)
	p.Header.Set(contentType, made)
	if p.Body == nil { // its status is in the fields
		return
	}
	*b = WebBody{inner: p.Body, trailer: &p.Trailer, text: kind == Text, store: b.store[:0]}
	p.Header.Del("content-length")
	p.Body, p.ContentLength = b, -1
}

// WebBody is the body of a gRPC-Web response: the messages of a gRPC response, and
// then its trailer fields as a frame.
type WebBody struct {
	inner   exchange.Body
	trailer *exchange.Header
	text    bool
	store   []byte // what rest is of
	rest    []byte // encoded, not read yet
	err     error
}

// Read implements exchange.Body.
func (b *WebBody) Read(p []byte) (int, error) {
	if len(b.rest) == 0 && b.err == nil {
		if n := b.fill(p); n > 0 {
			return n, nil
		}
	}
	n := copy(p, b.rest)
	if b.rest = b.rest[n:]; len(b.rest) == 0 && b.err != nil {
		return n, b.err
	}
	return n, nil
}

// textPart is how much is encoded at once.
const textPart = 6 << 10

// fill reads on. In binary what comes goes to p, and its length is returned.
func (b *WebBody) fill(p []byte) int {
	if !b.text {
		n, err := b.inner.Read(p)
		if err != nil {
			b.end(err)
		}
		return n
	}
	if cap(b.store) < 3*textPart {
		b.store = make([]byte, 0, 3*textPart)
	}
	raw := b.store[2*textPart : 3*textPart]
	n, err := b.inner.Read(raw)
	b.rest = b.store[:base64.StdEncoding.EncodedLen(n)]
	base64.StdEncoding.Encode(b.rest, raw[:n])
	if err != nil {
		b.end(err)
	}
	return 0
}

// end appends the frame of the trailer fields, which leave the response.
func (b *WebBody) end(err error) {
	if b.err = err; err != io.EOF {
		return
	}
	frame := make([]byte, 5, 256)
	for _, f := range b.trailer.Fields() {
		for _, c := range f.Name {
			if 'A' <= c && c <= 'Z' {
				c |= 0x20
			}
			frame = append(frame, c)
		}
		frame = append(frame, ": "...)
		frame = append(append(frame, f.Value...), "\r\n"...)
	}
	b.trailer.Reset()
	frame[0] = trailerFlag
	binary.BigEndian.PutUint32(frame[1:], uint32(len(frame)-5))
	if b.text {
		frame = base64.StdEncoding.AppendEncode(nil, frame)
	}
	b.rest = append(b.rest, frame...)
}

// Buffered implements exchange.Body.
func (b *WebBody) Buffered() int { return len(b.rest) + b.inner.Buffered() }

// Close implements exchange.Body.
func (b *WebBody) Close() { b.inner.Close() }

var (
	_ exchange.Body = (*TextBody)(nil)
	_ exchange.Body = (*WebBody)(nil)
)
