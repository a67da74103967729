package main

import (
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"penstock.dev/penstock/core/config"
)

// lastErrors keeps the last error that each plugin logged outside of an exchange, as while
// it was configured: commands that an author or an operator calls say it, since it is why
// a configuration is refused. A status in a cluster does not, as it may quote a secret.
type lastErrors struct {
	mu sync.Mutex
	by map[string]string // by lastErrorKey
}

// maxLastError bounds what is told of an error, in bytes.
const maxLastError = 200

func lastErrorKey(object, plugin string) string { return object + " " + plugin }

// listen has l hear what is logged.
func (l *lastErrors) listen(log *zap.Logger) *zap.Logger {
	return log.WithOptions(zap.WrapCore(func(c zapcore.Core) zapcore.Core { return &errorListener{Core: c, to: l} }))
}

// forget drops what was heard.
func (l *lastErrors) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.by = nil
}

// explain adds what the filter's plugin logged to why it does not start.
func (l *lastErrors) explain(object, plugin, message string) string {
	l.mu.Lock()
	said := l.by[lastErrorKey(object, plugin)]
	l.mu.Unlock()
	switch {
	case said == "":
		return message
	case strings.HasSuffix(message, "its log says why"):
		return message + ": " + said
	}
	return message + "; its log says: " + said
}

// explainFilter is explain for a filter's error; nil stays nil. Of a configuration that is
// from a Secret nothing is told but what the log says.
func (l *lastErrors) explainFilter(f *config.Filter, err error) error {
	if err == nil || f.Private {
		return err
	}
	text := l.explain(f.Owner.String(), f.ID(), err.Error())
	if text == err.Error() {
		return err
	}
	return &explained{text, err}
}

// explained is an error with another text.
type explained struct {
	text string
	error
}

// Error implements error.
func (e *explained) Error() string { return e.text }

// Unwrap returns the error itself.
func (e *explained) Unwrap() error { return e.error }

// errorListener is a zapcore.Core that passes on, and listens.
type errorListener struct {
	zapcore.Core
	to             *lastErrors
	object, plugin string
}

// With implements zapcore.Core.
func (l *errorListener) With(fields []zapcore.Field) zapcore.Core {
	next := *l
	next.Core = l.Core.With(fields)
	for _, f := range fields {
		switch f.Key {
		case "object":
			next.object = fmt.Sprint(f.Interface)
		case "plugin":
			next.plugin = f.String
		}
	}
	return &next
}

// Check implements zapcore.Core.
func (l *errorListener) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c = l.Core.Check(e, c); e.LoggerName == "guest" && e.Level >= zapcore.ErrorLevel {
		c = c.AddCore(e, heard{l})
	}
	return c
}

// heard is its ear: Write of the errorListener itself is that of the core it wraps.
type heard struct{ *errorListener }

// Write implements zapcore.Core.
func (h heard) Write(e zapcore.Entry, fields []zapcore.Field) error {
	for _, f := range fields {
		if f.Key == "exchange" {
			return nil
		}
	}
	l := h.to
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.by == nil {
		l.by = map[string]string{}
	}
	l.by[lastErrorKey(h.object, h.plugin)] = oneLine(e.Message)
	return nil
}

// oneLine is a text of a plugin for a terminal: bounded, and without control characters.
func oneLine(text string) string {
	rest := ""
	if len(text) > maxLastError {
		end := maxLastError
		for !utf8.RuneStart(text[end]) {
			end--
		}
		text, rest = text[:end], "…"
	}
	quoted := fmt.Sprintf("%q", text)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`) + rest
}
