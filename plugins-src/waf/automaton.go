package main

import (
	"encoding/binary"
	"regexp/syntax"
	"slices"
	"unicode"
	"unicode/utf8"
)

// automaton tells whether a text has a match of a regular expression, many
// times faster than package regexp: a deterministic automaton whose states are
// made when they are first needed. It does not tell where the match is. It is
// for one goroutine, as a Wasm guest is.
type automaton struct {
	prog *syntax.Prog
	room *room
	// bytes: each byte of the text is a rune, as in package binaryregexp.
	bytes bool
	// anchored: a match begins at the text's begin only.
	anchored bool
	empty    syntax.EmptyOp // all assertions in prog

	// The runes from bounds[n] to before bounds[n+1] are class n: no
	// instruction tells them apart. ascii is a table for the usual ones. The
	// class after the last one is the end of the text.
	bounds  []rune
	ascii   [utf8.RuneSelf]uint16
	classes int

	states []state
	ids    map[string]int32
	// next[state*classes+class] is the state that follows, counted from
	// firstState, or one of the others below.
	next []int32

	// Scratch of step.
	seen          []uint32
	round         uint32
	stack, kernel []uint32
	followed      int // instructions
	begins        int // of those, before a text's second rune
	key           []byte
}

const (
	unknownState int32 = iota // not made so far
	matchState
	deadState
	firstState
)

// state is what is known between two runes.
type state struct {
	kernel []uint32 // instructions to go on with, sorted; assertions not yet followed
	before uint8    // the rune before, as far as an assertion may ask
}

// What a state knows of the rune before, and a rune for each.
const (
	beforeBegin uint8 = iota
	beforeNewline
	beforeWord
	beforeOther
)

var beforeRunes = [...]rune{-1, '\n', 'a', ' '}

const wordBoundaries = syntax.EmptyWordBoundary | syntax.EmptyNoWordBoundary

// room bounds the states of all automata together.
type room struct {
	effort     *effort // that making a state takes; nil: not counted
	left, size int     // words of 4 bytes
	automata   []*automaton
}

// newRoom has room for that many bytes of states.
func newRoom(sizeBytes int, left *effort) *room {
	return &room{effort: left, left: sizeBytes / 4, size: sizeBytes / 4}
}

// take takes words; if they are not there all automata forget their states.
func (r *room) take(words int) (forgot bool) {
	if r.left < words {
		for _, a := range r.automata {
			a.forget()
		}
		r.left, forgot = r.size, true
	}
	r.left -= words
	return forgot
}

// newAutomaton compiles an expression in the syntax of package regexp.
func newAutomaton(expr string, room *room) (*automaton, error) {
	parsed, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil, err
	}
	prog, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil, err
	}
	a := &automaton{prog: prog, room: room, anchored: prog.StartCond()&syntax.EmptyBeginText != 0, seen: make([]uint32, len(prog.Inst))}
	a.classify()
	a.forget()
	a.follow([]uint32{uint32(prog.Start)}, ^syntax.EmptyOp(0), 'a')
	a.begins = a.followed
	room.automata = append(room.automata, a)
	return a, nil
}

// classify finds the classes of runes.
func (a *automaton) classify() {
	bounds := []rune{0}
	span := func(lo, hi rune) { bounds = append(bounds, lo, hi+1) }
	for i := range a.prog.Inst {
		switch in := &a.prog.Inst[i]; in.Op {
		case syntax.InstEmptyWidth:
			a.empty |= syntax.EmptyOp(in.Arg)
		default:
			eachSpan(in, span)
		}
	}
	span('\n', '\n')
	if a.empty&wordBoundaries != 0 {
		span('0', '9')
		span('A', 'Z')
		span('_', '_')
		span('a', 'z')
	}
	slices.Sort(bounds)
	a.bounds = slices.Compact(bounds)
	a.classes = len(a.bounds) + 1
	for r := range a.ascii {
		a.ascii[r] = uint16(a.search(rune(r)))
	}
}

// eachSpan calls span for each range of runes by which an instruction goes on.
func eachSpan(in *syntax.Inst, span func(lo, hi rune)) {
	switch in.Op {
	case syntax.InstRune, syntax.InstRune1, syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
	default:
		return
	}
	if len(in.Rune) != 1 {
		for n := 0; n+1 < len(in.Rune); n += 2 {
			span(in.Rune[n], in.Rune[n+1])
		}
		return
	}
	r := in.Rune[0]
	span(r, r)
	if syntax.Flags(in.Arg)&syntax.FoldCase != 0 {
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			span(f, f)
		}
	}
}

// search returns a rune's class.
func (a *automaton) search(r rune) int {
	n, found := slices.BinarySearch(a.bounds, r)
	if !found {
		n--
	}
	return n
}

// forget drops all states but the first.
func (a *automaton) forget() {
	a.states, a.next, a.ids = nil, nil, map[string]int32{}
	a.kernel = append(a.kernel[:0], uint32(a.prog.Start))
	a.put(beforeBegin)
}

// put returns the state of a.kernel, without asking for room.
func (a *automaton) put(before uint8) int32 {
	a.states = append(a.states, state{kernel: slices.Clone(a.kernel), before: before})
	for range a.classes {
		a.next = append(a.next, unknownState)
	}
	id := firstState + int32(len(a.states)-1)
	a.ids[string(a.keyOf(before))] = id
	return id
}

