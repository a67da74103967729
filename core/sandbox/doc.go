// Package sandbox runs untrusted Wasm within limits: CPU in deterministic
// steps, memory, stack, and the time and memory of compiling. A guest that
// breaks a limit ends its call and its instance, and nothing else.
//
// A Module is a compiled plugin; a Pool is the instances of one filter runtime;
// an Instance runs one call at a time, under its lock.
package sandbox
