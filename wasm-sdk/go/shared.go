//go:build wasip1

package sdk

import (
	"errors"
	"math"
	"unsafe"
)

//go:wasmimport env proxy_get_shared_data
func proxyGetShared(key unsafe.Pointer, n uint32, p, size, cas unsafe.Pointer) uint32

//go:wasmimport env proxy_set_shared_data
func proxySetShared(key unsafe.Pointer, n uint32, value unsafe.Pointer, m, cas uint32) uint32

// SharedData returns what is kept under a key (proxy_get_shared_data), and the number of
// that state for SetSharedData; ErrNotFound: there is nothing. All instances of the
// plugin with the same vmId share the data. The value is valid until the next call of a
// function of this package.
func SharedData(key string) (value []byte, cas uint32, err error) {
	if status := proxyGetShared(str(key), uint32(len(key)), unsafe.Pointer(&ret.p), unsafe.Pointer(&ret.n), unsafe.Pointer(&ret.number)); status != 0 {
		return nil, 0, failure(status)
	}
	return result(), ret.number, nil
}

// SetSharedData keeps a value under a key (proxy_set_shared_data). With a cas other than
// 0 it fails with ErrCASMismatch if the value there is not the one that had this number.
func SetSharedData(key string, value []byte, cas uint32) error {
	return failure(proxySetShared(str(key), uint32(len(key)), raw(value), uint32(len(value)), cas))
}

const (
	// noCAS is a number that no state has: what it sets is only set if there is nothing.
	noCAS      = math.MaxUint32
	maxUpdates = 64
)

// UpdateSharedData replaces the value under a key by what change makes of it, nil if
// there is none, so that no instance's change is lost: change is called again if another
// one came between. It is not to call functions of this package before it has read old.
// The error is ErrCASMismatch if others came between too often.
func UpdateSharedData(key string, change func(old []byte) []byte) error {
	for range maxUpdates {
		old, cas, err := SharedData(key)
		switch {
		case errors.Is(err, ErrNotFound):
			cas = noCAS
		case err != nil:
			return err
		}
		if err = SetSharedData(key, change(old), cas); !errors.Is(err, ErrCASMismatch) {
			return err
		}
	}
	return ErrCASMismatch
}
