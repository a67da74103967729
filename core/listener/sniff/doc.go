// Package sniff names what a connection wants by its first bytes.
package sniff
