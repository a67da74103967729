//go:build !race

package httpwasm

const raceEnabled = false