func (a *automaton) keyOf(before uint8) []byte {
	a.key = append(a.key[:0], before)
	for _, pc := range a.kernel {
		a.key = binary.LittleEndian.AppendUint32(a.key, pc)
	}
	return a.key
}

// match reports whether text has a match. ok is false if the text needs so many
// new states that package regexp is the faster one.
func (a *automaton) match(text string) (matched, ok bool) {
	s, made := firstState, 0
	for i := 0; ; {
		class, r := a.classes-1, rune(-1)
		switch {
		case i >= len(text):
		case text[i] < utf8.RuneSelf:
			if s, i = a.run(s, text, i); s < firstState {
				return s == matchState, true
			}
			if i == len(text) || text[i] >= utf8.RuneSelf {
				continue
			}
			r = rune(text[i]) // by a transition that nobody has made
			class = int(a.ascii[r])
			i++
		default:
			n := 1
			if r = rune(text[i]); !a.bytes {
				r, n = utf8.DecodeRuneInString(text[i:])
			}
			class = a.search(r)
			i += n
		}
		t := a.next[int(s-firstState)*a.classes+class]
		if t == unknownState {
			if made++; made > 200 && made*8 > i {
				return false, false
			}
			t = a.step(s, class, r)
		}
		if t < firstState {
			return t == matchState, true
		}
		s = t
		if r < 0 {
			return false, true
		}
	}
}

// run goes on from state s at text[i] over ASCII as far as the transitions are known. It
// returns where it is, and matchState or deadState if that decides.
func (a *automaton) run(s int32, text string, i int) (int32, int) {
	next, ascii, classes := a.next, &a.ascii, a.classes
	for ; i < len(text) && text[i] < utf8.RuneSelf; i++ {
		t := next[int(s-firstState)*classes+int(ascii[text[i]])]
		if t < firstState {
			if t != unknownState {
				s = t
			}
			break
		}
		s = t
	}
	return s, i
}

// step makes the transition of state s by rune r of that class.
func (a *automaton) step(s int32, class int, r rune) int32 {
	from := &a.states[s-firstState]
	flags := syntax.EmptyOpContext(beforeRunes[from.before], r)
	t := a.follow(from.kernel, flags, r)
	if a.room.effort != nil {
		a.room.effort.spend(stepsOfState + stepsOfInstruction*a.followed)
	}
	if t == unknownState {
		before := a.beforeOf(r)
		var found bool
		if t, found = a.ids[string(a.keyOf(before))]; !found {
			// What a state takes: its transitions, its kernel twice, and about
			// 32 words of a slice and a map.
			kernel := slices.Clone(a.kernel) // which forget overwrites
			forgot := a.room.take(a.classes + 2*len(kernel) + 32)
			a.kernel = append(a.kernel[:0], kernel...)
			if t = a.put(before); forgot {
				return t // s is gone
			}
		}
	}
	a.next[int(s-firstState)*a.classes+class] = t
	return t
}

// follow goes from kernel over all that takes no rune, then by r. It returns
// matchState, deadState, or unknownState with the new state's kernel in
// a.kernel.
func (a *automaton) follow(kernel []uint32, flags syntax.EmptyOp, r rune) int32 {
	a.round++
	if a.round == 0 { // it wrapped: old marks could look new
		clear(a.seen)
		a.round = 1
	}
	a.kernel = a.kernel[:0]
	a.stack = append(a.stack[:0], kernel...)
	a.followed = 0
	for len(a.stack) > 0 {
		a.followed++
		pc := a.stack[len(a.stack)-1]
		a.stack = a.stack[:len(a.stack)-1]
		if a.seen[pc] == a.round {
			continue
		}
		a.seen[pc] = a.round
		switch in := &a.prog.Inst[pc]; in.Op {
		case syntax.InstMatch:
			return matchState
		case syntax.InstAlt, syntax.InstAltMatch:
			a.stack = append(a.stack, in.Arg, in.Out)
		case syntax.InstCapture, syntax.InstNop:
			a.stack = append(a.stack, in.Out)
		case syntax.InstEmptyWidth:
			if syntax.EmptyOp(in.Arg)&^flags == 0 {
				a.stack = append(a.stack, in.Out)
			}
		case syntax.InstRune, syntax.InstRune1, syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
			if r >= 0 && in.MatchRune(r) {
				a.kernel = append(a.kernel, in.Out)
			}
		}
	}
	if r < 0 {
		return deadState
	}
	if !a.anchored {
		a.kernel = append(a.kernel, uint32(a.prog.Start))
	}
	if len(a.kernel) == 0 {
		return deadState
	}
	slices.Sort(a.kernel)
	a.kernel = slices.Compact(a.kernel)
	return unknownState
}

// beforeOf is what the next state knows of r.
func (a *automaton) beforeOf(r rune) uint8 {
	switch {
	case r == '\n' && a.empty&syntax.EmptyBeginLine != 0:
		return beforeNewline
	case syntax.IsWordChar(r) && a.empty&wordBoundaries != 0:
		return beforeWord
	}
	return beforeOther
}
