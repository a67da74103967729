package meter

import (
	"fmt"
)

// funcType is what rewriting needs of a function type.
type funcType struct{ params, results []byte }

// module is a module on its way to being rewritten.
type module struct {
	options  Options
	sections map[byte][]byte
	nameBody []byte // custom section "name", after its name
	names    []byte // rewritten

	types        []funcType
	given        uint32   // types that the module has; ours follow
	rawTypes     []byte   // encoded types, new ones appended
	imported     int      // imported functions
	globals      uint32   // imported and defined globals, before ours
	functions    []uint32 // type of each function: imported, then defined
	memories     int
	taken        []bool   // by defined function: something but a direct call can call it
	shape        []shape  // by defined function
	takenBetween int      // of those taken, the most of shape.between
	edges        []uint32 // callees of the functions, one after the other
	refuel       uint32   // function index
	overflow     uint32
	steps        uint32 // global index
	stack        uint32
}

// split cuts the module into sections and checks their order.
func (m *module) split(wasm []byte) error {
	if len(wasm) < 8 || string(wasm[:4]) != "\x00asm" {
		return fmt.Errorf("%w: no magic number", ErrModule)
	}
	if string(wasm[4:8]) != "\x01\x00\x00\x00" {
		return fmt.Errorf("%w: version %x (a component?), want 1", ErrModule, wasm[4:8])
	}
	m.sections = map[byte][]byte{}
	r := &reader{b: wasm, at: 8}
	last := -1
	for r.more() {
		id := r.byte()
		body := r.take(r.u32())
		if r.err != nil {
			break
		}
		if id == secCustom {
			c := &reader{b: body}
			name := c.name()
			if c.err != nil {
				return malformed(c.err)
			}
			if name == "name" && m.nameBody == nil {
				m.nameBody = body[c.at:]
			}
			continue
		}
		if id == secTag {
			return feature("exception handling")
		}
		place := position(id)
		if place <= last {
			return fmt.Errorf("%w: section %d twice or out of order", ErrModule, id)
		}
		last = place
		m.sections[id] = body
	}
	return malformed(r.err)
}

// position returns where a section stands, -1 for an unknown one.
func position(id byte) int {
	for i, o := range order {
		if o == id {
			return i
		}
	}
	return -1
}

func (m *module) rewrite() error {
	for _, step := range []func() error{
		m.readTypes, m.readImports, m.readFunctions, m.rewriteTables, m.checkMemories, m.rewriteGlobals,
		m.rewriteExports, m.rewriteStart, m.rewriteElements, m.checkData, m.rewriteCode, m.finish,
	} {
		if err := step(); err != nil {
			return malformed(err)
		}
	}
	m.renameFunctions()
	return nil
}

// list begins to read a section that is a list, and returns its length; without
// the section 0.
func (m *module) list(id byte) (r *reader, n int) {
	body, ok := m.sections[id]
	r = &reader{b: body}
	if ok {
		n = r.count()
	}
	return r, n
}

func (m *module) readTypes() error {
	r, n := m.list(secType)
	for range n {
		start := r.at
		if form := r.byte(); r.err == nil && form != 0x60 {
			return feature("type form 0x%x (garbage collection)", form)
		}
		params := r.take(r.u32())
		results := r.take(r.u32())
		for _, t := range params {
			if !valueType(t) {
				return feature("value type 0x%x", t)
			}
		}
		for _, t := range results {
			if !valueType(t) {
				return feature("value type 0x%x", t)
			}
		}
		m.types = append(m.types, funcType{params, results})
		m.rawTypes = append(m.rawTypes, r.b[start:r.at]...)
	}
	m.given = uint32(len(m.types))
	return r.end()
}

func valueType(t byte) bool {
	switch t {
	case 0x7f, 0x7e, 0x7d, 0x7c, 0x7b, 0x70, 0x6f:
		return true
	}
	return false
}

// typeOf returns the index of a function type, made if it is new.
func (m *module) typeOf(params, results []byte) uint32 {
	for i, t := range m.types {
		if string(t.params) == string(params) && string(t.results) == string(results) {
			return uint32(i)
		}
	}
	m.types = append(m.types, funcType{params, results})
	m.rawTypes = append(m.rawTypes, 0x60)
	m.rawTypes = append(appendU32(m.rawTypes, uint32(len(params))), params...)
	m.rawTypes = append(appendU32(m.rawTypes, uint32(len(results))), results...)
	return uint32(len(m.types) - 1)
}

func (m *module) readImports() error {
	r, n := m.list(secImport)
	var out []byte
	for range n {
		start := r.at
		from := r.name()
		r.name()
		if from == ImportModule {
			return fmt.Errorf("%w: it imports from module %q, which is reserved", ErrModule, from)
		}
		switch kind := r.byte(); kind {
		case 0:
			t := r.u32()
			if r.err == nil && t >= m.given {
				return fmt.Errorf("%w: import of unknown type %d", ErrModule, t)
			}
			m.functions = append(m.functions, t)
			m.imported++
		case 1, 2:
			return fmt.Errorf("%w: it imports a table or memory; plugins bring their own", ErrModule)
		case 3:
			r.byte()
			r.byte()
			m.globals++
		default:
			return feature("import of kind %d", kind)
		}
		if r.err != nil {
			return r.err
		}
		out = append(out, r.b[start:r.at]...)
	}
	if err := r.end(); err != nil {
		return err
	}
	none := m.typeOf(nil, nil)
	for i, name := range []string{ImportRefuel, ImportOverflow} {
		out = appendName(appendName(out, ImportModule), name)
		out = appendU32(append(out, 0), none)
		m.functions = append(m.functions, none)
		m.refuel, m.overflow = uint32(m.imported), uint32(m.imported+i)
	}
	m.sections[secImport] = append(appendU32(nil, uint32(n+2)), out...)
	return nil
}

