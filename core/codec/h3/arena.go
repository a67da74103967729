package h3

import (
	"sync"

	"penstock.dev/penstock/core/exchange"
)

// arenaWriter copies what is written, once, to an arena.
type arenaWriter struct {
	arena *exchange.Arena
	text  []byte
}

// writers is a pool of what an io.Writer would be allocated for.
var writers = sync.Pool{New: func() any { return new(arenaWriter) }}

// Write implements io.Writer.
func (w *arenaWriter) Write(p []byte) (int, error) {
	w.text = w.arena.Copy(p)
	return len(p), nil
}
