// Package layers holds no code: its test checks every import of this module
// against layers.txt.
package layers