// shift returns a function's index after the two imports were put in.
func (m *module) shift(index uint32) uint32 {
	if index >= uint32(m.imported) {
		return index + 2
	}
	return index
}

func (m *module) readFunctions() error {
	body, ok := m.sections[secFunction]
	if !ok {
		return nil
	}
	r := &reader{b: body}
	n := r.count()
	if n > maxFunctions {
		return feature("%d functions, more than %d", n, maxFunctions)
	}
	for range n {
		t := r.u32()
		if r.err == nil && t >= m.given {
			return fmt.Errorf("%w: function of unknown type %d", ErrModule, t)
		}
		m.functions = append(m.functions, t)
		m.taken = append(m.taken, false)
	}
	return r.end()
}

// rewriteTables gives every table a maximum.
func (m *module) rewriteTables() error {
	body, ok := m.sections[secTable]
	if !ok {
		return nil
	}
	r := &reader{b: body}
	n := r.count()
	out := appendU32(nil, uint32(n))
	room := m.options.TableEntries / uint32(max(n, 1)) // for each: they share it
	for range n {
		kind := r.byte()
		if r.err == nil && kind != 0x70 && kind != 0x6f {
			return feature("table of type 0x%x", kind)
		}
		flags := r.byte()
		if flags > 1 {
			return feature("table limits 0x%x", flags)
		}
		least, most := r.u32(), room
		if flags == 1 {
			own := r.u32()
			if r.err == nil && own < least {
				return fmt.Errorf("%w: a table of %d entries with a maximum of %d", ErrModule, least, own)
			}
			most = min(most, own)
		}
		if r.err == nil && least > room {
			return feature("a table of %d entries, more than %d for each of %d", least, room, n)
		}
		out = appendU32(appendU32(append(out, kind, 1), least), max(least, most))
	}
	m.sections[secTable] = out
	return r.end()
}

func (m *module) checkMemories() error {
	body, ok := m.sections[secMemory]
	if !ok {
		return nil
	}
	r := &reader{b: body}
	m.memories = r.count()
	if m.memories > 1 {
		return feature("more than one memory")
	}
	for range m.memories {
		switch flags := r.byte(); {
		case flags&4 != 0:
			return feature("64-bit memory")
		case flags&2 != 0:
			return feature("shared memory (threads)")
		case flags > 1:
			return feature("memory limits 0x%x", flags)
		case flags == 1:
			r.u32()
		}
		r.u32()
	}
	return r.end()
}

func (m *module) rewriteGlobals() error {
	r, n := m.list(secGlobal)
	if all := int(m.globals) + n; all > maxGlobals {
		return feature("%d globals, more than %d", all, maxGlobals)
	}
	out := appendU32(nil, uint32(n+2))
	for range n {
		kind, mutable := r.byte(), r.byte()
		if r.err != nil {
			return r.err
		}
		var err error
		if out, err = m.constant(r, append(out, kind, mutable)); err != nil {
			return err
		}
	}
	m.steps, m.stack = m.globals+uint32(n), m.globals+uint32(n)+1
	out = append(out, 0x7e, 1, 0x42, 0, 0x0b) // mutable i64 = 0: the first check asks for steps
	out = append(out, 0x7f, 1, 0x41)
	out = append(appendS64(out, int64(m.options.StackBytes)), 0x0b)
	m.sections[secGlobal] = out
	return r.end()
}

func (m *module) rewriteExports() error {
	r, n := m.list(secExport)
	out := appendU32(nil, uint32(n+2))
	for range n {
		name, kind, index := r.name(), r.byte(), r.u32()
		if name == GlobalSteps || name == GlobalStack {
			return fmt.Errorf("%w: it exports %q, which is reserved", ErrModule, name)
		}
		if kind == 0 {
			m.take(index)
			index = m.shift(index)
		} else if kind == 3 && index >= m.steps {
			return fmt.Errorf("%w: export of unknown global %d", ErrModule, index)
		}
		out = appendU32(append(appendName(out, name), kind), index)
	}
	out = appendU32(append(appendName(out, GlobalSteps), 3), m.steps)
	m.sections[secExport] = appendU32(append(appendName(out, GlobalStack), 3), m.stack)
	return r.end()
}

func (m *module) rewriteStart() error {
	body, ok := m.sections[secStart]
	if !ok {
		return nil
	}
	r := &reader{b: body}
	m.sections[secStart] = appendU32(nil, m.shift(r.u32()))
	return r.end()
}

// finish writes the types, to which the others may have added.
func (m *module) finish() error {
	m.sections[secType] = append(appendU32(nil, uint32(len(m.types))), m.rawTypes...)
	return nil
}
