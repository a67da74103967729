package compress

import (
	"io"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/hosts/capability"
)

const (
	// part is how much of a body is read at once, in bytes. What is known to be no longer is
	// recoded before the headers go on, so that its new length is known.
	part = 32 << 10
	// enough is how much of what is encoded goes on at once, though more could.
	enough = part / 2
	// maxKept is the memory of a part that is kept for another body.
	maxKept = 4 * part
	// window is how far back brotli and zstd look, in bits.
	window = 19
	// slow is how long a part of a body with a length takes that is flushed when the next
	// one is not there: what comes faster is encoded as one.
	slow = 5 * time.Millisecond
)

// defaultLevel is the level of those who ask for none.
var defaultLevel = [...]int{capability.Gzip: 5, capability.Brotli: 4, capability.Zstd: 3}

// encoderBytes is what an encoder takes, as TestMemory measures it, with its parts.
func encoderBytes(c capability.Coding, level int) int64 { return kibibytes[c][level] << 10 }

var kibibytes = [...][capability.MaxCodingLevel + 1]int64{
	capability.Gzip:   {1: 1536, 1536, 1536, 1536, 1536, 1536, 1792, 1792, 1792},
	capability.Brotli: {1: 1024, 2560, 2560, 10240, 11264, 12288, 20480, 28672, 49152},
	capability.Zstd:   {1: 2048, 2048, 3584, 3584, 3584, 7168, 7168, 7168, 7168},
}

// encoder is what the libraries' writers have in common.
type encoder interface {
	io.WriteCloser
	Flush() error
	Reset(io.Writer)
}

// machine is an encoder that is used for one body after another.
type machine struct {
	encoder
	to *buffers
}

// sink gets what a machine's encoder writes.
type sink machine

// Write implements io.Writer.
func (s *sink) Write(p []byte) (int, error) {
	s.to.out = append(s.to.out, p...)
	return len(p), nil
}

// encoder returns a machine that writes to b.
func (r *Recoder) encoder(c capability.Coding, level int, b *buffers) *machine {
	m, ok := r.encoders[c][level].Get().(*machine)
	if !ok {
		m = &machine{encoder: newEncoder(c, level)}
	}
	m.to = b
	m.Reset((*sink)(m))
	return m
}

func newEncoder(c capability.Coding, level int) encoder {
	switch c {
	case capability.Gzip:
		e, err := gzip.NewWriterLevel(io.Discard, level)
		if err != nil {
			panic("BUG: " + err.Error())
		}
		return e
	case capability.Brotli:
		return brotli.NewWriterOptions(io.Discard, brotli.WriterOptions{Quality: level, LGWin: window})
	}
	speed := zstd.SpeedDefault
	switch {
	case level < 3:
		speed = zstd.SpeedFastest
	case level >= 6: // the best has tables of 32 MiB
		speed = zstd.SpeedBetterCompression
	}
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(speed), zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(1<<window), zstd.WithZeroFrames(true))
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return e
}

// buffers are those of one body: what was read, and what is to be read.
type buffers struct {
	in, out []byte
}

func (r *Recoder) buffers() *buffers {
	if b, ok := r.parts.Get().(*buffers); ok {
		return b
	}
	return &buffers{in: make([]byte, part), out: make([]byte, 0, part)}
}

// keep takes buffers back.
func (r *Recoder) keep(b *buffers) {
	if cap(b.out) <= maxKept {
		b.out = b.out[:0]
		r.parts.Put(b)
	}
}

// encoding is a body that is encoded. It is its own exchange.Body.
type encoding struct {
	claim
	coding  capability.Coding
	level   int
	inner   exchange.Body
	left    int64 // of inner, -1: not known
	pending bool  // the encoder has what was not flushed
	slow    bool  // the last part had to be waited for

	m    *machine // nil: not begun, or given back
	b    *buffers // nil: not begun, or read to the end
	sent int      // of b.out
	err  error    // after b.out
}

var _ exchange.Body = (*encoding)(nil)

