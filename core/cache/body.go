package cache

import (
	"io"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
)

// keptBody is the body of a detached exchange on its way to the client that began it.
type keptBody struct {
	exchange.Body
	d        filter.Detached
	from, to *exchange.Exchange
}

// Read implements exchange.Body; the trailer is the client's when it is complete.
func (b *keptBody) Read(p []byte) (int, error) {
	n, err := b.Body.Read(p)
	if err == io.EOF {
		for _, f := range b.from.Response.Trailer.Fields() {
			b.to.Response.Trailer.Add(b.to.Arena.Copy(f.Name), b.to.Arena.Copy(f.Value))
		}
	}
	return n, err
}

// Close implements exchange.Body: it ends the detached exchange.
func (b *keptBody) Close() {
	if b.d == nil {
		return
	}
	b.Body.Close()
	b.d.Finish()
	b.d, b.Body = nil, &exchange.Bytes{}
}

// section is a part of a body that is read from its start.
type section struct {
	inner      exchange.Body
	skip, left int64 // left -1: to the end
	scratch    []byte
}

// Read implements exchange.Body.
func (s *section) Read(p []byte) (int, error) {
	for s.skip > 0 {
		if s.scratch == nil {
			s.scratch = make([]byte, 16<<10)
		}
		n, err := s.inner.Read(s.scratch[:min(int64(len(s.scratch)), s.skip)])
		if s.skip -= int64(n); err != nil {
			return 0, io.ErrUnexpectedEOF
		}
	}
	if s.left == 0 {
		return 0, io.EOF
	}
	if s.left > 0 && int64(len(p)) > s.left {
		p = p[:s.left]
	}
	n, err := s.inner.Read(p)
	if s.left > 0 {
		s.left -= int64(n)
		if err == io.EOF && s.left > 0 {
			err = io.ErrUnexpectedEOF
		}
	}
	return n, err
}

// Buffered implements exchange.Body.
func (s *section) Buffered() int {
	if s.skip > 0 {
		return 0
	}
	n := s.inner.Buffered()
	if s.left >= 0 {
		n = int(min(int64(n), s.left))
	}
	return n
}

// Close implements exchange.Body.
func (s *section) Close() { s.inner.Close() }

// parts is a multipart body (RFC 9110, 14.6): text and bodies in turn.
type parts struct {
	list []exchange.Body
}

// Read implements exchange.Body.
func (m *parts) Read(p []byte) (int, error) {
	for len(m.list) > 0 {
		n, err := m.list[0].Read(p)
		if err == nil {
			return n, nil
		}
		if err != io.EOF {
			return n, err
		}
		m.list[0].Close()
		m.list = m.list[1:]
		if n > 0 {
			return n, nil
		}
	}
	return 0, io.EOF
}

// Buffered implements exchange.Body.
func (m *parts) Buffered() int {
	if len(m.list) == 0 {
		return 0
	}
	return m.list[0].Buffered()
}

// Close implements exchange.Body.
func (m *parts) Close() {
	for _, b := range m.list {
		b.Close()
	}
	m.list = nil
}

var (
	_ exchange.Body = (*keptBody)(nil)
	_ exchange.Body = (*section)(nil)
	_ exchange.Body = (*parts)(nil)
)
