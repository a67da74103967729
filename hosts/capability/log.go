package capability

import (
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"penstock.dev/penstock/core/config"
)

const (
	// maxLogLine cuts a guest's line, in bytes.
	maxLogLine = 16 << 10
	// LogsPerSecond bounds the lines of one filter.
	LogsPerSecond = 200
)

// Log is the log of one filter, with a bound on its rate. Any goroutine may use
// it.
type Log struct {
	*zap.Logger // for what the host itself says of the filter

	mu     sync.Mutex
	second int64
	count  int
	lost   int
}

// NewLog returns the log of c, whose lines name the object, the filter and the
// digest of its image.
func NewLog(log *zap.Logger, c *config.Filter, digest string) *Log {
	return &Log{Logger: log.With(zap.Stringer("object", c.Owner), zap.String("plugin", c.ID()), zap.String("digest", digest))}
}

// Guest logs a guest's line, with the number of the exchange that it is about; 0:
// none. The line is not kept.
func (l *Log) Guest(exchange uint64, level zapcore.Level, line []byte) {
	entry := l.Check(level, "")
	if entry == nil || !l.Admit() {
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

// Admit counts a line, and says when some were left out; false: this one is.
func (l *Log) Admit() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now().Unix()
	if now != l.second {
		if l.lost > 0 {
			l.Warn("a plugin logs too much: lines were left out", zap.Int("lines", l.lost))
		}
		l.second, l.count, l.lost = now, 0, 0
	}
	if l.count++; l.count > LogsPerSecond {
		l.lost++
		return false
	}
	return true
}

// Failure logs a failed call that belongs to no exchange any more.
func (l *Log) Failure(where string, err error) {
	if l.Admit() {
		l.Warn("plugin failed", zap.String("call", where), zap.Error(err))
	}
}
