package exchange

import "io"

// Tunnel is the upstream's side of a connection that no longer carries HTTP: what
// follows a 101 (RFC 9110, 15.2.2), or a 2xx to a CONNECT (9.3.6). One goroutine
// reads and one writes at a time.
type Tunnel interface {
	io.ReadWriter
	// CloseWrite says that no more is to come, and leaves the other direction open.
	CloseWrite() error
	// Close ends both directions; whoever reads or writes gets an error. Before
	// CloseWrite it is a reset: what was cut must not look like an end. Any
	// goroutine may call it, more than once.
	Close()
}

// Abandon gives up the response's content or tunnel, whatever it has.
func (p *Response) Abandon() {
	if p.Body != nil {
		p.Body.Close()
	}
	if p.Tunnel != nil {
		p.Tunnel.Close()
		p.Tunnel, p.Upgrade = nil, nil
	}
}
