// Package compress encodes and decodes bodies as they pass a filter.
package compress
