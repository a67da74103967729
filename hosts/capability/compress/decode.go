package compress

import (
	"errors"
	"fmt"
	"io"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/hosts/capability"
)

const (
	// maxBrotliWindow is 4 MiB, in bits: the default of brotli's libraries.
	maxBrotliWindow = 22
	maxZstdWindow   = 8 << 20 // RFC 9659
	// maxRatio is how many times longer a decoded body may be, once it has freeBytes: no
	// more than deflate can make of anything.
	maxRatio  = 1032
	freeBytes = 1 << 20
)

// decoderBytes is what a decoder takes, as TestMemory measures it, with its parts.
var decoderBytes = [...]int64{capability.Gzip: 128 << 10, capability.Brotli: 6 << 20, capability.Zstd: 10 << 20, capability.Deflate: 128 << 10}

// Why a body is not decoded.
var (
	errLong     = errors.New("the body becomes longer than it may")
	errRatio    = fmt.Errorf("the body becomes more than %d times longer", maxRatio)
	errTrailing = errors.New("bytes follow the end")
	errWindow   = errors.New("it looks back farther than 4 MiB")
)

// codingError says that a body is not what its coding makes.
type codingError struct {
	coding capability.Coding
	err    error
}

func (e *codingError) Error() string { return e.coding.String() + ": " + e.err.Error() }
func (e *codingError) Unwrap() error { return e.err }

// decoder is a library's reader.
type decoder interface {
	io.Reader
	begin(from *source) error
}

type (
	gzipDecoder struct {
		gzip.Reader
		from *source
	}
	zlibDecoder   struct{ io.ReadCloser }
	brotliDecoder struct{ brotli.Reader }
	zstdDecoder   struct{ *zstd.Decoder }
)

func (d *gzipDecoder) begin(from *source) error {
	d.from = from
	return d.member()
}

// member begins one of those that a file has (RFC 1952, 2.2). The library takes a head that is
// cut within a name for the end of the file.
func (d *gzipDecoder) member() error {
	err := d.Reset(d.from)
	d.Multistream(false)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// Read implements io.Reader: of one member after another.
func (d *gzipDecoder) Read(p []byte) (int, error) {
	n, err := d.Reader.Read(p)
	if err != io.EOF {
		return n, err
	}
	if _, err = d.from.peek(); err == nil {
		err = d.member()
	}
	return n, err
}

func (d *zlibDecoder) begin(from *source) (err error) {
	if d.ReadCloser == nil {
		d.ReadCloser, err = zlib.NewReader(from)
		return err
	}
	return d.ReadCloser.(zlib.Resetter).Reset(from, nil)
}

func (d *brotliDecoder) begin(from *source) error {
	b, err := from.peek()
	if err != nil {
		return err
	}
	// WBITS (RFC 7932, 9.1): 0001 and three bits more are 16 and less, or 17.
	if b&1 == 1 && 17+b>>1&7 > maxBrotliWindow {
		return errWindow
	}
	return d.Reset(from)
}

func (d *zstdDecoder) begin(from *source) error {
	if _, err := from.peek(); err != nil { // else nothing would be a body
		return err
	}
	return d.Reset(from)
}

func (r *Recoder) decoder(c capability.Coding) decoder {
	if d, ok := r.decoders[c].Get().(decoder); ok {
		return d
	}
	switch c {
	case capability.Brotli:
		return &brotliDecoder{}
	case capability.Deflate:
		return &zlibDecoder{}
	case capability.Zstd:
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxZstdWindow), zstd.WithDecoderMaxMemory(maxZstdWindow))
		if err != nil {
			panic("BUG: " + err.Error())
		}
		return &zstdDecoder{d}
	}
	return &gzipDecoder{}
}

// source is what a decoder reads: an exchange.Body, or another decoder.
type source struct {
	from io.Reader
	in   []byte // made when first needed
	rest []byte // of in, unread
	n    int64  // that were read of from
	err  error  // of from, after rest
}

