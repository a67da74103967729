package httpwasm

import (
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/hosts/capability"
)

// Levels of log.
const (
	levelDebug int32 = iota - 1
	levelInfo
	levelWarn
	levelError
	levelNone
)

// guestLog is the log of one filter.
type guestLog struct{ *capability.Log }

func newGuestLog(log *zap.Logger, c *config.Filter, digest string) *guestLog {
	return &guestLog{capability.NewLog(log, c, digest)}
}

// zapLevel says how a guest's level is logged; ok is false if it is not.
func zapLevel(level int32) (l zapcore.Level, ok bool) {
	if level < levelDebug || level >= levelNone {
		return 0, false
	}
	return zapcore.Level(level), true // the numbers are the same
}

// enabled reports whether lines of a level are written.
func (g *guestLog) enabled(level int32) bool {
	l, ok := zapLevel(level)
	return ok && g.Core().Enabled(l)
}

// write logs a guest's line, with the number of the exchange that it is about; 0:
// none.
func (g *guestLog) write(exchange uint64, level int32, line []byte) {
	if l, ok := zapLevel(level); ok {
		g.Guest(exchange, l, line)
	}
}
