package cel

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
)

// encode writes a result as Envoy writes properties: text as it is, numbers in
// eight bytes, times in nanoseconds, lists and maps as pairs.
func encode(v ref.Val) ([]byte, error) {
	value, err := scalar(v)
	if err == nil || v == nil {
		return bounded(value, err)
	}
	switch c := v.(type) {
	case *group:
	case traits.Mapper:
		var list [][2][]byte
		size := 0
		for i := c.Iterator(); i.HasNext() == types.True; {
			key := i.Next()
			name, err := scalar(key)
			if err != nil {
				return nil, err
			}
			value, err := scalar(c.Get(key))
			if err != nil {
				return nil, err
			}
			if size += len(name) + len(value) + 10; size > MaxResult {
				return nil, errTooLarge
			}
			list = append(list, [2][]byte{name, value})
		}
		return bounded(pairs(list), nil)
	case traits.Lister:
		var list [][2][]byte
		size := 0
		for i := c.Iterator(); i.HasNext() == types.True; {
			item, err := scalar(i.Next())
			if err != nil {
				return nil, err
			}
			if size += len(item) + 10; size > MaxResult {
				return nil, errTooLarge
			}
			list = append(list, [2][]byte{item, nil})
		}
		return bounded(pairs(list), nil)
	}
	return nil, err
}

var errTooLarge = fmt.Errorf("%w: more than %d bytes", ErrValue, MaxResult)

func bounded(b []byte, err error) ([]byte, error) {
	if err == nil && len(b) > MaxResult {
		return nil, errTooLarge
	}
	return b, err
}

// scalar writes a value that is neither list nor map.
func scalar(v ref.Val) ([]byte, error) {
	number := func(n uint64) ([]byte, error) { return binary.LittleEndian.AppendUint64(nil, n), nil }
	switch v := v.(type) {
	case types.String:
		return []byte(v), nil
	case types.Bytes:
		return v, nil
	case types.Int:
		return number(uint64(v))
	case types.Uint:
		return number(uint64(v))
	case types.Double:
		return number(math.Float64bits(float64(v)))
	case types.Bool:
		if v {
			return []byte{1}, nil
		}
		return []byte{0}, nil
	case types.Duration:
		return number(uint64(v.Duration))
	case types.Timestamp:
		if first, last := time.Unix(0, math.MinInt64), time.Unix(0, math.MaxInt64); v.Before(first) || v.After(last) {
			return nil, fmt.Errorf("%w: a time beyond 64 bits of nanoseconds", ErrValue)
		}
		return number(uint64(v.UnixNano()))
	}
	if v == nil {
		return nil, fmt.Errorf("%w: nothing", ErrValue)
	}
	return nil, fmt.Errorf("%w: a %s", ErrValue, v.Type().TypeName())
}

// pairs is the serialised map of Proxy-Wasm.
func pairs(list [][2][]byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(list)))
	for _, p := range list {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(p[0])))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(p[1])))
	}
	for _, p := range list {
		b = append(append(append(append(b, p[0]...), 0), p[1]...), 0)
	}
	return b
}
