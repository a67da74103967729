//go:build race

package h1

// raceEnabled: pools drop buffers at random then, so allocations are not counted.
const raceEnabled = true
