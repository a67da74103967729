//go:build race

package h3

// raceEnabled: pools drop buffers at random then, so memory is not counted.
const raceEnabled = true
