package config

import (
	"net/netip"
	"time"
)

// ProxyParameters is how a proxy treats connections and messages. The zero
// value is not ready for use: start from DefaultProxyParameters.
type ProxyParameters struct {
	// TrustedProxies are peers whose identity fields (X-Forwarded-For and
	// others, annotations.md 7.2) are kept; default none.
	TrustedProxies []netip.Prefix

	// ProxyProtocol are peers whose connections begin with a PROXY protocol header,
	// version 1 or 2, which says who the client is; default none.
	ProxyProtocol []netip.Prefix

	RequestLineBytes int // request line, 414 beyond; default 8 KiB
	HeaderBytes      int // all fields of a head, 431 beyond; default 64 KiB
	HeaderFields     int // number of fields, 431 beyond; default 100

	HeaderTimeout   time.Duration // from a head's first byte to its end, 408 beyond, and a TLS handshake; default 10 s
	IdleTimeout     time.Duration // between requests, and between two reads or writes of a body; default 60 s
	TunnelTimeout   time.Duration // of an upgraded connection without a byte either way; default 1 h
	TCPIdleTimeout  time.Duration // of a raw connection without a byte either way; default 1 h
	UDPIdleTimeout  time.Duration // of a flow without a datagram either way; default 30 s
	ConnectTimeout  time.Duration // to an endpoint, 504 beyond; default 5 s
	ResponseTimeout time.Duration // from the request sent to the response's head, 504 beyond; default 60 s

	// HTTP3: sockets that end TLS serve HTTP/3 as well, on the UDP port of the same
	// number, and say so over TCP (Alt-Svc); default true.
	HTTP3 bool

	// MinBytesPerSecond: a client that is slower is cut, where the proxy waits for a
	// request's body that nothing was answered to, and where the client does not take
	// a response; gRPC and server-sent events may be slow. 0: no bound; default 100.
	MinBytesPerSecond int

	// MaxPerClient is how many connections one client may have, an IPv6 client
	// being a network of 64 bits; trusted proxies may have any number. 0, the
	// default: no bound.
	MaxPerClient int
	// MaxFlows is how many flows of datagrams a listener has, default 10,000, and
	// MaxFlowsPerClient how many of them one client, as for MaxPerClient; default 1,000.
	MaxFlows, MaxFlowsPerClient int
	// MaxConnections to one endpoint, idle ones and busy ones; default 1024.
	// MaxIdle kept for reuse; default 128. MaxPending exchanges that wait for
	// a connection, 503 beyond; default 1024.
	MaxConnections, MaxIdle, MaxPending int

	// Via is this proxy's name in Via; default "penstock". Empty: no Via.
	Via string
	// Forwarded adds X-Forwarded-For, -Proto, -Host, -Port and Forwarded; default true.
	Forwarded bool

	// ForwardXFCC tells the upstream of a client's certificate that was checked in
	// X-Forwarded-Client-Cert, ForwardClientCert of any in Client-Cert and
	// Client-Cert-Chain (RFC 9440); default false.
	ForwardXFCC, ForwardClientCert bool
	// Tickets as TLS.Tickets, for all listeners; default none.
	Tickets [][]byte `json:"-"`
	// SessionKeys authenticate the tokens of session persistence: the first one makes
	// them. None: there is no session persistence.
	SessionKeys [][]byte `json:"-"`
	// ClientsOptional lets clients without a certificate through where a Gateway
	// asks for one; default false. ClientNames: a certificate must have one of these
	// names; default any.
	ClientsOptional bool
	ClientNames     []SubjectAltName
	// ProxyProtocolTo is the version of the PROXY protocol header, 1 or 2, that raw
	// connections to a Service begin with, by "namespace/name"; default none.
	ProxyProtocolTo map[string]uint8

	// Redis is the one that plugins with capability redis use; nil: none.
	Redis *Redis
}

// Redis is a server that the proxy keeps plugins' state in. Two are the same
// if all their fields are equal.
type Redis struct {
	Name     string // "namespace/name" of the ProxyParameters, for logs
	Address  string // "hostname:port"
	Database int    // 0..65535
	Username string // empty: the default user
	Password string `json:"-"` // empty: none; never shown
	// TLS: the connection is encrypted and the certificate must be for
	// ServerName, vouched for by CA in PEM (empty: the system's authorities).
	TLS            bool
	ServerName, CA string
	Timeout        time.Duration // of one command, 1ms..60s; default 1 s
	Connections    int           // 1..64; default 4
}

// DefaultProxyParameters returns the defaults that every field documents.
func DefaultProxyParameters() *ProxyParameters {
	return &ProxyParameters{
		RequestLineBytes:  8 << 10,
		HeaderBytes:       64 << 10,
		HeaderFields:      100,
		HeaderTimeout:     10 * time.Second,
		IdleTimeout:       60 * time.Second,
		TunnelTimeout:     time.Hour,
		TCPIdleTimeout:    time.Hour,
		UDPIdleTimeout:    30 * time.Second,
		ConnectTimeout:    5 * time.Second,
		ResponseTimeout:   60 * time.Second,
		MinBytesPerSecond: 100,
		MaxFlows:          10_000,
		MaxConnections:    1024,
		MaxIdle:           128,
		MaxFlowsPerClient: 1000,
		MaxPending:        1024,
		Via:               "penstock",
		Forwarded:         true,
		HTTP3:             true,
	}
}

// Socket is one address that the proxy listens on.
type Socket struct {
	Address netip.AddrPort
	// Port is the one that clients connect to, where something in front of the socket
	// changes it (a Service); 0: that of Address.
	Port       uint16
	Parameters *ProxyParameters
	// Names is what ends TLS, or passes it through, in the order of the listeners:
	// of two with one hostname the first counts. nil: plain text.
	Names []ServerName
	Raw   bool // plain connections are raw, not HTTP
	UDP   bool // it takes datagrams
}

// Seen returns a local address as clients see it.
func (s Socket) Seen(local netip.AddrPort) netip.AddrPort {
	if s.Port == 0 {
		return local
	}
	return netip.AddrPortFrom(local.Addr(), s.Port)
}

// Key names the socket in exchange.Conn.Socket: its wanted address as text, with
// "/udp" for one of datagrams.
func (s Socket) Key() string {
	if s.UDP {
		return s.Address.String() + "/udp"
	}
	return s.Address.String()
}
