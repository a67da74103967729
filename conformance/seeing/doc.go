// Package seeing asks what an operator sees of plugins: numbers in /chains and
// /metrics, log lines that name their exchange, and never a secret.
package seeing
