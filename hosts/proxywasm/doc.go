// Package proxywasm is the Go side of Proxy-Wasm 0.1.0, 0.2.0 and 0.2.1, and of
// the 0.2.100 marker: it serves a guest's imports and makes its callbacks.
//
// A filter's instances are shared by many exchanges. Each exchange has a stream
// context on one instance, whose lock is held during guest calls only.
// Everything that a guest passes in is hostile: truncated to 32 bits, checked,
// copied.
package proxywasm
