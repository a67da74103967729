package meter

import (
	"crypto/sha256"
	"errors"
	"fmt"
)

// Version changes whenever the same module would be rewritten differently: it
// is part of a compiled module's identity.
const Version = 8

// ErrModule means that the bytes are not a Wasm module that can be rewritten.
var ErrModule = errors.New("not a Wasm module")

// ErrFeature means that the module uses a feature that is not admitted here.
var ErrFeature = errors.New("feature of Wasm not admitted")

// StackBytes is the default of Options.StackBytes.
const StackBytes = 8 << 20

// Options of Instrument.
type Options struct {
	// StackBytes is what the frames of one call chain may weigh; default 8 MiB.
	// A frame weighs 32 bytes and 8 for each parameter, local, result and value
	// on its operand stack, 16 if the function uses vectors. Not every function's
	// frame is counted by itself, see the package comment.
	StackBytes int32
	// TableEntries is the size that all tables may reach together, each as much as
	// any other; default 1,000,000. A table that begins larger is refused: an entry
	// takes 8 bytes, which no memory limit counts.
	TableEntries uint32
}

// Bounds on what a module declares beside its code and memory, which no memory
// limit counts: each instance has its own.
const (
	maxGlobals  = 100_000   // some 50 bytes each
	maxElements = 1_000_000 // of all segments, each of which counts as one more
	maxData     = 100_000   // segments, as toolchains keep to
	// maxFunctions bounds what is noted of each function while a module is rewritten,
	// some 150 bytes.
	maxFunctions = 500_000
)

// section ids of the binary format (WebAssembly 2.0, 5.5.2).
const (
	secCustom    = 0
	secType      = 1
	secImport    = 2
	secFunction  = 3
	secTable     = 4
	secMemory    = 5
	secGlobal    = 6
	secExport    = 7
	secStart     = 8
	secElement   = 9
	secCode      = 10
	secData      = 11
	secDataCount = 12
	secTag       = 13
)

// order is how sections follow each other.
var order = [...]byte{secType, secImport, secFunction, secTable, secMemory, secGlobal, secExport, secStart, secElement, secDataCount, secCode, secData}

// Instrument returns the module rewritten as the package comment says. It
// checks what it must understand; the engine validates the rest. Custom
// sections are dropped but for function names, which stack traces need.
// Errors wrap ErrModule or ErrFeature. The result depends on the arguments
// alone.
func Instrument(wasm []byte, o Options) ([]byte, error) {
	if o.StackBytes == 0 {
		o.StackBytes = StackBytes
	}
	if o.TableEntries == 0 {
		o.TableEntries = 1_000_000
	}
	m := &module{options: o}
	if err := m.split(wasm); err != nil {
		return nil, err
	}
	if err := m.rewrite(); err != nil {
		return nil, err
	}
	out := append(make([]byte, 0, len(wasm)*3/2), wasm[:8]...)
	for _, id := range order {
		if body, ok := m.sections[id]; ok {
			out = appendSection(out, id, body)
		}
	}
	if len(m.names) > 0 {
		out = appendSection(out, secCustom, append(appendName(nil, "name"), m.names...))
	}
	return out, nil
}

// Outline returns a module that Instrument has made with the code of each function
// replaced by a trap: for an engine that has the code already, but needs the rest.
// It is decoded and validated in a fraction of the time. Outlines of different
// modules differ: each has the SHA-256 of its module in a custom section.
func Outline(rewritten []byte) ([]byte, error) {
	if len(rewritten) < 8 {
		return nil, fmt.Errorf("%w: no magic number", ErrModule)
	}
	out := append([]byte(nil), rewritten[:8]...)
	r := &reader{b: rewritten, at: 8}
	for r.more() {
		id := r.byte()
		body := r.take(r.u32())
		if id == secCode {
			n := (&reader{b: body}).count()
			body = appendU32(nil, uint32(n))
			for range n {
				body = append(body, 3, 0, 0x00, 0x0b) // no locals; unreachable, end
			}
		}
		out = appendSection(out, id, body)
	}
	sum := sha256.Sum256(rewritten)
	return appendSection(out, secCustom, append(appendName(nil, outlineOf), sum[:]...)), malformed(r.err)
}

// outlineOf is the name of the custom section by which outlines differ.
const outlineOf = "penstock.outline"

// malformed gives a parse failure its sentinel.
func malformed(err error) error {
	if err == nil || errors.Is(err, ErrFeature) || errors.Is(err, ErrModule) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrModule, err)
}

func feature(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrFeature, fmt.Sprintf(format, args...))
}
