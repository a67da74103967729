package meter

import "fmt"

// maxBody is the size in bytes of one function beyond which it is refused: the
// compiler's time grows faster than a function does.
const maxBody = 4 << 20

// rewriteCode rewrites every function body.
func (m *module) rewriteCode() error {
	body, ok := m.sections[secCode]
	if !ok {
		return nil
	}
	r := &reader{b: body}
	n := r.count()
	if n != len(m.functions)-m.imported-2 {
		return fmt.Errorf("%w: %d bodies for %d functions", ErrModule, n, len(m.functions)-m.imported-2)
	}
	out := appendU32(make([]byte, 0, len(body)*3/2), uint32(n))
	f := &function{m: m}
	for i := range n {
		code := r.take(r.u32())
		if r.err != nil {
			return r.err
		}
		if len(code) > maxBody {
			return feature("a function of %d bytes, more than %d", len(code), maxBody)
		}
		f.kind = m.types[m.functions[m.imported+2+i]]
		if err := f.rewrite(code); err != nil {
			return fmt.Errorf("function %d: %w", m.imported+i, err)
		}
		out = append(appendU32(out, uint32(len(f.out))), f.out...)
	}
	m.sections[secCode] = out
	return r.end()
}

// frame is a block, loop or if that is open.
type frame struct {
	base, params, results int // base: height below its parameters
	loop                  bool
}

// function rewrites one body. Its fields but m are of the current one.
//
// The body becomes the content of a block, so that every way out passes one
// place: there the steps since the last flush are subtracted and the frame's
// weight is given back. In between, steps are added up in a local, which the
// compiler keeps in a register; loop heads flush it now and then, and check.
type function struct {
	m       *module
	kind    funcType
	r       *reader
	code    []byte // rewritten instructions
	out     []byte // locals and code
	frames  []frame
	height  int
	highest int
	pending int    // steps of the straight code since the last charge
	moves   int    // of locals and of what jumps carry, not yet in pending
	acc     uint32 // local: steps since the last flush
	length  uint32 // local: operand of a bulk operation
	static  int    // steps of all code, each instruction once
	sites   int    // calls in the code
	calls   bool
	loops   bool
	vectors bool
}

func (f *function) rewrite(body []byte) error {
	*f = function{m: f.m, kind: f.kind, r: &reader{b: body}, code: f.code[:0], out: f.out[:0], frames: f.frames[:0]}
	declared := f.r.count()
	start := f.r.at
	locals := uint64(len(f.kind.params))
	for range declared {
		locals += uint64(f.r.u32())
		if t := f.r.byte(); f.r.err == nil && !valueType(t) {
			return feature("local of type 0x%x", t)
		}
	}
	if f.r.err != nil {
		return f.r.err
	}
	if locals > 50_000 {
		return feature("a function of %d locals, more than 50000", locals)
	}
	declarations := body[start:f.r.at]
	f.acc, f.length = uint32(locals), uint32(locals)+1
	f.frames = append(f.frames, frame{results: len(f.kind.results)})
	if err := f.instructions(); err != nil {
		return err
	}
	f.out = appendU32(f.out, uint32(declared+2))
	f.out = append(f.out, declarations...)
	f.out = append(f.out, 1, 0x7e, 1, 0x7f) // i64, i32
	f.assemble(locals)
	return nil
}

