// Package remote is the source of the proxy role: it gets the config and the
// bytes of plugins from a control process, and tells what the proxy serves. It
// also has both ends' form of a config on the wire.
package remote
