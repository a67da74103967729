//go:build race

package httpwasm

// raceEnabled: the detector's own allocations count.
const raceEnabled = true