// assemble puts entry, block, code and exit together.
func (f *function) assemble(locals uint64) {
	width := int64(8)
	if f.vectors {
		width = 16
	}
	weight := 32 + width*(int64(locals)+2+int64(f.highest)+int64(len(f.kind.results)))
	guarded := f.calls || weight > 4096
	if guarded { // stack -= weight; below zero: overflow
		f.out = appendU32(append(f.out, 0x23), f.m.stack)
		f.out = appendS64(append(f.out, 0x41), weight)
		f.out = append(f.out, 0x6b)
		f.out = appendU32(append(f.out, 0x22), f.length)
		f.out = appendU32(append(f.out, 0x24), f.m.stack)
		f.out = appendU32(append(f.out, 0x20), f.length)
		f.out = append(f.out, 0x41, 0, 0x48, 0x04, 0x40)
		f.out = appendU32(append(f.out, 0x10), f.m.overflow)
		f.out = append(f.out, 0x0b)
	}
	f.out = appendS64(append(f.out, 0x42), int64(weightEntry+(locals+uint64(len(f.kind.results)))/4))
	f.out = appendU32(append(f.out, 0x21), f.acc)
	if f.calls { // what can recurse pays on entry
		f.out = f.appendFlush(f.out)
	}
	f.out = append(f.out, 0x02)
	switch results := f.kind.results; len(results) {
	case 0:
		f.out = append(f.out, 0x40)
	case 1:
		f.out = append(f.out, results[0])
	default:
		f.out = appendS64(f.out, int64(f.m.typeOf(nil, results)))
	}
	f.out = append(f.out, f.code...)    // ends with the block's end
	if !f.calls && f.static > flushAt { // many calls of it in a row make no other check
		f.out = f.appendFlush(f.out)
	} else { // steps -= acc, without a check: a loop or the next entry makes it
		f.out = appendU32(append(f.out, 0x23), f.m.steps)
		f.out = appendU32(append(f.out, 0x20), f.acc)
		f.out = append(f.out, 0x7d)
		f.out = appendU32(append(f.out, 0x24), f.m.steps)
	}
	if guarded {
		f.out = appendU32(append(f.out, 0x23), f.m.stack)
		f.out = appendS64(append(f.out, 0x41), weight)
		f.out = append(f.out, 0x6a)
		f.out = appendU32(append(f.out, 0x24), f.m.stack)
	}
	f.out = append(f.out, 0x0b)
}

// flushAt is how many steps are added up before a loop's head or a call flushes
// them: comparing a register is cheaper than going to memory each time. A frame
// that waits for a call has no more than that unpaid.
const flushAt = 256

// maxSites is how many calls the code of one function may have: in a row they
// make no check, and what they call may leave twice flushAt steps unchecked.
const maxSites = 20_000

// appendCheck flushes if acc has reached flushAt.
func (f *function) appendCheck(b []byte) []byte {
	b = appendU32(append(b, 0x20), f.acc)
	b = appendS64(append(b, 0x42), flushAt)
	b = append(b, 0x59, 0x04, 0x40) // i64.ge_s: if
	return append(f.appendFlush(b), 0x0b)
}

// appendFlush subtracts acc from the steps and asks for more below zero.
func (f *function) appendFlush(b []byte) []byte {
	b = appendU32(append(b, 0x23), f.m.steps)
	b = appendU32(append(b, 0x20), f.acc)
	b = append(b, 0x7d)
	b = appendU32(append(b, 0x22), f.acc)
	b = appendU32(append(b, 0x24), f.m.steps)
	b = appendU32(append(b, 0x20), f.acc)
	b = append(b, 0x42, 0, 0x53, 0x04, 0x40) // < 0: if
	b = appendU32(append(b, 0x10), f.m.refuel)
	b = append(b, 0x0b, 0x42, 0)
	return appendU32(append(b, 0x21), f.acc)
}

// charge adds the pending steps to acc.
func (f *function) charge() {
	f.pending += f.moves / weightMoves
	f.moves %= weightMoves
	if f.pending == 0 {
		return
	}
	f.code = appendU32(append(f.code, 0x20), f.acc)
	f.code = appendS64(append(f.code, 0x42), int64(f.pending))
	f.code = append(f.code, 0x7c)
	f.code = appendU32(append(f.code, 0x21), f.acc)
	f.static += f.pending
	f.pending = 0
}

func (f *function) move(e effect) {
	f.height = max(f.height-int(e.pop), 0) + int(e.push)
	f.highest = max(f.highest, f.height)
}

// instructions copies the body, with charges put in, up to its last end.
func (f *function) instructions() error {
	r := f.r
	for r.err == nil && len(f.frames) > 0 {
		start := r.at
		op := r.byte()
		if weight, e, ok := simple(op); ok {
			f.pending += weight
			f.move(e)
			f.code = append(f.code, op)
			continue
		}
		if err := f.instruction(op, start); err != nil {
			return err
		}
	}
	if r.err == nil && r.at != len(r.b) {
		r.fail("bytes after the last end")
	}
	return r.err
}

