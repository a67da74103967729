// Package plain takes content codings away. It is apart from harness, whose users need no library for that.
package plain

import (
	"compress/gzip"
	"io"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// Text returns a body without its content coding: gzip, br, zstd or none.
func Text(t testing.TB, coding, body string) string {
	t.Helper()
	from, err := io.Reader(strings.NewReader(body)), error(nil)
	switch coding {
	case "":
	case "gzip":
		from, err = gzip.NewReader(from)
	case "br":
		from = brotli.NewReader(from)
	case "zstd":
		from, err = zstd.NewReader(from, zstd.WithDecoderMaxWindow(8<<20)) // RFC 9659
	default:
		t.Errorf("the coding %q is none", coding)
	}
	if err != nil {
		t.Errorf("%s: %v", coding, err)
		return ""
	}
	text, err := io.ReadAll(from)
	if err != nil {
		t.Errorf("%s: %v", coding, err)
	}
	return string(text)
}
