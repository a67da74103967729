package h3

import (
	"context"
	"io"
	"time"

	"github.com/quic-go/quic-go"
)

// acceptUni serves the client's unidirectional streams until the connection has
// ended.
func (c *Conn) acceptUni() {
	for {
		qs, err := c.qc.AcceptUniStream(context.Background())
		if err != nil {
			return
		}
		c.running.Go(func() {
			defer qs.ReleaseStreamCredit()
			c.fail(c.uni(qs))
		})
	}
}

// uni serves one of the client's unidirectional streams (RFC 9114, 6.2). It returns
// nil, or a connError, once the stream has ended.
func (c *Conn) uni(qs *quic.ReceiveStream) error {
	in := &reader{}
	in.start(qs, make([]byte, 64))
	_ = qs.SetReadDeadline(time.Now().Add(c.p.HeaderTimeout)) // never fails
	kind, err := in.varint()
	if err != nil { // a stream may end before it has a type (RFC 9114, 6.2)
		qs.CancelRead(quic.StreamErrorCode(codeStreamCreation))
		return c.control(1)
	}
	_ = qs.SetReadDeadline(time.Time{}) // never fails
	switch kind {
	case streamPush: // RFC 9114, 6.2.2
		return connError{codeStreamCreation, "stream-creation"}
	case streamControl, streamEncoder, streamDecoder:
		if !c.claim(kind) {
			return connError{codeStreamCreation, "stream-creation"}
		}
	default: // RFC 9114, 6.2.3
		qs.CancelRead(quic.StreamErrorCode(codeStreamCreation))
		return c.control(1)
	}
	switch kind {
	case streamControl:
		err = (&control{in: in, pay: c.control, datagrams: c.datagrams}).read()
	case streamEncoder:
		err = readEncoder(in, c.control)
	case streamDecoder:
		err = readDecoder(in, c.control)
	}
	switch err {
	case errGone:
		return nil
	case errReset, io.EOF:
		return connError{codeClosedCritical, "closed-critical"} // RFC 9114, 6.2.1; RFC 9204, 4.2
	case errTruncated:
		if kind != streamControl {
			return connError{codeClosedCritical, "closed-critical"}
		}
		return connError{codeFrame, "frame-truncated"}
	case errShort:
		return connError{codeFrame, "frame-size"}
	}
	return err
}

// claim notes that a stream of a type was opened; false: there is one already.
func (c *Conn) claim(kind uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.critical[kind] {
		return false
	}
	c.critical[kind] = true
	return true
}

// datagrams reports whether the client's QUIC takes datagrams.
func (c *Conn) datagrams() bool { return c.qc.ConnectionState().SupportsDatagrams.Remote }

// readEncoder reads the client's encoder stream (RFC 9204, 4.3). As it was told of
// no dynamic table, it can but set its capacity to the 0 that it is.
func readEncoder(in *reader, pay func(n int) error) error {
	for {
		first, err := in.byte()
		if err != nil {
			return err
		}
		if first != 0x20 {
			return connError{codeQPACKEncoder, "qpack-encoder"}
		}
		if err := pay(1); err != nil {
			return err
		}
	}
}

// readDecoder reads the client's decoder stream (RFC 9204, 4.4). Nothing can be
// acknowledged, as nothing was inserted; a stream may be cancelled.
func readDecoder(in *reader, pay func(n int) error) error {
	for {
		first, err := in.byte()
		if err != nil {
			return err
		}
		if first&0xc0 != 0x40 {
			return connError{codeQPACKDecoder, "qpack-decoder"}
		}
		n, shift := uint64(first&0x3f), 0
		for more := n == 0x3f; more; shift += 7 {
			b, err := in.byte()
			if err != nil {
				return within(err)
			}
			if n += uint64(b&0x7f) << shift; shift > 56 || n > maxVarint {
				return connError{codeQPACKDecoder, "qpack-decoder"}
			}
			more = b&0x80 != 0
		}
		if err := pay(1); err != nil {
			return err
		}
	}
}