// plain counts and copies an instruction whose immediates were read.
func (f *function) plain(weight int, e effect, start int) {
	f.pending += weight
	f.move(e)
	f.code = append(f.code, f.r.b[start:f.r.at]...)
}

func (f *function) instruction(op byte, start int) error {
	r := f.r
	switch {
	case op <= 0x13 || op == 0x18 || op == 0x19 || op == 0x1f:
		return f.control(op)
	case op == 0x1c: // select with types: the engine skips two bytes
		if n, t := r.byte(), r.byte(); r.err == nil && (n != 1 || !valueType(t)) {
			return feature("select of %d types, type 0x%x", n, t)
		}
		f.plain(weightPlain, effect{3, 1}, start)
	case op == 0x20, op == 0x23, op == 0xd2: // local.get, global.get, ref.func
		index := r.u32()
		if op == 0xd2 {
			f.code = appendU32(append(f.code, op), f.m.shift(index))
			f.pending += weightRefFunc
			f.move(effect{0, 1})
			return nil
		}
		if err := f.variable(op, index); err != nil {
			return err
		}
		f.plain(variableWeight(op), effect{0, 1}, start)
	case op == 0x21, op == 0x24, op == 0x22: // local.set, global.set, local.tee
		e := effect{1, 0}
		if op == 0x22 {
			e = effect{1, 1}
		}
		if err := f.variable(op, r.u32()); err != nil {
			return err
		}
		f.moves++
		f.plain(variableWeight(op), e, start)
	case op == 0x25: // table.get
		r.u32()
		f.plain(weightTable, effect{1, 1}, start)
	case op == 0x26: // table.set
		r.u32()
		f.plain(weightTable, effect{2, 0}, start)
	case op >= 0x28 && op <= 0x35: // loads
		if err := f.memoryArgument(); err != nil {
			return err
		}
		f.plain(weightMemory, effect{1, 1}, start)
	case op >= 0x36 && op <= 0x3e: // stores
		if err := f.memoryArgument(); err != nil {
			return err
		}
		f.plain(weightMemory, effect{2, 0}, start)
	case op == 0x3f: // memory.size
		r.byte()
		f.plain(weightPlain, effect{0, 1}, start)
	case op == 0x40: // memory.grow
		f.bulkGrow()
		r.byte()
		f.plain(weightBulk, effect{1, 1}, start)
	case op == 0x41:
		r.signed(32)
		f.plain(weightFree, effect{0, 1}, start)
	case op == 0x42:
		r.signed(64)
		f.plain(weightFree, effect{0, 1}, start)
	case op == 0x43:
		r.take(4)
		f.plain(weightFree, effect{0, 1}, start)
	case op == 0x44:
		r.take(8)
		f.plain(weightFree, effect{0, 1}, start)
	case op == 0xd0: // ref.null
		if t := r.byte(); t != 0x70 && t != 0x6f {
			return feature("reference type 0x%x", t)
		}
		f.plain(weightPlain, effect{0, 1}, start)
	case op == 0xfc:
		return f.saturatingOrBulk(start)
	case op == 0xfd:
		return f.vector(start)
	case op == 0xfe:
		return feature("threads (atomic instructions)")
	case op == 0xfb:
		return feature("garbage collection")
	default:
		return feature("opcode 0x%x", op)
	}
	return nil
}

// variableWeight: a local is a register, a global is memory.
func variableWeight(op byte) int {
	if op == 0x23 || op == 0x24 {
		return weightMemory
	}
	return weightFree
}

// variable keeps the guest away from our locals and globals.
func (f *function) variable(op byte, index uint32) error {
	if op == 0x23 || op == 0x24 {
		if index >= f.m.steps {
			return fmt.Errorf("%w: unknown global %d", ErrModule, index)
		}
	} else if index >= f.acc {
		return fmt.Errorf("%w: unknown local %d", ErrModule, index)
	}
	return nil
}

func (f *function) memoryArgument() error {
	if align := f.r.u32(); align >= 64 {
		return feature("more than one memory")
	}
	f.r.u32()
	return nil
}
