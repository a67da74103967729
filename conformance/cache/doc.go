// Package cache runs the public suite of tests for HTTP caches before the binary, with
// the response cache and without it.
package cache
