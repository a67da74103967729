package proxywasm

import (
	"strings"
	"sync"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/hosts/capability"
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

// guestLog is the log of one filter.
type guestLog struct {
	*capability.Log

	mu   sync.Mutex
	said map[string]bool // what is said once
}

func newGuestLog(log *zap.Logger, c *config.Filter, digest string) *guestLog {
	return &guestLog{Log: capability.NewLog(log, c, digest)}
}

// write logs a guest's line, with the number of the exchange that it is about; 0:
// none. A critical one is an error here.
func (g *guestLog) write(exchange uint64, level uint32, line []byte) {
	zapLevel := [...]zapcore.Level{zapcore.DebugLevel, zapcore.DebugLevel, zapcore.InfoLevel, zapcore.WarnLevel, zapcore.ErrorLevel, zapcore.ErrorLevel}[level]
	g.Guest(exchange, zapLevel, line)
}

// level returns the lowest level that is written, as proxy_get_log_level says it.
func (g *guestLog) level() uint32 {
	switch {
	case g.Core().Enabled(zapcore.DebugLevel):
		return levelTrace
	case g.Core().Enabled(zapcore.InfoLevel):
		return levelInfo
	case g.Core().Enabled(zapcore.WarnLevel):
		return levelWarn
	}
	return levelError
}

// once logs a warning the first time only, by its key.
func (g *guestLog) once(key, text string, fields ...zap.Field) {
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
		g.Warn(text, fields...)
	}
}

// refusedCall logs a call out that was not begun.
func (g *guestLog) refusedCall(upstream string, err error) {
	if g.Admit() {
		g.Warn("a plugin's call was refused", zap.String("upstream", strings.ToValidUTF8(upstream, "\uFFFD")), zap.Error(err))
	}
}

// refusedText logs why an expression does not compile, for its author.
func (g *guestLog) refusedText(err error) {
	if g.Core().Enabled(zapcore.DebugLevel) && g.Admit() {
		line, _, _ := strings.Cut(err.Error(), "\n")
		g.Debug("a plugin's expression was refused", zap.String("reason", strings.ToValidUTF8(line, "\uFFFD")))
	}
}
