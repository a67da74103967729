package sdks

import "testing"

// goSDK is for the standard Go toolchain. A field's value that is read is a string.
var goSDK = SDK{Name: "go", fence: "go", Allocations: "0 1", build: func(t testing.TB, guest, out string) {
	run(t, guest, []string{"GOOS=wasip1", "GOARCH=wasm"}, "go", "build", "-buildmode=c-shared", "-trimpath", "-ldflags=-s -w", "-o", out, ".")
}}
