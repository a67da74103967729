package cel

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/env"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/overloads"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/interpreter"
)

// Bounds on an expression.
const (
	MaxText   = 4 << 10  // bytes
	MaxCost   = 20_000   // of one evaluation, in cel-go's units
	MaxResult = 64 << 10 // bytes
	maxNodes  = 1000
	maxDepth  = 100
)

var (
	// ErrText means that a text is no expression, or one that is not allowed.
	ErrText = errors.New("not an expression")
	// ErrValue means that a result has no encoding.
	ErrValue = errors.New("the result cannot be written")
)

// Engine compiles expressions. It may be used by several goroutines at once.
type Engine struct{ env *cel.Env }

// New returns an engine.
func New() (*Engine, error) {
	macros := &env.LibrarySubset{
		// map and filter make values that grow with each use; those with a time
		// zone read files.
		IncludeMacros:    []string{operators.Has, operators.All, operators.Exists, operators.ExistsOne},
		ExcludeFunctions: append(zoned(), &env.Function{Name: overloads.Matches}),
	}
	e, err := cel.NewCustomEnv(
		cel.StdLib(cel.StdLibSubset(macros)), matches(),
		cel.ParserExpressionSizeLimit(MaxText), cel.ParserRecursionLimit(maxDepth), cel.ExpressionNodeLimit(maxNodes), cel.ParserErrorRecoveryLimit(1),
		cel.EnableHiddenAccumulatorName(true),
	)
	if err != nil {
		return nil, fmt.Errorf("make the environment of expressions: %w", err)
	}
	return &Engine{e}, nil
}

// zoned are the overloads that take the name of a time zone.
func zoned() []*env.Function {
	var all []*env.Function
	for name, id := range map[string]string{
		overloads.TimeGetFullYear: overloads.TimestampToYearWithTz, overloads.TimeGetMonth: overloads.TimestampToMonthWithTz,
		overloads.TimeGetDayOfYear: overloads.TimestampToDayOfYearWithTz, overloads.TimeGetDayOfMonth: overloads.TimestampToDayOfMonthZeroBasedWithTz,
		overloads.TimeGetDate: overloads.TimestampToDayOfMonthOneBasedWithTz, overloads.TimeGetDayOfWeek: overloads.TimestampToDayOfWeekWithTz,
		overloads.TimeGetHours: overloads.TimestampToHoursWithTz, overloads.TimeGetMinutes: overloads.TimestampToMinutesWithTz,
		overloads.TimeGetSeconds: overloads.TimestampToSecondsWithTz, overloads.TimeGetMilliseconds: overloads.TimestampToMillisecondsWithTz,
	} {
		all = append(all, &env.Function{Name: name, Overloads: []*env.Overload{{ID: id}}})
	}
	return all
}

// Expression is a compiled text. It may be used by several goroutines at once.
type Expression struct{ program cel.Program }

// Compile reads a text; the error wraps ErrText. Names of attributes are not
// checked: one that there is not fails when it is evaluated.
func (e *Engine) Compile(text string) (*Expression, error) {
	if len(text) > MaxText {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrText, len(text), MaxText)
	}
	parsed, issues := e.env.Parse(text)
	if issues.Err() != nil {
		return nil, fmt.Errorf("%w: %w", ErrText, issues.Err())
	}
	if err := e.allowed(parsed.NativeRep().Expr()); err != nil {
		return nil, err
	}
	p, err := e.env.Program(parsed, cel.CostLimit(MaxCost), cel.CostTracking(costs{}))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrText, err)
	}
	return &Expression{p}, nil
}

// allowed refuses unknown functions, messages, and loops that could build a
// value larger than what the text spells out.
func (e *Engine) allowed(root ast.Expr) error {
	var err error
	refuse := func(format string, args ...any) {
		if err == nil {
			err = fmt.Errorf("%w: %s", ErrText, fmt.Sprintf(format, args...))
		}
	}
	ast.PreOrderVisit(root, ast.NewExprVisitor(func(x ast.Expr) {
		switch x.Kind() {
		case ast.CallKind:
			if name := x.AsCall().FunctionName(); !e.env.HasFunction(name) {
				refuse("there is no function %.64q", name)
			}
		case ast.StructKind:
			refuse("messages are not supported")
		case ast.ComprehensionKind:
			for _, part := range []ast.Expr{x.AsComprehension().LoopStep(), x.AsComprehension().LoopCondition(), x.AsComprehension().Result()} {
				ast.PreOrderVisit(part, ast.NewExprVisitor(func(x ast.Expr) {
					if builds(x) {
						refuse("within all, exists and exists_one a list or map may hold constants only")
					}
				}))
			}
		}
	}))
	return err
}

// builds says whether an expression makes a list or map of other than constants.
func builds(x ast.Expr) bool {
	constant := func(e ast.Expr) bool { return e.Kind() == ast.LiteralKind }
	switch x.Kind() {
	case ast.ListKind:
		for _, e := range x.AsList().Elements() {
			if !constant(e) {
				return true
			}
		}
	case ast.MapKind:
		for _, entry := range x.AsMap().Entries() {
			if e := entry.AsMapEntry(); !constant(e.Key()) || !constant(e.Value()) {
				return true
			}
		}
	}
	return false
}

// Evaluate returns the value of the expression, encoded as the properties of
// Proxy-Wasm are, and what it cost, at most a little more than MaxCost. The
// error wraps ErrValue if there is a value that has no encoding.
func (x *Expression) Evaluate(a Attributes) (value []byte, cost uint64, err error) {
	result, details, err := x.program.Eval(activation{a})
	if c := details.ActualCost(); c != nil {
		cost = min(*c, 2*MaxCost)
	} else if err != nil {
		cost = MaxCost
	}
	if err != nil {
		return nil, cost, fmt.Errorf("evaluate: %w", err)
	}
	value, err = encode(result)
	return value, cost, err
}

// activation finds the variables of an evaluation.
type activation struct{ a Attributes }

// ResolveName implements interpreter.Activation.
func (v activation) ResolveName(name string) (any, bool) {
	if strings.Contains(name, ".") { // cel-go tries the longest name first; ours are single words
		return nil, false
	}
	value := attribute(v.a, []string{name})
	return value, value != nil
}

// Parent implements interpreter.Activation.
func (activation) Parent() interpreter.Activation { return nil }

var _ interpreter.Activation = activation{}

// attribute is an attribute as a value of cel-go; nil: there is none.
func attribute(a Attributes, path []string) ref.Val {
	switch value := a.Attribute(path).(type) {
	case nil:
		return nil
	case Group:
		return &group{a: a, path: path}
	case map[string]string:
		return types.NewStringStringMap(types.DefaultTypeAdapter, value)
	default:
		return types.DefaultTypeAdapter.NativeToValue(value)
	}
}
