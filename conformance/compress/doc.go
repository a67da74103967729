// Package compress runs the plugins compress and decompress on the binary: that bodies are
// what they were, come when they come, and are stored as what they are.
package compress
