//go:build race

package compress

// raceEnabled: memory is not what it is without.
const raceEnabled = true
