//go:build !race

package proxywasm

const raceEnabled = false
