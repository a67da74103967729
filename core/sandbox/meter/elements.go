package meter

import (
	"errors"
	"fmt"
)

var errConst = errors.New("constant expression")

// constant copies a constant expression with function indices shifted.
func (m *module) constant(r *reader, out []byte) ([]byte, error) {
	for r.err == nil {
		start := r.at
		switch op := r.byte(); op {
		case 0x0b:
			return append(out, op), nil
		case 0x41:
			r.signed(32)
		case 0x42:
			r.signed(64)
		case 0x43:
			r.take(4)
		case 0x44:
			r.take(8)
		case 0x23: // global.get
			r.u32()
		case 0xd0: // ref.null
			r.byte()
		case 0xd2: // ref.func
			index := r.u32()
			m.take(index)
			out = appendU32(append(out, op), m.shift(index))
			continue
		case 0xfd:
			if sub := r.u32(); sub != 12 {
				return nil, feature("extended constant expressions")
			}
			r.take(16)
		case 0x6a, 0x6b, 0x6c, 0x7c, 0x7d, 0x7e:
			return nil, feature("extended constant expressions")
		default:
			return nil, fmt.Errorf("%w: opcode 0x%x", errConst, op)
		}
		if r.err == nil {
			out = append(out, r.b[start:r.at]...)
		}
	}
	return nil, r.err
}

// rewriteElements shifts the functions of element segments (5.5.12).
func (m *module) rewriteElements() error {
	body, ok := m.sections[secElement]
	if !ok {
		return nil
	}
	r := &reader{b: body}
	n := r.count()
	all := n
	out := appendU32(nil, uint32(n))
	var err error
	for range n {
		flags := r.u32()
		if flags > 7 {
			return fmt.Errorf("%w: element segment of kind %d", ErrModule, flags)
		}
		out = appendU32(out, flags)
		if flags&1 == 0 { // active
			if flags&2 != 0 {
				out = appendU32(out, r.u32())
			}
			if out, err = m.constant(r, out); err != nil {
				return err
			}
		}
		if flags&3 != 0 {
			kind := r.byte() // or type
			if r.err == nil && kind != 0 && kind != 0x70 && kind != 0x6f {
				return feature("elements of type 0x%x", kind)
			}
			out = append(out, kind)
		}
		count := r.count()
		if all += count; all > maxElements {
			return feature("more than %d elements and segments of them", maxElements)
		}
		out = appendU32(out, uint32(count))
		for range count {
			if flags&4 == 0 {
				index := r.u32()
				m.take(index)
				out = appendU32(out, m.shift(index))
			} else if out, err = m.constant(r, out); err != nil {
				return err
			}
		}
		if r.err != nil {
			return r.err
		}
	}
	m.sections[secElement] = out
	return r.end()
}

// checkData makes sure that data segments (5.5.14) are as many and as long as
// they claim: the engine makes room for what is claimed. They stay as they are.
func (m *module) checkData() error {
	body, ok := m.sections[secData]
	if !ok {
		return nil
	}
	r := &reader{b: body}
	n := r.count()
	if n > maxData {
		return feature("%d data segments, more than %d", n, maxData)
	}
	for range n {
		flags := r.u32()
		if flags > 2 {
			return fmt.Errorf("%w: data segment of kind %d", ErrModule, flags)
		}
		if flags == 2 && r.u32() != 0 {
			return feature("more than one memory")
		}
		if flags != 1 {
			if _, err := m.constant(r, nil); err != nil {
				return err
			}
		}
		r.take(r.u32())
		if r.err != nil {
			return r.err
		}
	}
	return r.end()
}
