//go:build wasip1

package sdk

import (
	"net/netip"
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
	value, err := getProperty(path...)
	return value, err == nil
}

func getProperty(path ...string) ([]byte, error) {
	arguments = appendPath(arguments[:0], path)
	if status := proxyGetProperty(raw(arguments), uint32(len(arguments)), unsafe.Pointer(&ret.p), unsafe.Pointer(&ret.n)); status != 0 {
		return nil, failure(status)
	}
	return result(), nil
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

// ClientAddress returns the client's address, as the proxy knows it: IPv4 also where it came
// as IPv6 ("::ffff:192.0.2.7"), and never with a zone; ok is false if the proxy does not know
// it. Penstock has a property of it, "penstock", "client_address", which is read without
// allocating; of a proxy that has none it is the address in "source", "address".
func ClientAddress() (address netip.Addr, ok bool) {
	own, err := getProperty("penstock", "client_address")
	return clientAddress(own, err, sourceAddress)
}

func sourceAddress() string {
	b, _ := Property("source", "address")
	return string(b)
}

// SetProperty keeps a value for the rest of the exchange (proxy_set_property): this
// plugin and the others of the exchange read it by Property with the same path. It
// fails with ErrNotFound where there is no exchange.
func SetProperty(path []string, value []byte) error {
	arguments = appendPath(arguments[:0], path)
	return failure(proxySetProperty(raw(arguments), uint32(len(arguments)), raw(value), uint32(len(value))))
}
