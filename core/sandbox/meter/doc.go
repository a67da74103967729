// Package meter rewrites a Wasm module so that it pays for what it executes:
// a pure function from bytes to bytes, with no I/O and no dependency on a
// Wasm engine.
//
// The rewritten module imports two functions from module "penstock",
// refuel: () -> () and overflow: () -> (), and exports two mutable globals,
// "penstock.steps" (i64) and "penstock.stack" (i32).
//
// Each block of straight-line code adds its weight to a local of its function,
// which is subtracted from penstock.steps when the function is entered and left,
// and by loops before it gets large; when the counter falls below zero the guest
// calls refuel, which sets the counter anew or traps. Each call subtracts the weight
// of the frame from penstock.stack and gives it back afterwards; below zero
// the guest calls overflow, which must not return.
package meter

// Names of what a rewritten module imports and exports.
const (
	ImportModule   = "penstock"
	ImportRefuel   = "refuel"
	ImportOverflow = "overflow"
	GlobalSteps    = "penstock.steps"
	GlobalStack    = "penstock.stack"
)

// StepsPerMicrosecond is the fixed rate between time limits and steps.
const StepsPerMicrosecond = 1000
