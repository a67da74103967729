package main

import (
	"slices"
	"strconv"
	"strings"

	"github.com/corazawaf/coraza/v3/collection"
	"github.com/corazawaf/coraza/v3/experimental/plugins/plugintypes"
	"github.com/corazawaf/coraza/v3/types"
	"github.com/corazawaf/coraza/v3/types/variables"
)

// sieve leaves out of a transaction the rules of the Core Rule Set that do not match it.
// Nearly none does, and to find that by Coraza takes a hundred times as long. It is an
// operator, which runs before them in each phase of a request and never matches itself.
// It is for one goroutine.
type sieve struct {
	off     bool
	rules   []sifted
	phases  map[types.RulePhase]*sifting
	sources []source
	ids     []int // of all rules that were read, in order once ready
	kept    counted
	made    plugintypes.Operator // of the expression read last
	room    *room                // of phrases
	// injection are the operators of libinjection.
	injection map[string]*injection
	values    values
}

const (
	sieveOperator = "sieve"
	// phrasesRoomBytes bounds what the states of all rules' phrases take.
	phrasesRoomBytes = 8 << 20
	// mostSifted is how many rules there may be; others are not sifted.
	mostSifted = 64 * len(set{})
)

// set is a set of rules by their index in sieve.rules.
type set [6]uint64

func (s *set) put(i int)      { s[i>>6] |= 1 << (i & 63) }
func (s *set) has(i int) bool { return s[i>>6]>>(i&63)&1 != 0 }

// sifted is a rule that can be left out.
type sifted struct {
	id      int
	sources []int // what it looks at
	judge
}

// sifting is what is done in a phase.
type sifting struct {
	sources []int // that its rules look at
	// of has the rules that look at each source of sieve.sources.
	of    []set
	rules map[int]int // by id
	at    []int       // of each of sieve.ids, -1: it cannot be left out
	stay  set         // of the current transaction
}

// source is what rules look at: a collection, or one key of it.
type source struct {
	variable variables.RuleVariable
	key      string
}

// newSieve returns the sieve of a configuration.
func newSieve(c *config, left *effort) *sieve {
	s := &sieve{off: c.whole || countsRules(c.ownRules()), kept: counted{}, phases: map[types.RulePhase]*sifting{
		types.PhaseRequestHeaders: {rules: map[int]int{}}, types.PhaseRequestBody: {rules: map[int]int{}},
	}}
	s.room = newRoom(phrasesRoomBytes, left)
	s.injection = injections(left)
	s.values = values{of: s, effort: left}
	return s
}

// factory makes the operator.
func (s *sieve) factory(plugintypes.OperatorOptions) (plugintypes.Operator, error) { return s, nil }

// noting returns a factory that notes what it has made: observe comes right after.
func (s *sieve) noting(f plugintypes.OperatorFactory) plugintypes.OperatorFactory {
	return func(o plugintypes.OperatorOptions) (plugintypes.Operator, error) {
		made, err := f(o)
		s.made = made
		return made, err
	}
}

// observe takes a rule when it has been read.
func (s *sieve) observe(r types.RuleMetadata) {
	if s.off {
		return
	}
	if r.ID() != 0 {
		s.ids = append(s.ids, r.ID())
	}
	rule, ok := readRule(strings.TrimSpace(r.Raw()))
	in := s.phases[r.Phase()]
	if s.kept.takes(strconv.Itoa(int(r.Phase())), &rule) || !ok || r.ID() == 0 || in == nil ||
		!strings.HasPrefix(r.File(), coreFolder+"/") || len(s.rules) == mostSifted {
		return
	}
	targets, ok := sourcesOf(rule.targets)
	if !ok {
		return
	}
	one := sifted{id: r.ID(), judge: s.newJudge(&rule)}
	for _, t := range targets {
		one.sources = append(one.sources, s.source(t))
	}
	in.rules[one.id] = len(s.rules)
	s.rules = append(s.rules, one)
}

