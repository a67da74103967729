package meter

import "fmt"

// control copies a control instruction; where paths part or meet, the straight
// code before it is charged.
func (f *function) control(op byte) error {
	r := f.r
	switch op {
	case 0x00: // unreachable
		f.charge()
		f.code = append(f.code, op)
		f.dead()
	case 0x02, 0x03, 0x04: // block, loop, if
		return f.open(op)
	case 0x05: // else
		f.charge()
		f.code = append(f.code, op)
		top := &f.frames[len(f.frames)-1]
		f.height = top.base + top.params
		top.due = max(top.due, f.due)
		f.due = top.before
	case 0x0b: // end
		f.charge()
		top := f.frames[len(f.frames)-1]
		if top.folded {
			f.code = f.appendFlush(append(append(f.code, 0x0b), otherwise...))
			f.code = append(f.code, unfold...)
			f.depth -= foldDepth
		} else {
			f.code = append(f.code, op)
			f.depth--
		}
		f.frames = f.frames[:len(f.frames)-1]
		f.height = top.base + top.results
		f.moves += top.results
		f.highest = max(f.highest, f.height)
		f.due = max(f.due, top.due)
	case 0x0c, 0x0d: // br, br_if
		f.pending += weightPlain
		to := f.label()
		f.charge()
		f.code = f.jump(append(f.code, op), to)
		if op == 0x0d {
			f.move(effect{1, 0})
		} else {
			f.dead()
		}
	case 0x0e: // br_table
		f.pending += weightTable
		f.targets = f.targets[:0]
		n := r.count()
		for range n + 1 {
			f.targets = append(f.targets, f.label())
		}
		f.charge()
		f.code = appendU32(append(f.code, op), uint32(n))
		for _, to := range f.targets {
			f.code = f.jump(f.code, to)
		}
		f.dead()
	case 0x0f: // return: out of the block around the body
		f.pending += weightPlain
		f.charge()
		f.code = f.jump(append(f.code, 0x0c), uint32(len(f.frames)-1)) // of what is left as it is, too
		f.dead()
	case 0x10, 0x11:
		return f.call(op)
	case 0x12, 0x13:
		return feature("tail calls")
	case 0x06, 0x07, 0x08, 0x09, 0x0a, 0x18, 0x19, 0x1f:
		return feature("exception handling")
	default:
		return feature("opcode 0x%x", op)
	}
	return nil
}

// label reads where a jump goes. The engine would take one more: the function
// itself around our block, past the place where its steps are paid.
func (f *function) label() uint32 {
	n := f.r.u32()
	if int64(n) >= int64(len(f.frames)) {
		f.r.fail("a jump out of the function")
		return 0
	}
	if to := &f.frames[len(f.frames)-1-int(n)]; to.loop {
		f.moves += to.params
	} else {
		f.moves += to.results
	}
	return n
}

// jump writes where a jump to label n goes, and notes what is due there.
func (f *function) jump(b []byte, n uint32) []byte {
	if f.r.err != nil {
		return b
	}
	to := &f.frames[len(f.frames)-1-int(n)]
	to.due = max(to.due, f.due)
	return appendU32(b, uint32(f.depth-1-to.label))
}

// dead is the code after a jump: height and steps no longer matter.
func (f *function) dead() {
	f.height, f.due = f.frames[len(f.frames)-1].base, never
}

func (f *function) open(op byte) error {
	if op == 0x04 {
		f.pending += weightPlain
	}
	start := f.r.at
	kind := f.r.signed(33)
	var params, results int
	switch {
	case kind >= 0:
		if kind >= int64(f.m.given) {
			return fmt.Errorf("%w: block of unknown type %d", ErrModule, kind)
		}
		params, results = len(f.m.types[kind].params), len(f.m.types[kind].results)
	case kind != -64: // 0x40: empty
		if !valueType(byte(kind & 0x7f)) {
			return feature("block type %d", kind)
		}
		results = 1
	}
	if op != 0x02 {
		f.charge()
	}
	before, kindBytes := f.due, f.r.b[start:f.r.at]
	next := frame{params: params, results: results, loop: op == 0x03, label: f.depth, due: never, before: before}
	if op == 0x03 {
		f.shape.loops = true
	}
	if next.folded = op == 0x03 && params == 0; next.folded {
		f.code = f.appendFull(appendFold(f.code, kindBytes))
		f.code = append(f.code, 0x0d, 0) // behind the loop, to the flush
		f.code = append(append(f.code, 0x02), kindBytes...)
		f.depth += foldDepth
		next.label++
		f.due = 0
	} else {
		f.code = append(append(f.code, op), kindBytes...)
		f.depth++
		if op == 0x03 {
			f.check()
		}
	}
	if op == 0x04 {
		f.move(effect{1, 0})
		next.due = f.due // without else
	}
	next.base = max(f.height-params, 0)
	f.frames = append(f.frames, next)
	if len(f.frames) > 10_000 {
		return feature("blocks nested more than 10000 deep")
	}
	return nil
}

