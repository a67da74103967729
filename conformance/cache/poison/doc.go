// Package poison attacks the response cache of the binary: what one client, or an origin
// that lies, brings about is never what another client gets.
package poison
