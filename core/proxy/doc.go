// Package proxy is the life of an exchange: from a decoded request to the log
// line. http.go is the phases of ARCHITECTURE.md, one call per line.
package proxy
