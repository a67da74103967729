package meter

import "fmt"

// maxBody is the size in bytes of one function beyond which it is refused: the
// compiler's time grows faster than a function does.
const maxBody = 4 << 20

// maxCode bounds the code of a rewritten module, in bytes: what is made of a loop of
// three bytes is twenty times as long.
const maxCode = 192 << 20

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
	bodies := make([][]byte, n)
	for i := range bodies {
		bodies[i] = r.take(r.u32())
		if r.err != nil {
			return r.err
		}
		if len(bodies[i]) > maxBody {
			return feature("a function of %d bytes, more than %d", len(bodies[i]), maxBody)
		}
	}
	if err := r.end(); err != nil {
		return err
	}
	if err := m.shapes(bodies); err != nil {
		return err
	}
	out := appendU32(make([]byte, 0, len(body)*3/2), uint32(n))
	f := &function{m: m}
	for i, code := range bodies {
		if err := f.rewrite(code, i); err != nil {
			return err
		}
		out = append(appendU32(out, uint32(len(f.out))), f.out...)
		if len(out) > maxCode {
			return feature("code that takes more than %d MiB once it is metered", maxCode>>20)
		}
	}
	m.sections[secCode] = out
	return nil
}

// frame is a block, loop or if that is open.
type frame struct {
	base, params, results int // base: height below its parameters
	loop                  bool
	label                 int  // where a jump to it goes: blocks that are open there in the rewritten code
	folded                bool // a loop in a fold
	before                int  // due when it was opened, for its else
	due                   int  // of the jumps to its end, the most; see function.due
}

// never is less than any sum of steps.
const never = -1 << 40

// function rewrites one body, as its class asks. Its fields but m and looking
// are of the current one.
//
// The body becomes the content of a block, so that every way out passes one
// place: there the steps since the last flush are subtracted and the frame's
// weight is given back. In between, steps are added up in a local, which the
// compiler keeps in a register; loop heads flush it now and then, and check.
type function struct {
	m       *module
	looking bool // for its shape; nothing is rewritten yet
	shape   *shape
	kind    funcType
	r       *reader
	code    []byte // rewritten instructions
	out     []byte // locals and code
	frames  []frame
	depth   int // blocks that are open in the rewritten code
	targets []uint32
	height  int
	highest int
	pending int    // steps of the straight code since the last charge
	moves   int    // of locals and of what jumps carry, not yet in pending
	acc     uint32 // local: steps since the last flush
	length  uint32 // local: operand of a bulk operation
	static  int    // steps of all code, each instruction once
	calls   int    // in the code
	between int    // what the frames weigh that lead from here to a guarded function
	vectors bool
	due     int // the most that can have been added up here since the last check
}

func (f *function) rewrite(body []byte, index int) error {
	*f = function{m: f.m, looking: f.looking, shape: &f.m.shape[index], kind: f.m.types[f.m.functions[f.m.imported+2+index]],
		r: &reader{b: body}, code: f.code[:0], out: f.out[:0], frames: f.frames[:0], targets: f.targets}
	if err := f.body(); err != nil {
		return fmt.Errorf("function %d: %w", f.m.imported+index, err)
	}
	return nil
}

func (f *function) body() error {
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
	declarations := f.r.b[start:f.r.at]
	f.acc, f.length = uint32(locals), uint32(locals)+1
	f.depth = 1
	f.frames = append(f.frames, frame{results: len(f.kind.results), due: never})
	if err := f.instructions(); err != nil {
		return err
	}
	entry := weightEntry + (int(locals)+len(f.kind.results))/4
	switch {
	case f.looking:
		f.shape.static, f.shape.stack = f.static+entry, f.weight(locals)
		f.shape.own, f.shape.total = f.shape.static, flushAt+1
	case f.shape.class == free:
		f.out = append(append(appendU32(f.out, uint32(declared)), declarations...), f.code...)
	default:
		f.out = appendU32(f.out, uint32(declared+2))
		f.out = append(f.out, declarations...)
		f.out = append(f.out, 1, 0x7e, 1, 0x7f) // i64, i32
		weight := f.weight(locals) + f.between
		if f.shape.aborts {
			weight += flatStack // of the frames that led to it
		}
		f.assemble(entry, weight)
	}
	return nil
}

// charge adds the pending steps to acc.
func (f *function) charge() {
	f.pending += f.moves / weightMoves
	f.moves %= weightMoves
	n := f.pending
	f.pending = 0
	f.static += n
	if n == 0 || f.looking || f.shape.class == free {
		return
	}
	f.due += n
	f.code = appendU32(append(f.code, 0x20), f.acc)
	f.code = appendS64(append(f.code, 0x42), int64(n))
	f.code = append(f.code, 0x7c)
	f.code = appendU32(append(f.code, 0x21), f.acc)
}

// check is appendCheck here.
func (f *function) check() {
	f.code, f.due = f.appendCheck(f.code), 0
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
			f.m.take(index)
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
