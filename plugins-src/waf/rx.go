package main

import (
	"regexp"
	"strconv"
	"unicode/utf8"

	"github.com/corazawaf/coraza/v3/experimental/plugins/plugintypes"
	"rsc.io/binaryregexp"
)

// roomBytes bounds what the states of all rules take.
const roomBytes = 16 << 20

// rxFactory makes Coraza's operator @rx with the same meaning: RE2 syntax, dot
// matches newlines, ^ and $ match at lines, up to nine captures. Most values
// match no rule, which an automaton tells fast; package regexp is asked for the
// captures of the others.
func rxFactory(left *effort) plugintypes.OperatorFactory {
	room := newRoom(roomBytes, left)
	known := map[string]*rx{}
	return func(o plugintypes.OperatorOptions) (plugintypes.Operator, error) {
		if arbitraryBytes(o.Arguments) {
			return newBinaryRX(o.Arguments, room)
		}
		expr := "(?sm)" + o.Arguments
		if r := known[expr]; r != nil {
			return r, nil
		}
		a, err := newAutomaton(expr, room)
		if err != nil {
			return nil, err
		}
		known[expr] = &rx{automaton: a, expr: expr, effort: left}
		return known[expr], nil
	}
}

// effort is how many of the guest's steps one callback may still spend on
// rules, by estimate. A callback that spends more than its cpuTime ends the
// instance, for everybody; one that has spent its effort is given up.
type effort struct{ steps int }

// effortSteps leaves room in the longest cpuTime, a second, for what is not
// counted.
const effortSteps = 450_000_000

// Estimates for one rule and one value, transformations included, measured in
// the guest.
const (
	stepsOfRule        = 8_000
	stepsOfByte        = 110
	stepsOfCaptureByte = 1_000  // package regexp, and for each instruction that
	stepsOfThread      = 130    // it begins with
	stepsOfCompiled    = 5_000  // compiling one of them
	stepsOfJudging     = 500    // one rule, see values
	stepsOfJudgedByte  = 60     // and as much for each step before it
	stepsOfState       = 10_000 // making one of an automaton's, with what collecting garbage takes
	stepsOfInstruction = 60     // of those that are followed for it
)

// exhausted is what spend panics with, because an operator cannot return it.
type exhausted struct{}

func (e *effort) spend(steps int) {
	if e.steps -= steps; e.steps < 0 {
		panic(exhausted{})
	}
}

type rx struct {
	automaton *automaton
	expr      string
	re        expression // made when first needed
	effort    *effort
}

// expression is what finds the captures.
type expression interface {
	MatchString(text string) bool
	FindStringSubmatch(text string) []string
}

// newBinaryRX is for expressions that name bytes which are no UTF-8.
func newBinaryRX(expr string, room *room) (plugintypes.Operator, error) {
	re, err := binaryregexp.Compile(expr)
	if err != nil {
		return nil, err
	}
	a, err := newAutomaton(expr, room)
	if err != nil {
		return nil, err
	}
	a.bytes = true
	return &rx{automaton: a, re: re, effort: room.effort}, nil
}

// Evaluate implements plugintypes.Operator.
func (r *rx) Evaluate(tx plugintypes.TransactionState, value string) bool {
	r.effort.spend(stepsOfRule + stepsOfByte*len(value))
	matched, ok := r.automaton.match(value)
	if ok && (!matched || !tx.Capturing()) {
		return matched
	}
	if r.re == nil {
		r.effort.spend(stepsOfCompiled * len(r.automaton.prog.Inst))
		r.re = regexp.MustCompile(r.expr) // newAutomaton has parsed it
	}
	r.effort.spend((stepsOfCaptureByte + stepsOfThread*r.automaton.begins) * len(value))
	if !tx.Capturing() {
		return r.re.MatchString(value)
	}
	return capture(tx, r.re.FindStringSubmatch(value))
}

func capture(tx plugintypes.TransactionState, groups []string) bool {
	for i, text := range groups[:min(len(groups), 9)] {
		tx.CaptureField(i, text)
	}
	return len(groups) > 0
}

// hexEscape is \xNN or \x{N...}, or another escape to step over.
var hexEscape = regexp.MustCompile(`\\(?:x([0-9A-Fa-f]{2})|x\{([0-9A-Fa-f]{1,2})\}|.)`)

// arbitraryBytes reports whether the bytes that an expression names by hex
// escapes are no UTF-8, so that it cannot be about text.
func arbitraryBytes(expr string) bool {
	return !utf8.ValidString(hexEscape.ReplaceAllStringFunc(expr, func(escape string) string {
		m := hexEscape.FindStringSubmatch(escape)
		value, err := strconv.ParseUint(m[1]+m[2], 16, 8)
		if err != nil {
			return escape
		}
		return string([]byte{byte(value)})
	}))
}
