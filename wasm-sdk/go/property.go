//go:build wasip1

package sdk

import (
	"time"
	"unsafe"
)

//go:wasmimport env proxy_get_property
func proxyGetProperty(path unsafe.Pointer, n uint32, p, size unsafe.Pointer) uint32

//go:wasmimport env proxy_set_property
func proxySetProperty(path unsafe.Pointer, n uint32, value unsafe.Pointer, m uint32) uint32

// Property returns a property by its path, such as "source", "address", as the proxy
// has it (proxy_get_property). It is valid until the next call of a function of this
// package.
func Property(path ...string) (value []byte, ok bool) {
	arguments = appendPath(arguments[:0], path)
	if proxyGetProperty(raw(arguments), uint32(len(arguments)), unsafe.Pointer(&ret.p), unsafe.Pointer(&ret.n)) != 0 {
		return nil, false
	}
	return result(), true
}

// PropertyString returns a property that is a text, such as "request", "protocol".
func PropertyString(path ...string) (value string, ok bool) {
	b, ok := Property(path...)
	return string(b), ok
}

// PropertyInt returns a property that is a number, such as "source", "port"; ok is false
// also if it is none.
func PropertyInt(path ...string) (value int64, ok bool) {
	b, _ := Property(path...)
	return readInt(b)
}

// PropertyBool returns a property that is true or false, such as "connection", "mtls";
// ok is false also if it is neither.
func PropertyBool(path ...string) (value, ok bool) {
	b, _ := Property(path...)
	return readBool(b)
}

// PropertyTime returns a property that is a time, such as "request", "time"; ok is false
// also if it is none.
func PropertyTime(path ...string) (value time.Time, ok bool) {
	n, ok := PropertyInt(path...)
	return time.Unix(0, n), ok
}

// PropertyDuration returns a property that is a time span, such as "request",
// "duration"; ok is false also if it is none.
func PropertyDuration(path ...string) (value time.Duration, ok bool) {
	n, ok := PropertyInt(path...)
	return time.Duration(n), ok
}

// SetProperty keeps a value for the rest of the exchange (proxy_set_property): this
// plugin and the others of the exchange read it by Property with the same path. It
// fails with ErrNotFound where there is no exchange.
func SetProperty(path []string, value []byte) error {
	arguments = appendPath(arguments[:0], path)
	return failure(proxySetProperty(raw(arguments), uint32(len(arguments)), raw(value), uint32(len(value))))
}
