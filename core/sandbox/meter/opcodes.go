package meter

// Weights in steps. A step is meant to be about a nanosecond, or less: what
// moves a value between operand stack and locals compiles to nothing, or to a
// move that the processor does not execute, and weighs nothing. A loop still
// pays: its branch weighs.
const (
	weightFree      = 0 // local.get, local.set, local.tee, constants, drop, nop, block, loop
	weightPlain     = 1
	weightMemory    = 1   // load, store, a global
	weightDivision  = 10  // division, remainder, square root
	weightCall      = 5   // call
	weightIndirect  = 10  // call_indirect
	weightTable     = 5   // table.get, table.set, br_table
	weightRefFunc   = 30  // ref.func: the engine leaves the guest for it
	weightVector    = 2   // any vector instruction
	weightBulk      = 20  // memory.copy and its kin, before their length
	weightGrowPage  = 100 // a page of memory.grow, an entry of table.grow
	weightBulkShift = 4   // 16 bytes of a bulk operation are one step
	weightEntryBits = 1   // 2 entries of a table, too
	weightMoves     = 4   // what is set, or carried by a jump, is a move where paths meet: so many are a step
	weightEntry     = 5   // entering a function, and 1 for each 4 locals
	weightGrowClamp = 1 << 16
)

// effect is what an instruction does to the height of the operand stack.
type effect struct{ pop, push int8 }

// simple returns weight, effect and whether the opcode is one without
// immediates beyond those of a memory argument.
func simple(op byte) (weight int, e effect, ok bool) {
	switch {
	case op == 0x01: // nop
		return weightFree, effect{0, 0}, true
	case op == 0x1a: // drop
		return weightFree, effect{1, 0}, true
	case op == 0x1b: // select
		return weightPlain, effect{3, 1}, true
	case op >= 0x45 && op <= 0xc4:
		return numeric(op)
	case op == 0xd1: // ref.is_null
		return weightPlain, effect{1, 1}, true
	}
	return 0, effect{}, false
}

// numeric covers 0x45 to 0xc4: comparisons, arithmetic, conversions.
func numeric(op byte) (int, effect, bool) {
	unary := op == 0x45 || op == 0x50 || // eqz
		op >= 0x67 && op <= 0x69 || op >= 0x79 && op <= 0x7b || // clz, ctz, popcnt
		op >= 0x8b && op <= 0x91 || op >= 0x99 && op <= 0x9f || // float unary
		op >= 0xa7 // conversions, sign extension
	weight := weightPlain
	switch {
	case op >= 0x6d && op <= 0x70, op >= 0x7f && op <= 0x82, op == 0x91, op == 0x9f, op == 0x95, op == 0xa3:
		weight = weightDivision
	}
	if unary {
		return weight, effect{1, 1}, true
	}
	return weight, effect{2, 1}, true
}

// vector returns what follows a vector opcode: how many plain bytes, whether a
// memory argument comes first, and its effect. For unary and binary alike it
// says 1 to 1: the height is then never too small.
func vector(sub uint32) (immediate uint32, memory bool, e effect, ok bool) {
	switch {
	case sub <= 10, sub == 92, sub == 93: // loads
		return 0, true, effect{1, 1}, true
	case sub == 11: // store
		return 0, true, effect{2, 0}, true
	case sub == 12: // const
		return 16, false, effect{0, 1}, true
	case sub == 13: // shuffle
		return 16, false, effect{1, 1}, true
	case sub >= 21 && sub <= 34: // lanes
		return 1, false, effect{1, 1}, true
	case sub >= 84 && sub <= 87: // load lane
		return 1, true, effect{2, 1}, true
	case sub >= 88 && sub <= 91: // store lane
		return 1, true, effect{2, 0}, true
	case sub <= 255:
		return 0, false, effect{1, 1}, true
	}
	return 0, false, effect{}, false // relaxed SIMD
}
