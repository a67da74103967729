//go:build wasip1

package sdk

import "unsafe"

//go:wasmimport env proxy_log
func proxyLog(level uint32, p unsafe.Pointer, n uint32) uint32

//go:wasmimport env proxy_get_log_level
func proxyLogLevel(level unsafe.Pointer) uint32

// Level says how much a line of the log matters (proxy_log_level_t).
type Level uint32

// The levels.
const (
	Trace Level = iota
	Debug
	Info
	Warn
	Error
	Critical
)

// Log writes a line to the proxy's log (proxy_log).
func Log(level Level, text string) { proxyLog(uint32(level), str(text), uint32(len(text))) }

// LogLevel returns the lowest level that the proxy writes (proxy_get_log_level), Trace if
// it does not say.
func LogLevel() Level {
	if proxyLogLevel(unsafe.Pointer(&ret.number)) != 0 {
		return Trace
	}
	return Level(ret.number)
}

// LogEnabled says whether lines of a level are written: to be asked before one is made
// that costs something to make.
func LogEnabled(level Level) bool { return level >= LogLevel() }
