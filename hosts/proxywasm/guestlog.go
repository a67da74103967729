package proxywasm

import (
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"penstock.dev/penstock/core/config"
)

// Levels of proxy_log.
const (
	levelTrace uint32 = iota
	levelDebug
	levelInfo
	levelWarn
	levelError
	levelCritical
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
	said   map[string]bool // what is said once
}

func newGuestLog(log *zap.Logger, c *config.Filter, digest string) *guestLog {
	return &guestLog{log: log.With(zap.Stringer("object", c.Owner), zap.String("plugin", c.ID()), zap.String("digest", digest))}
}

// write logs a guest's line, with the number of the exchange that it is about; 0:
// none. A critical one is an error here.
func (g *guestLog) write(exchange uint64, level uint32, line []byte) {
	zapLevel := [...]zapcore.Level{zapcore.DebugLevel, zapcore.DebugLevel, zapcore.InfoLevel, zapcore.WarnLevel, zapcore.ErrorLevel, zapcore.ErrorLevel}[level]
	entry := g.log.Check(zapLevel, "")
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

// level returns the lowest level that is written, as proxy_get_log_level says it.
func (g *guestLog) level() uint32 {
	switch {
	case g.log.Core().Enabled(zapcore.DebugLevel):
		return levelTrace
	case g.log.Core().Enabled(zapcore.InfoLevel):
		return levelInfo
	case g.log.Core().Enabled(zapcore.WarnLevel):
		return levelWarn
	}
	return levelError
}

// failure logs a failed call that belongs to no exchange any more.
func (g *guestLog) failure(where string, err error) {
	if g.admit() {
		g.log.Warn("plugin failed", zap.String("call", where), zap.Error(err))
	}
}

// once logs a warning the first time only.
func (g *guestLog) once(key, text string) {
	g.mu.Lock()
	said := g.said[key]
	if !said {
		if g.said == nil {
			g.said = map[string]bool{}
		}
		g.said[key] = true
	}
	g.mu.Unlock()
	if !said {
		g.log.Warn(text, zap.String("capability", key))
	}
}

// refusedCall logs a call out that was not begun.
func (g *guestLog) refusedCall(upstream string, err error) {
	if g.admit() {
		g.log.Warn("a plugin's call was refused", zap.String("upstream", strings.ToValidUTF8(upstream, "\uFFFD")), zap.Error(err))
	}
}

// refusedText logs why an expression does not compile, for its author.
func (g *guestLog) refusedText(err error) {
	if g.log.Core().Enabled(zapcore.DebugLevel) && g.admit() {
		line, _, _ := strings.Cut(err.Error(), "\n")
		g.log.Debug("a plugin's expression was refused", zap.String("reason", strings.ToValidUTF8(line, "\uFFFD")))
	}
}
