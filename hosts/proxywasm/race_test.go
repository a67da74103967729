//go:build race

package proxywasm

// raceEnabled: compiling takes ten times as long in this process.
const raceEnabled = true
