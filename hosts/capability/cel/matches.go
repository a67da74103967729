package cel

import (
	"regexp"
	"regexp/syntax"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/overloads"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
)

// Bounds on one match: patterns may come from a request.
const (
	maxPattern      = 256 // bytes
	maxInstructions = 1000
	maxWork         = 400_000 // instructions times bytes of the text
)

// matches is CEL's function, within bounds that hold before it begins.
func matches() cel.EnvOption {
	two := []*cel.Type{cel.StringType, cel.StringType}
	return cel.Function(overloads.Matches,
		cel.Overload(overloads.Matches, two, cel.BoolType), cel.MemberOverload(overloads.MatchesString, two, cel.BoolType),
		cel.SingletonBinaryBinding(match))
}

func match(subject, pattern ref.Val) ref.Val {
	s, ok := subject.(types.String)
	p, ok2 := pattern.(types.String)
	switch {
	case !ok || !ok2:
		return types.MaybeNoSuchOverloadErr(subject)
	case len(p) > maxPattern:
		return types.NewErr("matches: a pattern of %d bytes, at most %d", len(p), maxPattern)
	}
	tree, err := syntax.Parse(string(p), syntax.Perl)
	if err != nil {
		return types.NewErr("matches: %v", err)
	}
	if n := instructions(tree); n > min(maxInstructions, maxWork/(len(s)+1)) {
		return types.NewErr("matches: too much work for a text of %d bytes and a pattern of %d instructions", len(s), n)
	}
	r, err := regexp.Compile(string(p))
	if err != nil {
		return types.NewErr("matches: %v", err)
	}
	return types.Bool(r.MatchString(string(s)))
}

// instructions estimates how long a program the pattern makes, before its
// repetitions are written out; at most maxWork.
func instructions(r *syntax.Regexp) int {
	n := 1 + len(r.Rune)
	for _, sub := range r.Sub {
		n = min(n+instructions(sub), maxWork)
	}
	if r.Op == syntax.OpRepeat {
		n *= max(r.Min, r.Max, 1)
	}
	return min(n, maxWork)
}
