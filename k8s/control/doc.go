// Package control is the control role's side towards proxies: it serves config
// and plugin bytes to them, gathers what each one runs, and keeps the
// certificates with which they know each other.
package control
