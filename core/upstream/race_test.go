//go:build race

package upstream

// raceEnabled: pools drop buffers at random then, so allocations are not counted.
const raceEnabled = true
