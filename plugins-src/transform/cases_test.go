package main

import (
	"testing"

	"penstock.dev/penstock/wasm-sdk/go/plugintest"
)

// TestCases runs cases.yaml on the proxy's sandbox.
func TestCases(t *testing.T) { plugintest.Run(t, ".") }
