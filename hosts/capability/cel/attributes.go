package cel

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
)

// Attributes are the variables of an expression.
type Attributes interface {
	// Attribute returns a string, []byte, int64, uint64, bool, time.Time,
	// time.Duration, []string, map[string]string, or map[string]any as JSON is read into;
	// Group if there are attributes below path; nil if there is none. path has at least
	// one element, and is kept.
	Attribute(path []string) any
}

// Group stands for attributes that have a common path.
type Group struct{}

// group looks up what is below its path. It can be indexed, and nothing else.
type group struct {
	a    Attributes
	path []string
}

var (
	_ ref.Val       = (*group)(nil)
	_ traits.Mapper = (*group)(nil)
)

// Find implements traits.Mapper.
func (g *group) Find(key ref.Val) (ref.Val, bool) {
	name, ok := key.(types.String)
	if !ok {
		return nil, false
	}
	v := attribute(g.a, append(slices.Clone(g.path), string(name)))
	return v, v != nil
}

// Get implements traits.Indexer.
func (g *group) Get(key ref.Val) ref.Val {
	if v, ok := g.Find(key); ok {
		return v
	}
	return types.NewErr("no such key: %v", key)
}

// Contains implements traits.Container.
func (g *group) Contains(key ref.Val) ref.Val {
	_, ok := g.Find(key)
	return types.Bool(ok)
}

// Size implements traits.Sizer: nobody counts attributes.
func (g *group) Size() ref.Val { return types.NewErr("attributes cannot be counted") }

// Iterator implements traits.Iterable: over nothing.
func (g *group) Iterator() traits.Iterator {
	return types.NewDynamicList(types.DefaultTypeAdapter, []string{}).Iterator()
}

// ConvertToNative implements ref.Val.
func (g *group) ConvertToNative(reflect.Type) (any, error) {
	return nil, fmt.Errorf("%w: attributes %v", ErrValue, g.path)
}

// ConvertToType implements ref.Val.
func (g *group) ConvertToType(t ref.Type) ref.Val {
	if t == types.TypeType {
		return types.MapType
	}
	return types.NewErr("attributes cannot be converted")
}

// Equal implements ref.Val.
func (g *group) Equal(other ref.Val) ref.Val { return types.Bool(g == other) }

// Type implements ref.Val.
func (g *group) Type() ref.Type { return types.MapType }

// Value implements ref.Val.
func (g *group) Value() any { return g }
