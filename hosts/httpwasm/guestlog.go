package httpwasm

import (
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"penstock.dev/penstock/core/config"
)

// Levels of log.
const (
	levelDebug int32 = iota - 1
	levelInfo
	levelWarn
	levelError
	levelNone
)

const (
	// maxLogLine cuts a guest's line, in bytes.
	maxLogLine = 16 << 10
	// logsPerSecond bounds the lines of one filter.
	logsPerSecond = 200
)

// guestLog is the log of one filter, with a bound on its rate.
type guestLog struct {
	log *zap.Logger

	mu     sync.Mutex
	second int64
	count  int
	lost   int
}

func newGuestLog(log *zap.Logger, c *config.Filter, digest string) *guestLog {
	return &guestLog{log: log.With(zap.Stringer("object", c.Owner), zap.String("plugin", c.ID()), zap.String("digest", digest))}
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
	return ok && g.log.Core().Enabled(l)
}

// write logs a guest's line, with the number of the exchange that it is about; 0:
// none.
func (g *guestLog) write(exchange uint64, level int32, line []byte) {
	l, ok := zapLevel(level)
	if !ok {
		return
	}
	entry := g.log.Check(l, "")
	if entry == nil || !g.admit() {
		return
	}
	if len(line) > maxLogLine {
		line = line[:maxLogLine]
	}
	entry.Message = strings.ToValidUTF8(string(line), "\uFFFD")
	if exchange == 0 {
		entry.Write()
		return
	}
	entry.Write(zap.Uint64("exchange", exchange))
}

// admit counts a line and says when some were left out.
func (g *guestLog) admit() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now().Unix()
	if now != g.second {
		if g.lost > 0 {
			g.log.Warn("a plugin logs too much: lines were left out", zap.Int("lines", g.lost))
		}
		g.second, g.count, g.lost = now, 0, 0
	}
	if g.count++; g.count > logsPerSecond {
		g.lost++
		return false
	}
	return true
}

// failure logs a failed call that belongs to no exchange any more.
func (g *guestLog) failure(where string, err error) {
	if g.admit() {
		g.log.Warn("plugin failed", zap.String("call", where), zap.Error(err))
	}
}
