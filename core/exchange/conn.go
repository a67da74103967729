package exchange

import (
	"crypto/tls"
	"net/netip"
)

// Direction says which way a connection came.
type Direction uint8

// The directions. Only Inbound is used at the edge.
const (
	Inbound Direction = iota
	Outbound
)

// Conn describes one client connection; immutable once accepted. Properties,
// log and metrics read only it, never the net.Conn.
type Conn struct {
	ID        uint64 // unique in this process, never 0
	Direction Direction
	Local     netip.AddrPort // the address that the client reached
	Remote    netip.AddrPort // the peer (PROXY protocol's source once that is read); of QUIC the one that it began with
	Original  netip.AddrPort // destination before capture; zero at the edge
	Socket    string         // config.Socket.Key of the socket that accepted it
	Trusted   bool           // the peer is a trusted proxy: its identity fields are kept
	// RemoteIP and LocalPort are text, made once for X-Forwarded-For and friends.
	RemoteIP  []byte
	LocalPort []byte
	// AltSvc is where else the client can reach the same listener, as the value of
	// Alt-Svc (RFC 7838, 3); nil: nowhere.
	AltSvc []byte
	// Identity, Namespace and Workload name the peer in a mesh; empty at the edge.
	Identity, Namespace, Workload string
	TLS                           *tls.ConnectionState // nil: plain text, or passed through
	// Certificate is the client's, as certs.Shown describes it; nil: it has shown none, or
	// none that was verified. Verifier is the Gateway whose listener has judged it,
	// "namespace/name".
	Certificate []byte
	Verifier    string
	// ServerName is what a client whose TLS is passed through asks for, in lower
	// case (RFC 6066, 3); empty: nothing.
	ServerName string
}
