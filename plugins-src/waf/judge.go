package main

import (
	"bufio"
	"bytes"
	"io/fs"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/corazawaf/coraza-coreruleset/v4"
)

// characters is a set of ASCII characters.
type characters [2]uint64

func (c *characters) has(b byte) bool { return c[b>>6]>>(b&63)&1 != 0 }

func (c *characters) put(b byte) { c[b>>6] |= 1 << (b & 63) }

func (c *characters) meets(o *characters) bool { return c[0]&o[0]|c[1]&o[1] != 0 }

func (c *characters) without(o *characters) characters {
	return characters{c[0] &^ o[0], c[1] &^ o[1]}
}

// add adds a text's; it reports false if the text holds others.
func (c *characters) add(text string) bool {
	lo, hi := c[0], c[1]
	for i := range len(text) {
		switch b := text[i]; {
		case b < 64:
			lo |= 1 << b
		case b < utf8.RuneSelf:
			hi |= 1 << (b & 63)
		default:
			return false
		}
	}
	c[0], c[1] = lo, hi
	return true
}

func charactersOf(text string) (c characters) {
	for i := range len(text) {
		c.put(text[i])
	}
	return c
}

// judge tells whether a rule may match a value, before it is transformed.
type judge struct {
	// marks: a value that holds no character of one of them does not match, if it has
	// nothing that the rule decodes.
	marks   uint64
	decodes decodes
	// matches is the operator, for an ASCII value after steps, without the characters of
	// alters; nil if there is none. It may not know whether it matches. each: it is asked
	// before and after each step. negated: the rule matches if the operator does not.
	matches       func(value string) (matched, known bool)
	steps         []step
	alters        characters
	each, negated bool
}

// may reports whether the rule may match an ASCII value, of c.
func (j *judge) may(value string, c *characters) bool {
	if j.matches == nil || c.meets(&j.alters) {
		return true
	}
	if j.each && j.asked(value) {
		return true
	}
	for _, step := range j.steps {
		next, ok := step(value)
		if !ok || j.each && next != value && j.asked(next) {
			return true
		}
		value = next
	}
	return !j.each && j.asked(value)
}

// asked reports whether the operator says that the rule matches, or does not know.
func (j *judge) asked(value string) bool {
	matched, known := j.matches(value)
	return !known || matched != j.negated
}

// decodes are what transformations decode.
type decodes uint8

const (
	decodesPercent decodes = 1 << iota
	decodesAmpersand
	decodesBackslash
)

// blanks is what transformations make a space of.
var blanks = charactersOf("\x00\t\n\v\f\r +,;/")

func (c *characters) decodes() (d decodes) {
	if c.has('%') {
		d |= decodesPercent
	}
	if c.has('&') {
		d |= decodesAmpersand
	}
	if c.has('\\') {
		d |= decodesBackslash
	}
	return d
}

// missing returns the marks of which a value of these characters holds none, whatever
// transformations make of it that decode nothing.
func (c characters) missing() (m uint64) {
	if c.meets(&blanks) {
		c.put(' ')
	}
	if c.has('\\') {
		c.put('/') // normalizePathWin
	}
	for i := range marks {
		if !c.meets(&marks[i]) {
			m |= 1 << i
		}
	}
	return m
}

// marks are sets of characters, none of them a letter or a digit: each other one alone,
// those of a kind, and all but those that usual values hold.
var marks = makeMarks()

func makeMarks() (all []characters) {
	var other, spaces characters
	for b := range byte(utf8.RuneSelf) {
		if !unicode.IsLetter(rune(b)) && !unicode.IsDigit(rune(b)) {
			other.put(b)
		}
		if b > ' ' && other.has(b) && b < 0x7f {
			all = append(all, charactersOf(string(rune(b))))
		}
	}
	spaces = charactersOf(" \t\n\v\f\r")
	all = append(all, spaces, charactersOf("\n\r"), charactersOf("\"'`"), charactersOf("([{<"))
	for _, usual := range []string{"", "-", "-_", "-_.", "-_. ", "-_./", "-_./: ", "-_=;, ", "-_.=;, ", "-_./=;,:+*? ", "-_./=;,:+*?() "} {
		u := charactersOf(usual)
		all = append(all, other.without(&u))
	}
	return all
}

var transformationOf = regexp.MustCompile(`[",\s]t:(\w+)`)

