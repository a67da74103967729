package main

import (
	"github.com/corazawaf/coraza/v3/experimental/plugins/plugintypes"
	"github.com/corazawaf/libinjection-go"
)

// injection is an operator of libinjection as Coraza has it, whose effort counts.
type injection struct {
	detect func(value string) (found bool, fingerprint string)
	byByte int // steps
	effort *effort
	tells  bool // the fingerprint is captured
}

// injections returns Coraza's, by name.
func injections(left *effort) map[string]*injection {
	return map[string]*injection{
		"detectSQLi": {libinjection.IsSQLi, 600, left, true},
		"detectXSS":  {func(value string) (bool, string) { return libinjection.IsXSS(value), "" }, 200, left, false},
	}
}

func (i *injection) found(value string) bool {
	i.effort.spend(stepsOfJudging + i.byByte*len(value))
	found, _ := i.detect(value)
	return found
}

// Evaluate implements plugintypes.Operator.
func (i *injection) Evaluate(tx plugintypes.TransactionState, value string) bool {
	i.effort.spend(stepsOfRule + i.byByte*len(value))
	found, fingerprint := i.detect(value)
	if found && i.tells {
		tx.CaptureField(0, fingerprint)
	}
	return found
}