// fill makes rest at least one byte long.
func (s *source) fill() error {
	for len(s.rest) == 0 {
		if s.err != nil {
			return s.err
		}
		n, err := s.from.Read(s.in)
		s.rest, s.err = s.in[:n], err
		s.n += int64(n)
	}
	return nil
}

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	if err := s.fill(); err != nil {
		return 0, err
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// ReadByte implements io.ByteReader, so that no decoder reads beyond its end.
func (s *source) ReadByte() (byte, error) {
	b, err := s.peek()
	if err == nil {
		s.rest = s.rest[1:]
	}
	return b, err
}

// peek returns the next byte and leaves it there.
func (s *source) peek() (byte, error) {
	if err := s.fill(); err != nil {
		return 0, err
	}
	return s.rest[0], nil
}

// layer takes one coding away.
type layer struct {
	coding capability.Coding
	source source
	b      *buffers // the source's
	d      decoder
	begun  bool
	limit  int64
	n      int64 // bytes that came out
	err    error
}

// Read implements io.Reader.
func (l *layer) Read(p []byte) (n int, err error) {
	if l.err != nil {
		return 0, l.err
	}
	if !l.begun {
		err, l.begun = l.d.begin(&l.source), true
	}
	for n == 0 && err == nil {
		n, err = l.d.Read(p)
	}
	l.n += int64(n)
	l.err = l.judge(err)
	switch {
	case l.err == nil, l.err == io.EOF && n > 0:
		return n, nil
	case l.err == errLong || l.err == errRatio: // what came is not to be had
		return 0, l.err
	}
	return n, l.err
}

// judge says what the decoder's error is worth, and whether too much came out.
func (l *layer) judge(err error) error {
	from := l.source.err
	switch {
	case l.n > l.limit:
		return errLong
	case l.n > freeBytes && l.n > maxRatio*l.source.n:
		return errRatio
	case err == nil:
		return nil
	case from != nil && from != io.EOF: // what there is to read is cut short itself
		return from
	case err != io.EOF:
		return &codingError{l.coding, err}
	case l.n == 0 && l.source.n == 0: // not even a head
		return &codingError{l.coding, io.ErrUnexpectedEOF}
	}
	switch _, err := l.source.peek(); err {
	case io.EOF:
		return io.EOF
	case nil:
		return &codingError{l.coding, errTrailing}
	default:
		return err
	}
}

// decoding is a body that is decoded. It is its own exchange.Body.
type decoding struct {
	claim
	codings []capability.Coding
	limit   int64
	inner   exchange.Body
	request bool

	layers []*layer
	ready  []byte // read before it was asked for
	err    error  // after ready
}

var _ exchange.Body = (*decoding)(nil)

// Convert implements filter.Converter.
func (d *decoding) Convert(x *exchange.Exchange, request bool) error {
	m := messageOf(x, request)
	m.decoded(d.codings)
	if *m.body == nil {
		d.Release()
		return nil
	}
	known := *m.length
	d.inner, d.request = *m.body, request
	*m.body, *m.length = d, -1
	if known < 0 || known > part {
		return nil
	}
	if !d.enter() {
		return io.ErrClosedPipe
	}
	defer d.leave()
	ready := make([]byte, 0, min(4*known+512, part))
	for d.err == nil && len(ready) < part {
		if len(ready) == cap(ready) {
			ready = append(ready, 0)[:len(ready)]
		}
		n := d.read(ready[len(ready):cap(ready)])
		ready = ready[:len(ready)+n]
	}
	d.ready = ready
	switch d.err {
	case nil:
		return nil
	case io.EOF:
		*m.length = int64(len(ready))
		return nil
	}
	return d.err
}

// Read implements exchange.Body.
func (d *decoding) Read(p []byte) (int, error) {
	if !d.enter() {
		return 0, io.ErrClosedPipe
	}
	defer d.leave()
	if len(d.ready) > 0 {
		n := copy(p, d.ready)
		d.ready = d.ready[n:]
		return n, nil
	}
	if len(p) == 0 {
		return 0, nil
	}
	if d.err == nil {
		if n := d.read(p); n > 0 {
			return n, nil
		}
	}
	return 0, d.err
}

// read reads at most len(p) bytes, which is more than 0; 0: err says why.
func (d *decoding) read(p []byte) int {
	if d.layers == nil {
		d.open()
	}
	n, err := d.layers[len(d.layers)-1].Read(p)
	if err == nil {
		return n
	}
	if d.err = err; err != io.EOF {
		d.err = d.fault(err)
	}
	d.finish()
	return n
}

// open makes the decoders.
func (d *decoding) open() {
	from := io.Reader(d.inner)
	for _, c := range d.codings {
		b := d.r.buffers()
		l := &layer{coding: c, source: source{from: from, in: b.in}, b: b, d: d.r.decoder(c), limit: d.limit}
		d.layers = append(d.layers, l)
		from = l
	}
}

// fault says whose fault it is that a body cannot be decoded. The body's own errors stay.
func (d *decoding) fault(err error) error {
	e := &exchange.Error{Phase: exchange.PhaseRequestBody, Side: exchange.SideClient, Status: 400, Reason: "content-coding", Err: err}
	if !d.request {
		e.Phase, e.Side, e.Status = exchange.PhaseResponseBody, exchange.SideUpstream, 502
	}
	var wrong *codingError
	switch {
	case err == errLong || err == errRatio:
		if e.Reason = "decoded-size"; d.request {
			e.Status = 413
		}
		return e
	case errors.As(err, &wrong):
		return e
	}
	return err
}

// giveBack is called once, when nobody uses the decoders.
func (d *decoding) giveBack() {
	for _, l := range d.layers {
		if l.err == io.EOF { // else it may be in any state
			d.r.decoders[l.coding].Put(l.d)
		}
		d.r.keep(l.b)
		l.b, l.d, l.source = nil, nil, source{}
	}
}

// Buffered implements exchange.Body. What a decoder holds is not known: its reader flushes
// once too often.
func (d *decoding) Buffered() int { return len(d.ready) }

// Close implements exchange.Body.
func (d *decoding) Close() {
	if d.inner != nil {
		d.inner.Close()
	}
	d.Release()
}

// Stop forwards what pipes have.
func (d *decoding) Stop() { stop(d.inner) }