// newJudge reads a rule, of whose operator @rx s.made was made. What is not understood may
// match anything.
func (s *sieve) newJudge(rule *secRule) (j judge) {
	if !j.transforms(rule.plain) {
		return judge{}
	}
	operator, negated := strings.CutPrefix(rule.operator, "!")
	name, argument, _ := strings.Cut(operator, " ")
	argument = strings.TrimSpace(argument)
	switch name {
	case "@rx":
		if x, ok := s.made.(*rx); ok {
			j.by(x.automaton)
		}
	case "@pm":
		j.lookFor(strings.Split(argument, " "), s.room)
	case "@pmFromFile":
		j.lookFor(phrasesOf(argument), s.room)
	case "@detectSQLi", "@detectXSS":
		j.matches = knowing(s.injection[name[1:]].found)
	case "@validateByteRange":
		j.matches = outside(argument)
	}
	if j.negated = negated; negated {
		j.marks = 0
	}
	j.each = strings.Contains(rule.plain, "multiMatch")
	return j
}

// transforms takes the transformations of a rule; it reports false if one is not known.
func (j *judge) transforms(actions string) bool {
	for _, m := range transformationOf.FindAllStringSubmatch(actions, -1) {
		t, ok := transformations[m[1]]
		if !ok {
			return false
		}
		j.decodes |= t.decodes
		if t.step != nil {
			j.steps = append(j.steps, t.step)
		}
		for i := range len(t.alters) {
			j.alters.put(t.alters[i])
		}
	}
	return true
}

// knowing makes an operator of one that always knows.
func knowing(matches func(string) bool) func(string) (matched, known bool) {
	return func(value string) (matched, known bool) { return matches(value), true }
}

// outside returns what reports whether a value holds a byte outside of ranges; nil if they
// cannot be read.
func outside(ranges string) func(string) (matched, known bool) {
	var inside characters
	for r := range strings.SplitSeq(ranges, ",") {
		from, to, ok := strings.Cut(strings.TrimSpace(r), "-")
		if !ok {
			to = from
		}
		lo, err := strconv.Atoi(from)
		hi, err2 := strconv.Atoi(to)
		if err != nil || err2 != nil {
			return nil
		}
		for b := lo; b <= min(hi, utf8.RuneSelf-1); b++ {
			inside.put(byte(b))
		}
	}
	return knowing(func(value string) bool {
		var c characters
		c.add(value)
		return c.without(&inside) != characters{}
	})
}

// phrasesOf reads a file of phrases as Coraza does; none if it cannot be read.
func phrasesOf(name string) (all []string) {
	text, err := fs.ReadFile(coreruleset.FS, coreFolder+"/"+name)
	if err != nil {
		return nil
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		if line := strings.TrimSpace(lines.Text()); line != "" && line[0] != '#' {
			all = append(all, line)
		}
	}
	if lines.Err() != nil {
		return nil
	}
	return all
}

// lookFor makes it a judge of whether one of some phrases is in a value.
func (j *judge) lookFor(phrases []string, room *room) {
	if len(phrases) == 0 {
		return
	}
	for i, p := range phrases {
		phrases[i] = regexp.QuoteMeta(p)
	}
	if a, err := newAutomaton("(?si)(?:"+strings.Join(phrases, "|")+")", room); err == nil {
		j.by(a)
	}
}

// by makes it a judge of whether an automaton matches.
func (j *judge) by(a *automaton) { j.matches, j.marks = a.match, marksOf(a.prog) }

// marksOf returns the marks without whose characters no ASCII text matches an expression.
func marksOf(prog *syntax.Prog) (m uint64) {
	steps := make([]characters, len(prog.Inst))
	for i := range prog.Inst {
		steps[i] = charactersOfStep(&prog.Inst[i])
	}
	for i := range marks {
		if !matchesWithout(prog, steps, &marks[i]) {
			m |= 1 << i
		}
	}
	return m
}

// charactersOfStep returns the ASCII characters by which an instruction goes on.
func charactersOfStep(in *syntax.Inst) (c characters) {
	eachSpan(in, func(lo, hi rune) {
		for r := lo; r <= min(hi, utf8.RuneSelf-1); r++ {
			c.put(byte(r))
		}
	})
	return c
}

// matchesWithout reports whether a match can be reached without the characters of a set.
// Assertions are taken to hold.
func matchesWithout(prog *syntax.Prog, steps []characters, set *characters) bool {
	seen := make([]bool, len(prog.Inst))
	stack := []uint32{uint32(prog.Start)}
	for len(stack) > 0 {
		pc := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if seen[pc] {
			continue
		}
		seen[pc] = true
		switch in := &prog.Inst[pc]; in.Op {
		case syntax.InstMatch:
			return true
		case syntax.InstAlt, syntax.InstAltMatch:
			stack = append(stack, in.Arg, in.Out)
		case syntax.InstCapture, syntax.InstNop, syntax.InstEmptyWidth:
			stack = append(stack, in.Out)
		case syntax.InstRune, syntax.InstRune1, syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
			if left := steps[pc].without(set); left != (characters{}) {
				stack = append(stack, in.Out)
			}
		}
	}
	return false
}
