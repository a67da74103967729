package exchange

import "time"

// Raw is one raw connection, or one flow of datagrams, as it was: what the access
// log writes of it.
type Raw struct {
	Conn     *Conn
	Protocol string // "tcp", "tls" (ended here or passed through), "udp"
	Start    time.Time
	// ReceivedBytes came from the client, SentBytes went to it; payload alone.
	ReceivedBytes, SentBytes int64
	// Route and Service are names from the config, Endpoint the address that was
	// tried last, Attempts how many were; empty and 0 if it did not come to that.
	Route, Service, Endpoint string
	Attempts                 int
	Plugin                   string // the filter that refused or cut it; empty: none did
	// Err says why it was refused or cut; nil: both sides ended it. Status has no
	// meaning here.
	Err *Error
}

// Flow is where the datagrams of one client go.
type Flow interface {
	// Send hands a datagram of the client on, and does not keep it. It does not
	// wait: what cannot be taken now is lost, as in the network. over: the flow has
	// ended, or should, and the datagram is for a new one.
	Send(b []byte) (sent, over bool)
	// Serve hands replies to the client until the flow was idle for long enough, or
	// failed, or was closed. It is called once.
	Serve()
	// Drain lets the flow end soon: once nothing came for two seconds. Any goroutine
	// may call it.
	Drain()
	// Close ends the flow; any goroutine may call it, more than once.
	Close()
}
