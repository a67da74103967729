package proxy

import (
	"io"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/bufpool"
)

// interrupt makes both directions look at what filters signalled.
func (p *pump) interrupt() {
	if !p.running.Load() { // a new connection: nobody reads yet
		return
	}
	p.client.interrupt()
	p.upstream.interrupt()
}

// filtered hands on what src sends, beginning with head, through the filters, until
// it ends.
func (p *pump) filtered(src, dst *end, head []byte, total *int64) {
	downstream := src == p.client
	if len(head) > 0 {
		if out, _, err := p.filters.Data(downstream, head, false); !p.passed(dst, out, err, total) {
			return
		}
	}
	for {
		var b *bufpool.Buffer
		var out []byte
		var ended bool
		var refusal *exchange.Error
		b, n, err := p.next(src)
		switch err {
		case nil:
			p.touch()
			out, ended, refusal = p.filters.Data(downstream, b.Bytes[:n], false)
		case errInterrupted:
			out, ended, refusal = p.filters.Resume(downstream)
		case io.EOF:
			p.ending(src, dst, total)
			return
		default:
			p.cut(err, src)
			return
		}
		ok := p.passed(dst, out, refusal, total)
		p.pool.Put(b)
		if !ok {
			return
		}
		if ended {
			p.finish(src, dst)
			return
		}
	}
}

// ending tells the filters that src sends no more, and waits until they have let go
// of everything.
func (p *pump) ending(src, dst *end, total *int64) {
	downstream := src == p.client
	src.over = true
	out, ended, refusal := p.filters.Data(downstream, nil, true)
	for {
		if !p.passed(dst, out, refusal, total) {
			return
		}
		if ended {
			p.finish(src, dst)
			return
		}
		rung := p.filters.Rung()
		if p.over.Load() {
			return
		}
		if out, ended, refusal = p.filters.Resume(downstream); len(out) > 0 || ended || refusal != nil {
			continue
		}
		if !p.filters.Wait(rung, p.idle) && p.quiet() {
			p.cut(errIdle, src)
			return
		}
	}
}

// passed hands on what the filters let through; false: the connection is over.
func (p *pump) passed(dst *end, out []byte, refusal *exchange.Error, total *int64) bool {
	if refusal != nil {
		p.once.Do(func() { p.fault = refusal })
		p.end()
		return false
	}
	if len(out) == 0 {
		return true
	}
	if err := p.hand(dst, out, total); err != nil {
		p.cut(err, dst)
		return false
	}
	return true
}
