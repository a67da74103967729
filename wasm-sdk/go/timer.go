//go:build wasip1

package sdk

import (
	"time"
	"unsafe"
)

//go:wasmimport env proxy_get_current_time_nanoseconds
func proxyTime(at unsafe.Pointer) uint32

//go:wasmimport env proxy_set_tick_period_milliseconds
func proxyTickPeriod(ms uint32) uint32

// Now returns the time by the proxy's clock (proxy_get_current_time_nanoseconds).
func Now() time.Time {
	if proxyTime(unsafe.Pointer(&ret.wide)) != 0 {
		return time.Now()
	}
	return time.Unix(0, int64(ret.wide))
}

// SetTickPeriod has the Plugin's Tick called each time so much has passed, in whole
// milliseconds (proxy_set_tick_period_milliseconds); 0 ends it. Usually called in
// Configure. Each instance of the plugin ticks on its own.
func SetTickPeriod(d time.Duration) error {
	ms, err := milliseconds(d)
	if err != nil {
		return err
	}
	return failure(proxyTickPeriod(ms))
}

//go:wasmexport proxy_on_tick
func tick(root uint32) {
	effective = root
	if t, ok := contexts.plugins[root].(Ticker); ok {
		t.Tick()
	}
}
