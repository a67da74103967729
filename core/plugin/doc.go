// Package plugin turns a configured filter into a running one: it finds the
// image, compiles the module, picks the ABI by the module's exports, and keeps
// one filter runtime for all chains that use the same filter.
package plugin
