package proxy

import (
	"context"
	"net"
	"time"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
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
	c, err := h.choose(about, record)
	defer c.release()
	var run *filter.RawRun
	p := &pump{pool: &h.pool, client: client, counters: c.counters, began: record.Start}
	if err == nil {
		run, err = c.filter(ctx, about, p)
	}
	if run != nil {
		p.filters = run
		defer func() { run.Done(p.client.over, p.upstream != nil && p.upstream.over) }()
	}
	var up link
	if err == nil {
		up, err = h.dial(ctx, c.backend, record)
	}
	if err != nil {
		h.refused(c, run, record, err)
		client.abort()
		return
	}
	defer up.Close()
	p.upstream, p.idle = newEnd(tcpOf(up)), c.backend.Upstream.Parameters().TCPIdleTimeout
	var gone []ending
	for _, link := range c.pins {
		gone = append(gone, ending{link.Gone(), errReplaced})
	}
	h.serve(ctx, p, head, c.backend, record, gone)
}

// filter shows the filters the connection; nil: there are none.
func (c *choice) filter(ctx context.Context, about *exchange.Conn, p *pump) (*filter.RawRun, *exchange.Error) {
	if len(c.chains) == 0 {
		return nil, nil
	}
	if err := c.pin(); err != nil {
		return nil, err
	}
	run := filter.NewRawRun(c.filters, c.backend.Config.Service, c.gateway.Parameters.ResponseTimeout, p.interrupt)
	return run, run.NewConnection(ctx, about)
}

// refused tells of a connection that reaches no endpoint.
func (h *Raw) refused(c *choice, run *filter.RawRun, record *exchange.Raw, err *exchange.Error) {
	record.Err = err
	if run != nil {
		record.Plugin = run.By()
	}
	c.counters.Refused()
	h.done(record)
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
func (h *Raw) serve(ctx context.Context, p *pump, head []byte, b *snapshot.RawBackend, record *exchange.Raw, gone []ending) {
	b.Counters.Open()
	stop := p.cutWhen(append(gone, ending{ctx, errDrained})...)
	p.run(appendProxyHeader(nil, b.Config.ProxyProtocol, record.Conn), head)
	stop()
	record.ReceivedBytes, record.SentBytes, record.Err = p.received, p.sent, p.fault
	result := snapshot.RawClosed
	if p.fault != nil {
		result = snapshot.RawCut
	}
	if p.filters != nil {
		record.Plugin = p.filters.By()
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
