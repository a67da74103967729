// Package config is the wanted state of a proxy as plain data: the compiled
// form of Kubernetes objects. It does no I/O and starts no goroutine.
//
// Values are immutable once a Config was handed on. Those that stand behind a
// pointer (Gateway, Route, Part, Upstream, EndpointSet) are compared by
// pointer: a source that translates an unchanged object again must hand on the
// same pointer, so that a change costs what it touches.
package config
