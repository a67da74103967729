package proxy

import (
	"context"
	"net"
	"time"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/snapshot"
)

// ServeConn is the life of a raw connection: it finds the backend, dials, and hands
// bytes on both ways until both sides have ended. What it does not serve it resets.
// head is what a client whose TLS is passed through said first. Implements
// listener.ConnHandler.
func (h *Raw) ServeConn(ctx context.Context, nc net.Conn, head []byte, about *exchange.Conn) {
	record := &exchange.Raw{Conn: about, Protocol: "tcp", Start: time.Now()}
	if head != nil || about.TLS != nil {
		record.Protocol = "tls"
	}
	client := newEnd(nc)
	defer client.nc.Close()
	backend, counters, err := h.choose(about, record)
	var up link
	if err == nil {
		up, err = h.dial(ctx, backend, record)
	}
	if err != nil {
		record.Err = err
		counters.Refused()
		h.done(record)
		refuse(client, head, err)
		return
	}
	defer up.Close()
	h.serve(client, up, head, backend, record)
}

// dial opens the connection to an endpoint of the backend.
func (h *Raw) dial(ctx context.Context, b *snapshot.RawBackend, record *exchange.Raw) (link, *exchange.Error) {
	up, err := b.Upstream.Dial(ctx)
	record.Endpoint, record.Attempts = up.Endpoint, up.Tries
	if err != nil {
		return nil, err
	}
	return up, nil
}

// serve hands bytes on both ways, and tells of it.
func (h *Raw) serve(client *end, up link, head []byte, b *snapshot.RawBackend, record *exchange.Raw) {
	p := &pump{
		pool: &h.pool, client: client, upstream: newEnd(tcpOf(up)), counters: b.Counters,
		idle: b.Upstream.Parameters().TCPIdleTimeout, began: record.Start,
	}
	b.Counters.Open()
	first := appendProxyHeader(nil, b.Config.ProxyProtocol, record.Conn)
	size := len(first)
	if first = append(first, head...); len(first) > 0 {
		p.begin(first, int64(len(first)-size))
	}
	p.run()
	record.ReceivedBytes, record.SentBytes, record.Err = p.received, p.sent, p.fault
	result := snapshot.RawClosed
	if p.fault != nil {
		result = snapshot.RawCut
	}
	b.Counters.Ended(result, time.Since(record.Start))
	h.done(record)
}

// tcpOf returns the socket of a link, so that the kernel can move bytes.
func tcpOf(l link) net.Conn {
	if u, ok := l.(interface{ Unwrap() net.Conn }); ok {
		return u.Unwrap()
	}
	return l
}

// unrecognizedName is the alert for a server name that nobody has (RFC 6066, 3), as
// a record of its own.
var unrecognizedName = []byte{21, 3, 1, 0, 2, 2, 112}

// refuse ends a connection that nobody serves.
func refuse(client *end, head []byte, err *exchange.Error) {
	if head != nil && (err.Reason == "no-route" || err.Reason == "no-listener") {
		_ = client.nc.SetWriteDeadline(time.Now().Add(time.Second)) // fails on a closed connection, as the write then does
		_, _ = client.nc.Write(unrecognizedName)                    // it is closed either way
		return
	}
	client.abort()
}
