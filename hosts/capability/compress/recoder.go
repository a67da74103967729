package compress

import (
	"sync"

	"penstock.dev/penstock/core/telemetry"
	"penstock.dev/penstock/hosts/capability"
)

// namespaceShares is how many namespaces can use up the memory.
const namespaceShares = 2

// Recoder implements capability.Recoder.
type Recoder struct {
	limit, share int64 // bytes
	gauge        telemetry.Gauge
	refused      telemetry.Counter

	encoders [capability.Zstd + 1][capability.MaxCodingLevel + 1]sync.Pool // of *machine
	decoders [capability.Deflate + 1]sync.Pool                             // of decoder
	parts    sync.Pool                                                     // of *buffers

	mu   sync.Mutex
	held int64
	by   map[string]int64 // by namespace
}

var _ capability.Recoder = (*Recoder)(nil)

// New returns a Recoder whose encoders and decoders take that many bytes of memory at most,
// half of them for one namespace.
func New(memory int64, m *telemetry.Metrics) *Recoder {
	return &Recoder{
		limit: memory, share: memory / namespaceShares, by: map[string]int64{},
		gauge:   m.Gauges("penstock_compress_held_bytes", "What encoders and decoders of bodies take.").With(),
		refused: m.Counters("penstock_compress_refusals_total", "Bodies that were not recoded because encoders and decoders took as much memory as they may.").With(),
	}
}

// Held returns how many bytes the encoders and decoders that work take.
func (r *Recoder) Held() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held
}

// take counts bytes for a namespace; false: there are not so many left.
func (r *Recoder) take(namespace string, bytes int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held+bytes > r.limit || r.by[namespace]+bytes > r.share {
		r.refused.Inc()
		return false
	}
	r.held += bytes
	r.by[namespace] += bytes
	r.gauge.Set(float64(r.held))
	return true
}

func (r *Recoder) give(namespace string, bytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held -= bytes
	r.gauge.Set(float64(r.held))
	if r.by[namespace] -= bytes; r.by[namespace] == 0 {
		delete(r.by, namespace)
	}
}

// Encode implements capability.Recoder.
func (r *Recoder) Encode(namespace string, c capability.Coding, level int) (capability.Recoding, error) {
	if c < capability.Gzip || c > capability.Zstd || level < 0 || level > capability.MaxCodingLevel {
		return nil, capability.ErrCoding
	}
	if level == 0 {
		level = defaultLevel[c]
	}
	e := &encoding{coding: c, level: level}
	e.claim = claim{r: r, namespace: namespace, bytes: encoderBytes(c, level), free: e.giveBack}
	if !r.take(namespace, e.bytes) {
		return nil, capability.ErrCodingMemory
	}
	return e, nil
}

// Decode implements capability.Recoder.
func (r *Recoder) Decode(namespace string, codings []capability.Coding, limit int64) (capability.Recoding, error) {
	if len(codings) == 0 || len(codings) > capability.MaxCodings || limit <= 0 {
		return nil, capability.ErrCoding
	}
	d := &decoding{codings: codings, limit: limit}
	d.claim = claim{r: r, namespace: namespace, free: d.giveBack}
	for _, c := range codings {
		if c < capability.Gzip || c > capability.Deflate {
			return nil, capability.ErrCoding
		}
		d.bytes += decoderBytes[c]
	}
	if !r.take(namespace, d.bytes) {
		return nil, capability.ErrCodingMemory
	}
	return d, nil
}

// claim is what a body holds of a Recoder until it is over.
type claim struct {
	r         *Recoder
	namespace string
	bytes     int64
	free      func() // gives encoders and decoders back

	mu   sync.Mutex
	busy bool // they work
	over bool // they are not wanted any more
	done bool // they are free
}

// enter says that they work, until leave; false: the body is over.
func (c *claim) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = !c.over
	return c.busy
}

func (c *claim) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = false
	c.settle()
}

// Release implements capability.Recoding.
func (c *claim) Release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	c.settle()
}

// finish frees what is held while it works, since the body's end is there.
func (c *claim) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end()
}

// settle frees what is held if nobody wants it, nor works with it. mu is held.
func (c *claim) settle() {
	if c.over && !c.busy {
		c.end()
	}
}

func (c *claim) end() {
	if !c.done {
		c.done = true
		c.free()
		c.r.give(c.namespace, c.bytes)
	}
}
