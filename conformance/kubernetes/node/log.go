package node

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// maxLog is the size at which a container's log starts again.
const maxLog = 32 << 20

// logFile holds a container's output: each line begins with its time.
type logFile struct {
	path string

	mu   sync.Mutex
	file *os.File
	size int64
}

func openLog(path string) (*logFile, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	return &logFile{path: path, file: f}, err
}

func (l *logFile) line(text []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size > maxLog {
		_ = l.file.Truncate(0)
		_, _ = l.file.Seek(0, io.SeekStart)
		l.size = 0
	}
	n, _ := fmt.Fprintf(l.file, "%s %s\n", time.Now().UTC().Format(time.RFC3339Nano), text)
	l.size += int64(n)
}

func (l *logFile) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.file.Close()
}

// stream is one of a container's two outputs, cut into lines.
type stream struct {
	log  *logFile
	rest []byte
}

func (s *stream) Write(p []byte) (int, error) {
	s.rest = append(s.rest, p...)
	for {
		line, rest, ok := bytes.Cut(s.rest, []byte("\n"))
		if !ok && len(s.rest) < 16<<10 {
			return len(p), nil
		}
		s.log.line(line)
		s.rest = rest
	}
}

// flush writes what has no line end.
func (s *stream) flush() {
	if len(s.rest) > 0 {
		s.log.line(s.rest)
		s.rest = nil
	}
}