// Convert implements filter.Converter.
func (e *encoding) Convert(x *exchange.Exchange, request bool) error {
	m := messageOf(x, request)
	m.encoded(e.coding)
	if *m.body == nil {
		e.Release()
		return nil
	}
	e.inner, e.left = *m.body, *m.length
	*m.body, *m.length = e, -1
	if e.left < 0 || e.left > part {
		return nil
	}
	if !e.enter() {
		return io.ErrClosedPipe
	}
	defer e.leave()
	for e.err == nil {
		e.step()
	}
	if e.err != io.EOF {
		return e.err
	}
	*m.length = int64(len(e.b.out))
	return nil
}

// Read implements exchange.Body.
func (e *encoding) Read(p []byte) (int, error) {
	if !e.enter() {
		return 0, io.ErrClosedPipe
	}
	defer e.leave()
	if e.b == nil || e.sent == len(e.b.out) {
		e.fill()
	}
	if e.b == nil || e.sent == len(e.b.out) {
		e.drained()
		return 0, e.err
	}
	n := copy(p, e.b.out[e.sent:])
	e.sent += n
	return n, nil
}

// drained gives the buffers back when all of the body was read.
func (e *encoding) drained() {
	if e.b != nil && e.m == nil {
		e.r.keep(e.b)
		e.b = nil
	}
}

// fill has encoded what there is, up to a sensible amount, or until the body's end. What is
// encoded does not wait for a part that is not there yet.
func (e *encoding) fill() {
	if e.b != nil {
		e.b.out, e.sent = e.b.out[:0], 0
	}
	for e.err == nil && (e.b == nil || len(e.b.out) < enough) {
		if e.b != nil && e.urgent() && e.inner.Buffered() == 0 {
			if e.pending {
				e.pending = false
				e.fail(e.m.Flush())
			}
			if len(e.b.out) > 0 {
				return
			}
		}
		if e.err == nil {
			e.step()
		}
	}
}

// step reads a part and has it encoded.
func (e *encoding) step() {
	if e.b == nil {
		e.b = e.r.buffers()
		e.m = e.r.encoder(e.coding, e.level, e.b)
	}
	waits := e.inner.Buffered() == 0
	var began time.Time
	if waits && e.left > 0 {
		began = time.Now()
	}
	n, err := e.inner.Read(e.b.in)
	if e.left >= 0 {
		e.left = max(e.left-int64(n), 0)
		e.slow = waits && time.Since(began) > slow
	}
	if n > 0 {
		e.pending = true
		_, wrong := e.m.Write(e.b.in[:n])
		e.fail(wrong)
	}
	switch {
	case e.err != nil || err == nil:
	case err == io.EOF:
		if e.fail(e.m.Close()); e.err == nil {
			e.err, e.pending = io.EOF, false
			e.finish() // what it wrote is still to be sent
		}
	default:
		e.err = err
	}
}

// urgent reports whether a part that is there is not to wait for the next: always if nobody
// says how much comes, as of events; else if it comes slowly.
func (e *encoding) urgent() bool { return e.left < 0 || e.left > 0 && e.slow }

// fail keeps an encoder's error: the proxy's fault.
func (e *encoding) fail(err error) {
	if err != nil {
		e.err = &exchange.Error{Phase: exchange.PhaseResponseBody, Side: exchange.SideProxy, Status: 500, Reason: "encode", Err: err}
	}
}

// giveBack is called once, when nobody uses the encoder.
func (e *encoding) giveBack() {
	if e.m != nil {
		e.m.to = nil
		e.r.encoders[e.coding][e.level].Put(e.m)
		e.m = nil
	}
}

// Buffered implements exchange.Body.
func (e *encoding) Buffered() int {
	switch {
	case e.b != nil && e.sent < len(e.b.out):
		return len(e.b.out) - e.sent
	case e.err == nil && e.pending && e.urgent():
		return 1 // at least: the flush's
	}
	return 0
}

// Close implements exchange.Body.
func (e *encoding) Close() {
	if e.inner != nil {
		e.inner.Close()
	}
	e.Release()
}

// Stop forwards what pipes have.
func (e *encoding) Stop() { stop(e.inner) }

func stop(b exchange.Body) {
	if s, ok := b.(interface{ Stop() }); ok {
		s.Stop()
	}
}
