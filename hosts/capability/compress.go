package capability

import (
	"errors"

	"penstock.dev/penstock/core/exchange"
)

// Coding is a content coding (RFC 9110, 8.4.1).
type Coding uint8

// The codings.
const (
	Gzip    Coding = iota + 1 // RFC 1952
	Brotli                    // RFC 7932
	Zstd                      // RFC 8878, with windows of at most 8 MiB (RFC 9659)
	Deflate                   // in zlib's format, RFC 1950; only decoded
)

var codings = [...]string{Gzip: "gzip", Brotli: "br", Zstd: "zstd", Deflate: "deflate"}

// String returns the coding's name in Content-Encoding.
func (c Coding) String() string { return codings[c] }

// ParseCoding returns the coding with a name, whatever its case; x-gzip is gzip. ok is false
// if there is none: identity is no coding either.
func ParseCoding(name []byte) (c Coding, ok bool) {
	for i := Gzip; int(i) < len(codings); i++ {
		if exchange.EqualFold(name, codings[i]) {
			return i, true
		}
	}
	return Gzip, exchange.EqualFold(name, "x-gzip")
}

// Bounds on what is asked of a Recoder.
const (
	MaxCodings     = 3 // of one body
	MaxCodingLevel = 9
)

// Why a body is not recoded.
var (
	// ErrCodingMemory: encoders and decoders take as much memory as they may.
	ErrCodingMemory = errors.New("encoders and decoders take as much memory as they may together, or those of this namespace")
	// ErrCoding: there is no such coding, or none that does this.
	ErrCoding = errors.New("no such content coding")
)

// Recoder encodes and decodes bodies. Any goroutine may call it.
type Recoder interface {
	// Encode readies an encoder for a body; level is 1 (fast) to MaxCodingLevel (small), or 0
	// for the coding's default. Errors are ErrCoding and ErrCodingMemory.
	Encode(namespace string, c Coding, level int) (Recoding, error)
	// Decode readies decoders for a body with these codings, 1 to MaxCodings, the outermost
	// first, which may become limit bytes. Errors are as Encode's.
	Decode(namespace string, codings []Coding, limit int64) (Recoding, error)
}

// Recoding is one body that is to be encoded or decoded.
type Recoding interface {
	// Convert is that of filter.Converter; to be called once. Without a body, as after
	// HEAD, and of a 304, it changes the fields alone.
	Convert(x *exchange.Exchange, request bool) error
	// Release frees what is held, if the body has not done so. It may be called again, and
	// by any goroutine.
	Release()
}