func (f *function) call(op byte) error {
	if f.calls++; f.calls > maxSites {
		return feature("a function with more than %d calls", maxSites)
	}
	index := f.r.u32()
	var t funcType
	if op == 0x10 {
		shifted := f.m.shift(index)
		if int(shifted) >= len(f.m.functions) {
			return fmt.Errorf("%w: call of unknown function %d", ErrModule, index)
		}
		t = f.m.types[f.m.functions[shifted]]
		f.pending += weightCall
		f.pay(f.m.shapeOf(shifted))
		f.code = appendU32(append(f.code, op), shifted)
	} else {
		table := f.r.u32()
		if index >= f.m.given {
			return fmt.Errorf("%w: call of unknown type %d", ErrModule, index)
		}
		t = f.m.types[index]
		f.shape.unknown = true
		f.pending += weightIndirect
		f.between = max(f.between, f.m.takenBetween)
		f.pay(nil)
		f.height = max(f.height-1, 0)
		f.code = appendU32(appendU32(append(f.code, op), index), table)
	}
	f.height = max(f.height-len(t.params), 0) + len(t.results)
	f.highest = max(f.highest, f.height)
	return nil
}

// pay charges a call, and flushes if much may be due: what a function has done
// must not wait until it returns, since the one that it calls may be itself.
func (f *function) pay(callee *shape) {
	if f.looking {
		if callee == nil {
			return
		}
		if f.r.more() && f.r.b[f.r.at] == 0x00 {
			callee.aborts = true
		} else {
			callee.returns = true
		}
		if !f.m.calls(f.shape, callee) {
			f.shape.unknown = true
		}
		return
	}
	if callee != nil && callee.class != guarded {
		f.between = max(f.between, callee.between)
		if callee.class == free {
			f.pending += callee.own
		}
	}
	f.charge()
	if f.shape.checks() && f.due >= flushAt/2 {
		f.check()
	}
}

// bulkCharge pays for an operation by the operand on top of the stack, before
// it runs: a step for 1<<shift of it.
func (f *function) bulkCharge(shift byte) { f.bulk(shift, false) }

// bulkGrow pays weightGrowPage for each page or entry.
func (f *function) bulkGrow() { f.bulk(0, true) }

func (f *function) bulk(shift byte, grow bool) {
	f.shape.loops = true
	f.charge()
	f.code = appendU32(append(f.code, 0x22), f.length) // local.tee
	f.code = appendU32(append(f.code, 0x20), f.acc)
	f.code = appendU32(append(f.code, 0x20), f.length)
	if grow { // min(n, clamp) * weight
		f.code = appendS64(append(f.code, 0x41), weightGrowClamp)
		f.code = appendU32(append(f.code, 0x20), f.length)
		f.code = appendS64(append(f.code, 0x41), weightGrowClamp)
		f.code = append(f.code, 0x49, 0x1b, 0xad) // i32.lt_u, select, i64.extend_i32_u
		f.code = appendS64(append(f.code, 0x42), weightGrowPage)
		f.code = append(f.code, 0x7e) // i64.mul
	} else {
		f.code = append(f.code, 0xad, 0x42, shift, 0x88) // i64.shr_u
	}
	f.code = append(f.code, 0x7c)
	f.code = appendU32(append(f.code, 0x21), f.acc)
	f.code = f.appendFlush(f.code)
	f.due = 0
}

// saturatingOrBulk handles the prefix 0xfc.
func (f *function) saturatingOrBulk(start int) error {
	r := f.r
	sub := r.u32()
	switch sub {
	case 0, 1, 2, 3, 4, 5, 6, 7: // saturating truncation
		f.plain(weightPlain, effect{1, 1}, start)
	case 8, 10, 12, 14: // memory.init, memory.copy, table.init, table.copy
		shift := byte(weightBulkShift)
		if sub >= 12 {
			shift = weightEntryBits
		}
		f.bulkCharge(shift)
		a, b := r.u32(), r.u32()
		if sub == 10 && a|b != 0 || sub == 8 && b != 0 {
			return feature("more than one memory")
		}
		f.plain(weightBulk, effect{3, 0}, start)
	case 9, 13: // data.drop, elem.drop
		r.u32()
		f.plain(weightPlain, effect{0, 0}, start)
	case 11: // memory.fill
		f.bulkCharge(weightBulkShift)
		if r.u32() != 0 {
			return feature("more than one memory")
		}
		f.plain(weightBulk, effect{3, 0}, start)
	case 15: // table.grow
		f.bulkGrow()
		r.u32()
		f.plain(weightBulk, effect{2, 1}, start)
	case 16: // table.size
		r.u32()
		f.plain(weightPlain, effect{0, 1}, start)
	case 17: // table.fill
		f.bulkCharge(weightEntryBits)
		r.u32()
		f.plain(weightBulk, effect{3, 0}, start)
	default:
		return feature("opcode 0xfc %d", sub)
	}
	return nil
}

// vector handles the prefix 0xfd.
func (f *function) vector(start int) error {
	from := f.r.at
	sub := f.r.u32()
	// The engine reads one byte, and takes the 1 that follows one above 127 for a
	// nop: any other spelling would be another instruction there.
	if n := f.r.at - from; f.r.err == nil && n != 1 && (n != 2 || sub < 128) {
		f.r.fail("a vector instruction whose number is longer than it need be")
		return f.r.err
	}
	immediate, memory, e, ok := vector(sub)
	if !ok {
		return feature("relaxed SIMD (opcode 0xfd %d)", sub)
	}
	f.vectors = true
	if memory {
		if err := f.memoryArgument(); err != nil {
			return err
		}
	}
	f.r.take(immediate)
	f.plain(weightVector, e, start)
	return nil
}
