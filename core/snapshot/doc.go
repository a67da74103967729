// Package snapshot turns a config into its compiled, running form: chains
// linked to filter runtimes, rules in routers, upstreams. What is equal to the
// snapshot before is taken over, so that a change costs what it touches.
package snapshot
