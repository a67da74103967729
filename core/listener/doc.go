// Package listener owns the sockets on which clients are accepted, and the
// connections until they end.
package listener
