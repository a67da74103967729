package config

import "net/netip"

// Forbidden are addresses that nothing is to connect to, whoever asks for it: those of
// a cluster's API server and of our own Pods (annotations.md, section 7.5). With it,
// loopback and link-local addresses are forbidden to endpoints too, as nobody but the
// operator may choose those. A folder of files, which the operator wrote, has none.
type Forbidden struct {
	Addresses []netip.Addr // each once, in order, unmapped
}
