package h1

import (
	"bytes"
	"io"
	"time"

	"penstock.dev/penstock/core/codec/rfc9110"
	"penstock.dev/penstock/core/exchange"
)

// form is how the end of a message's content is found (RFC 9112, 6.3).
type form uint8

const (
	formNone form = iota
	formLength
	formChunked
	formClose
)

// maxChunkLine bounds a chunk's size line with its extensions, in bytes.
const maxChunkLine = 256

// directChunk is how much of a chunk must be left to read it past the buffer.
const directChunk = 8 << 10

// stage is where a chunked content stands.
type stage uint8

const (
	stageSize    stage = iota // before a size line
	stageData                 // left bytes of data follow
	stageDataEnd              // the CRLF after the data
	stageTrailer
)

// content reads the content of one message, without its framing. One goroutine
// uses it at a time.
type content struct {
	in      *reader
	form    form
	stage   stage
	left    int64 // of the content, or of the chunk
	total   int64 // bytes handed out
	err     error // final: io.EOF, or why it is cut short
	idle    time.Duration
	lim     *limits
	trailer *exchange.Header
	trusted bool // identity fields may trail
	// seen is how much of a trailer section was looked at in vain.
	seen int
}

// start readies c for a message that hd describes.
func (c *content) start(f form, length int64, trailer *exchange.Header) {
	c.form, c.left, c.stage = f, length, stageSize
	c.total, c.err, c.seen = 0, nil, 0
	c.trailer = trailer
	trailer.Reset()
	if f == formNone || f == formLength && length == 0 {
		c.form, c.err = formNone, io.EOF
	}
}

// available returns how many bytes read gives without waiting.
func (c *content) available() int {
	if c.err != nil {
		return 0
	}
	n := c.in.end - c.in.r
	switch c.form {
	case formClose:
		return n
	case formChunked:
		if c.stage != stageData {
			return 0
		}
	}
	return int(min(int64(n), c.left))
}

// read works as exchange.Body's Read. The last bytes come with io.EOF if the
// end is known by then. errInterrupted means that it may be called again.
func (c *content) read(p []byte) (n int, err error) {
	if c.err != nil {
		return 0, c.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	switch c.form {
	case formLength:
		n, err = c.readSome(p)
		if err == nil && c.left == 0 {
			err = io.EOF
		}
	case formChunked:
		n, err = c.readChunks(p)
	default:
		c.left = int64(len(p))
		n, err = c.readSome(p)
	}
	c.total += int64(n)
	if err == nil || err == errInterrupted {
		return n, err
	}
	if err == io.EOF && c.form == formLength && c.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	c.err = err
	if n > 0 && err != io.EOF {
		return n, nil // the error comes with the next call
	}
	return n, err
}

// readSome reads at most left bytes: from the buffer, or, for a large p,
// straight from the connection.
func (c *content) readSome(p []byte) (int, error) {
	// More than p is of use if other chunks, or a next message, may follow.
	direct := c.form != formChunked && len(p) >= minRoom || c.left >= directChunk && len(p) >= directChunk
	if c.left < int64(len(p)) {
		p = p[:c.left]
	}
	in := c.in
	if in.r == in.end {
		if direct {
			in.w.armRead(time.Now(), c.idle)
			n, err := in.w.read(p)
			c.left -= int64(n)
			return n, err
		}
		if err := in.fill(c.idle); err != nil {
			return 0, err
		}
	}
	n := copy(p, in.buf[in.r:in.end])
	in.r += n
	c.left -= int64(n)
	return n, nil
}

// readChunks fills p from as many chunks as are buffered; it waits only for
// the first byte.
func (c *content) readChunks(p []byte) (n int, err error) {
	for {
		if c.stage == stageData {
			if n > 0 && c.in.r == c.in.end {
				return n, nil
			}
			k, err := c.readSome(p[n:])
			n += k
			if err != nil {
				return n, cut(err)
			}
			if c.left > 0 {
				if n == len(p) {
					return n, nil
				}
				continue
			}
			c.stage = stageDataEnd
		}
		ready, err := c.advance()
		if err != nil || n == len(p) {
			return n, err
		}
		if ready {
			continue
		}
		if n > 0 {
			return n, nil
		}
		if err := c.in.fill(c.idle); err != nil {
			return 0, cut(err)
		}
	}
}

// cut turns the connection's end into an error: the content has not ended.
func cut(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// advance reads what stands between two chunks, as far as it is buffered; ready
// means that data follows. io.EOF is the end of the content.
func (c *content) advance() (ready bool, err error) {
	if c.stage == stageDataEnd {
		b := c.in.buffered()
		if len(b) > 0 && b[0] != '\r' || len(b) > 1 && b[1] != '\n' {
			return false, errChunk
		}
		if len(b) < 2 {
			return false, nil
		}
		c.in.take(2)
		c.stage = stageSize
	}
	if c.stage == stageSize {
		b := c.in.buffered()
		size, n, bad := parseChunkLine(b)
		if bad {
			return false, errChunk
		}
		if n == 0 {
			return false, nil
		}
		c.in.take(n)
		if size > 0 {
			c.stage, c.left = stageData, size
			return true, nil
		}
		c.stage = stageTrailer
	}
	return false, c.readTrailer()
}

// parseChunkLine reads a chunk's size and extensions (RFC 9112, 7.1): n is the
// size of the line with its CRLF, 0 if b does not hold all of it yet.
func parseChunkLine(b []byte) (size int64, n int, bad bool) {
	i := 0
	for ; i < len(b) && rfc9110.Is(b[i], rfc9110.Hex); i++ {
		if i == 15 {
			return 0, 0, true
		}
		c := int64(b[i])
		switch {
		case c <= '9':
			c -= '0'
		default:
			c = c | 0x20 - 'a' + 10
		}
		size = size<<4 | c
	}
	if i == len(b) {
		return 0, 0, false
	}
	if i == 0 {
		return 0, 0, true
	}
	if b[i] == '\r' { // the usual line
		if i+1 == len(b) {
			return 0, 0, false
		}
		return size, i + 2, b[i+1] != '\n'
	}
	if b[i] != ';' { // white space before it is refused, as others do
		return 0, 0, true
	}
	end := bytes.IndexByte(b[i:], '\n') + i
	if end < i {
		return 0, 0, len(b) > maxChunkLine
	}
	if end > maxChunkLine || b[end-1] != '\r' || !rfc9110.ValidValue(b[i:end-1]) {
		return 0, 0, true
	}
	return size, end + 1, false
}

// readTrailer reads the trailer section once it is buffered (RFC 9112, 7.1.2);
// it returns io.EOF then. Fields that may not trail are dropped.
func (c *content) readTrailer() error {
	b := c.in.buffered()
	if len(b) >= 2 && b[0] == '\r' && b[1] == '\n' {
		c.in.take(2)
		return io.EOF
	}
	if len(b) <= c.lim.bytes && bytes.IndexByte(b[min(c.seen, len(b)):], '\n') < 0 {
		c.seen = len(b)
		return nil
	}
	c.seen = len(b)
	hd := head{length: -1}
	c.trailer.Reset()
	n, refused := parseFields(b, c.lim, &hd, c.trailer, c.trusted)
	if refused != nil {
		c.trailer.Reset()
		return errTrailer
	}
	if n == 0 {
		c.trailer.Reset()
		return nil
	}
	c.trailer.DeleteFunc(func(f exchange.Field) bool { return !rfc9110.MayTrail(f.Name, c.trusted) })
	c.in.take(n)
	return io.EOF
}

// done reports whether the whole content was read.
func (c *content) done() bool { return c.err == io.EOF }
