package main

import "strings"

// values tells which rules may match a value, and remembers it: most fields of a request
// are the same in the next one.
type values struct {
	of     *sieve
	effort *effort
	known  map[string]*set
}

const (
	mostKnown = 1024
	// longestJudged is how long a value may be for an operator to be asked: a rule that may
	// match is asked again by Coraza.
	longestJudged = 1 << 10
)

// may returns the rules that may match a value, whatever they look at.
func (v *values) may(value string) *set {
	if s := v.known[value]; s != nil {
		return s
	}
	s := &set{}
	var c characters
	ascii := c.add(value)
	decodes, missing := c.decodes(), c.missing()
	for i := range v.of.rules {
		r := &v.of.rules[i]
		if ascii && missing&r.marks != 0 && decodes&r.decodes == 0 {
			continue
		}
		if ascii && len(value) <= longestJudged {
			v.effort.spend(stepsOfJudging + (1+len(r.steps))*stepsOfJudgedByte*len(value))
			if !r.may(value, &c) {
				continue
			}
		}
		s.put(i)
	}
	if len(value) <= longestJudged {
		if len(v.known) >= mostKnown || v.known == nil {
			v.known = make(map[string]*set, mostKnown)
		}
		v.known[strings.Clone(value)] = s
	}
	return s
}
