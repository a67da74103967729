//go:build race

package store

// raceEnabled: everything takes ten times as long then, and pools drop at random.
const raceEnabled = true