// source returns the index of a source.
func (s *sieve) source(want source) int {
	i := slices.Index(s.sources, want)
	if i < 0 {
		i = len(s.sources)
		s.sources = append(s.sources, want)
	}
	return i
}

// ready is called when all rules have been read.
func (s *sieve) ready() {
	slices.Sort(s.ids)
	for _, in := range s.phases {
		in.of = make([]set, len(s.sources))
		for _, i := range in.rules {
			for _, n := range s.rules[i].sources {
				in.of[n].put(i)
			}
		}
		for n := range in.of {
			if in.of[n] != (set{}) {
				in.sources = append(in.sources, n)
			}
		}
		for _, id := range s.ids {
			i, ok := in.rules[id]
			if !ok {
				i = -1
			}
			in.at = append(in.at, i)
		}
	}
}

// fixed are the variables that do not change while the rules of a phase run.
var fixed = map[string]bool{
	"ARGS": true, "ARGS_GET": true, "ARGS_GET_NAMES": true, "ARGS_NAMES": true, "ARGS_POST": true, "ARGS_POST_NAMES": true,
	"FILES": true, "FILES_NAMES": true, "MULTIPART_PART_HEADERS": true, "QUERY_STRING": true, "REQUEST_BASENAME": true, "REQUEST_BODY": true,
	"REQUEST_COOKIES": true, "REQUEST_COOKIES_NAMES": true, "REQUEST_FILENAME": true, "REQUEST_HEADERS": true, "REQUEST_HEADERS_NAMES": true,
	"REQUEST_LINE": true, "REQUEST_METHOD": true, "REQUEST_PROTOCOL": true, "REQUEST_URI": true, "REQUEST_URI_RAW": true, "XML": true,
}

// sourcesOf reads the variables of a rule. What is left out of a variable is looked at all
// the same, and so is the whole of one whose key is not a plain name.
func sourcesOf(list string) (all []source, ok bool) {
	for target := range strings.SplitSeq(list, "|") {
		if strings.HasPrefix(target, "!") {
			continue
		}
		name, key, _ := strings.Cut(target, ":")
		if !fixed[name] {
			return nil, false // a count, for one
		}
		v, err := variables.Parse(name)
		if err != nil {
			return nil, false
		}
		if name != "REQUEST_HEADERS" || strings.ContainsAny(key, "/'\"") {
			key = ""
		}
		all = append(all, source{variable: v, key: strings.ToLower(key)})
	}
	return all, len(all) > 0
}

// remover is what a transaction of Coraza can do besides.
type remover interface {
	RemoveRuleByIDRange(start, end int)
}

// Evaluate implements plugintypes.Operator.
func (s *sieve) Evaluate(tx plugintypes.TransactionState, _ string) bool {
	from, ok := tx.(remover)
	in := s.phases[tx.LastPhase()]
	if !ok || in == nil || s.off {
		return false
	}
	in.stay = set{}
	for _, n := range in.sources {
		of := in.of[n]
		for _, v := range s.sources[n].in(tx) {
			may := s.values.may(v.Value())
			for i := range may {
				in.stay[i] |= may[i] & of[i]
			}
		}
	}
	// In as few ranges as the ids of the others allow.
	for i := 0; i < len(s.ids); i++ {
		if !in.leaves(i) {
			continue
		}
		start := s.ids[i]
		for i+1 < len(s.ids) && in.leaves(i+1) {
			i++
		}
		from.RemoveRuleByIDRange(start, s.ids[i])
	}
	return false
}

// leaves reports whether the rule of the n-th id is left out.
func (in *sifting) leaves(n int) bool { return in.at[n] >= 0 && !in.stay.has(in.at[n]) }

// in returns the source's values in a transaction.
func (s *source) in(tx plugintypes.TransactionState) []types.MatchData {
	c := tx.Collection(s.variable)
	if c == nil {
		return nil
	}
	if keyed, ok := c.(collection.Keyed); ok && s.key != "" {
		return keyed.FindString(s.key)
	}
	return c.FindAll()
}
