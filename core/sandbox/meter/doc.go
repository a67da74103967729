// Package meter rewrites a Wasm module so that it pays for what it executes:
// a pure function from bytes to bytes, with no I/O and no dependency on a
// Wasm engine.
//
// The rewritten module imports two functions from module "penstock",
// refuel: () -> () and overflow: () -> (), and exports two mutable globals,
// "penstock.steps" (i64) and "penstock.stack" (i32).
//
// Each block of straight-line code adds its weight to a local of its function,
// which is subtracted from penstock.steps when the function is left, and before it
// gets large, by loops and before calls; when the counter falls below zero the
// guest calls refuel, which sets the counter anew or traps. Small functions are
// paid for by whoever calls them.
//
// Of the functions on each way on which a function can lead back to itself, one
// at least is guarded: it pays and checks on entry, and subtracts the weight of
// its frame, and of those below it that do not count themselves, from
// penstock.stack and gives it back afterwards; below zero the guest calls
// overflow, which must not return.
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
