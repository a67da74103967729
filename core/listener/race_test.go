//go:build race

package listener

// raceEnabled: pools drop buffers at random then, so memory is not counted.
const raceEnabled = true
