// Package chain sends random requests through several bundled plugins at once, and compares
// each answer with what a model of them says.
package chain
