package proxywasm

import "penstock.dev/penstock/core/sandbox"

// Done implements filter.Stream: done, log, delete.
func (s *stream) Done() {
	if s.i != nil {
		if !s.gone && s.i.Lock() == nil {
			if !s.failed && !s.r.closed {
				s.finish()
			}
			delete(s.v.streams, s.id)
			s.i.Unlock()
		}
		s.r.release()
	}
	s.recoded(wayRequest)
	s.recoded(wayResponse)
	s.budget.Settle()
	f := s.f
	clear(s.deliveries)
	clear(s.fields)
	*s = stream{f: f, deliveries: s.deliveries[:0], fields: s.fields[:0]}
	f.streams.Put(s)
}

// finish makes the last callbacks; a failure ends the instance, not the exchange.
func (s *stream) finish() {
	v := s.v
	s.ways = [2]way{{stage: s.ways[0].stage}, {stage: s.ways[1].stage}}
	err := s.deliver() // nothing can be reached any more, but each answer comes once
	s.done = true
	if err == nil && s.opened && !s.kept && s.f.quiet && v.fn.remove != nil && v.end(s.id) {
		return
	}
	for _, fn := range [...]*sandbox.Func{v.fn.done, v.fn.log, v.fn.remove} {
		if fn == nil || s.f.quiet && fn != v.fn.remove || err != nil {
			continue
		}
		v.r, v.current, v.effective = s.r, s, s
		v.stack[0] = uint64(s.id)
		err = v.invoke(fn, &s.budget)
	}
	v.current, v.effective = nil, nil
	if err != nil {
		s.f.log.Failure("the end of a stream", err)
	}
}

// maxEnded bounds what the guest keeps of streams that have ended.
const maxEnded = 8

// end puts proxy_on_delete of a context off; false: too many wait for it already.
func (v *vm) end(id uint32) bool {
	if len(v.ended) == maxEnded {
		return false
	}
	v.ended = append(v.ended, id)
	return true
}

// nextEnded returns a context whose proxy_on_delete was put off; 0: there is none.
func (v *vm) nextEnded() (id uint32) {
	if len(v.ended) > 0 {
		id = v.ended[0]
		v.ended = v.ended[:copy(v.ended, v.ended[1:])]
	}
	return id
}
