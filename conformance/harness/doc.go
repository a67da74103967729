// Package harness starts the built binary with a folder of YAML files, and the
// upstreams it needs. Everything is on loopback and ends with the test.
package harness
