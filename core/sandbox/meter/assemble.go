package meter

// weight is what a frame of the function takes of the stack, in bytes.
func (f *function) weight(locals uint64) int {
	width := 8
	if f.vectors {
		width = 16
	}
	return 32 + width*(int(locals)+2+f.highest+len(f.kind.results))
}

// assemble puts entry, block, code and exit together.
func (f *function) assemble(entry, weight int) {
	guards := f.shape.class == guarded
	b := f.out
	if guards { // stack -= weight; below zero: overflow
		b = appendU32(append(b, 0x23), f.m.stack)
		b = appendS64(append(b, 0x41), int64(weight))
		b = append(b, 0x6b)
		b = appendU32(append(b, 0x22), f.length)
		b = appendU32(append(b, 0x24), f.m.stack)
		b = appendU32(append(b, 0x20), f.length)
		b = append(b, 0x41, 0, 0x48, 0x04, 0x40)
		b = appendU32(append(b, 0x10), f.m.overflow)
		b = append(b, 0x00, 0x0b) // unreachable: the compiler need keep nothing for what follows the call
	}
	var results []byte
	switch types := f.kind.results; len(types) {
	case 0:
		results = []byte{0x40}
	case 1:
		results = types
	default:
		results = appendS64(nil, int64(f.m.typeOf(nil, types)))
	}
	b = appendS64(append(b, 0x42), int64(entry))
	b = appendU32(append(b, 0x21), f.acc)
	if guards { // what can recurse pays on entry
		b = f.appendClear(f.appendPay(b))
		b = appendFold(b, results)
		b = appendU32(append(b, 0x23), f.m.steps)
		b = append(b, 0x42, 0, 0x53, 0x0d, 0) // below zero: on to refuel
	}
	b = append(append(b, 0x02), results...)
	b = append(b, f.code...) // ends with the block's end
	if guards {
		b = appendU32(append(append(b, otherwise...), 0x10), f.m.refuel)
		b = append(b, unfold...)
	}
	if !guards && f.shape.checks() {
		b = f.appendFlush(b)
	} else {
		b = f.appendPay(b)
	}
	if guards {
		b = appendU32(append(b, 0x23), f.m.stack)
		b = appendS64(append(b, 0x41), int64(weight))
		b = append(b, 0x6a)
		b = appendU32(append(b, 0x24), f.m.stack)
	}
	f.out = append(b, 0x0b)
}

// A fold is code that can be sent back to its beginning by a jump to label 0
// there: what is done then stands behind it. A call in the middle of the code that
// is nearly never made would cost registers each time, since the compiler has
// values in memory where the paths meet again.
//
//	block <results>        ;; the code's way out: label 2
//	  loop
//	    block
//	      ...              ;; whether to jump to label 0
//	      block <results>
//	        ...            ;; the code
//	      end
//	      br 2
//	    end
//	    ...                ;; what is done then
//	    br 0
//	  end
//	  unreachable
//	end
func appendFold(b, results []byte) []byte {
	b = append(append(b, 0x02), results...)
	return append(b, 0x03, 0x40, 0x02, 0x40)
}

var (
	otherwise = []byte{0x0c, 2, 0x0b}             // after the code
	unfold    = []byte{0x0c, 0, 0x0b, 0x00, 0x0b} // after what is done then
)

// foldDepth is how many blocks are open in the code of a fold.
const foldDepth = 4

// flushAt is how many steps are added up before a loop's head or a call flushes
// them: comparing a register is cheaper than going to memory each time. A frame
// that waits for a call has no more than half as much again unpaid.
const flushAt = 256

// maxSites is how many calls the code of one function may have: in a row they
// make no check, and what they call may leave twice flushAt steps unchecked.
const maxSites = 20_000

// appendCheck flushes if acc has reached flushAt.
func (f *function) appendCheck(b []byte) []byte {
	b = append(f.appendFull(b), 0x04, 0x40) // if
	return append(f.appendFlush(b), 0x0b)
}

// appendFull asks whether acc has reached flushAt.
func (f *function) appendFull(b []byte) []byte {
	b = appendU32(append(b, 0x20), f.acc)
	return append(appendS64(append(b, 0x42), flushAt), 0x59) // i64.ge_s
}

// appendClear sets acc to 0.
func (f *function) appendClear(b []byte) []byte {
	return appendU32(append(b, 0x42, 0, 0x21), f.acc)
}

// appendPay subtracts acc from the steps: a loop, an entry or the caller checks.
func (f *function) appendPay(b []byte) []byte {
	b = appendU32(append(b, 0x23), f.m.steps)
	b = appendU32(append(b, 0x20), f.acc)
	b = append(b, 0x7d)
	return appendU32(append(b, 0x24), f.m.steps)
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
	return f.appendClear(append(b, 0x0b))
}
