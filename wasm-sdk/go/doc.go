// Package sdk is the guest side of Proxy-Wasm 0.2.1 for plugins written in Go
// and built by the standard toolchain:
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -o plugin.wasm
//
// A plugin calls Register from an init function, for main is never run. One
// instance serves many streams, and many configurations if its image says so;
// it runs one callback at a time, so that no locks are needed.
//
// Host functions fail with a Status: errors.Is finds each in ErrHost.
//
// Slices that host functions return are valid until the next call of a
// function of this package; strings are copies and stay. Go does not copy bytes for
// string(b) within a concatenation or a comparison: there, too, each call ends what the
// one before returned. Slices that host functions are given are not kept.
package sdk
