package cel

import (
	"github.com/google/cel-go/common/overloads"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/interpreter"
)

// What calls cost: cel-go knows the sizes of arguments only where a text was
// checked against types, which attributes do not have.
const (
	bytesOfACost = 10
	costOfMatch  = 500 // to compile the pattern
)

// costs estimates what a call has cost.
type costs struct{}

var _ interpreter.ActualCostEstimator = costs{}

// CallCost implements interpreter.ActualCostEstimator.
func (costs) CallCost(function, _ string, args []ref.Val, result ref.Val) *uint64 {
	n := uint64(1)
	for _, v := range args {
		n += size(v) / bytesOfACost
	}
	n += size(result) / bytesOfACost
	if function == overloads.Matches && len(args) == 2 {
		n += costOfMatch + size(args[0])*size(args[1])/100
	}
	return &n
}

// size is how much work it is to copy or compare a value.
func size(v ref.Val) uint64 {
	switch v := v.(type) {
	case types.String:
		return uint64(len(v))
	case types.Bytes:
		return uint64(len(v))
	case *group:
		return 0
	case traits.Mapper, traits.Lister:
		if n, ok := v.(traits.Sizer).Size().(types.Int); ok {
			return uint64(n) * bytesOfACost
		}
	}
	return 0
}
