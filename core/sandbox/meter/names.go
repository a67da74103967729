package meter

// renameFunctions keeps the names of module and functions; a malformed name
// section is dropped, as it has no meaning for execution.
func (m *module) renameFunctions() {
	r := &reader{b: m.nameBody}
	var out []byte
	for r.more() {
		id := r.byte()
		body := r.take(r.u32())
		if r.err != nil {
			return
		}
		switch id {
		case 0:
			s := &reader{b: body}
			module := s.name()
			if s.err != nil {
				return
			}
			out = appendSection(out, 0, appendName(nil, module))
		case 1:
			s := &reader{b: body}
			n := s.count()
			list := appendU32(nil, uint32(n))
			for range n {
				index := m.shift(s.u32())
				list = appendName(appendU32(list, index), s.name())
			}
			if s.err != nil {
				return
			}
			out = appendSection(out, 1, list)
		}
	}
	if r.err == nil {
		m.names = out
	}
}
