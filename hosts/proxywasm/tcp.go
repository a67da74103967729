package proxywasm

import (
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/sandbox"
)

// Peers of a closed connection (proxy_peer_type_t).
const (
	peerLocal  = 1
	peerRemote = 2
)

// The callbacks of raw connections.
var (
	onNewConnection   = callback{of: func(v *vm) *sandbox.Func { return v.fn.newConnection }, way: wayRequest, stage: stageHeaders, end: true}
	onDownstreamData  = callback{of: func(v *vm) *sandbox.Func { return v.fn.downstreamData }, way: wayRequest, stage: stageBody}
	onUpstreamData    = callback{of: func(v *vm) *sandbox.Func { return v.fn.upstreamData }, way: wayResponse, stage: stageBody}
	onDownstreamClose = callback{of: func(v *vm) *sandbox.Func { return v.fn.downstreamClose }, way: wayRequest, stage: stageTrailers, end: true}
	onUpstreamClose   = callback{of: func(v *vm) *sandbox.Func { return v.fn.upstreamClose }, way: wayResponse, stage: stageTrailers, end: true}
)

// connStream is a stream context of a raw connection.
type connStream struct{ *stream }

var _ filter.ConnStream = connStream{}

// BeginConn implements filter.ConnFilter.
func (f *Filter) BeginConn(c *exchange.Conn, w *filter.Waker) (filter.ConnStream, error) {
	return connStream{f.stream(nil, c, w)}, nil
}

// NewConnection implements filter.ConnStream.
func (s connStream) NewConnection() (filter.Verdict, error) {
	return s.raw(s.call(onNewConnection, 0, 0))
}

// Data implements filter.ConnStream.
func (s connStream) Data(downstream bool, b *filter.Buffer, end bool) (filter.Verdict, error) {
	cb := onUpstreamData
	if downstream {
		cb = onDownstreamData
	}
	s.ways[cb.way].buffer = b
	return s.raw(s.call(cb.ends(end), uint64(len(b.Data)), flag(end)))
}

// Closed implements filter.ConnStream.
func (s connStream) Closed(downstream, remote bool) error {
	cb, peer := onUpstreamClose, uint64(peerLocal)
	if downstream {
		cb = onDownstreamClose
	}
	if remote {
		peer = peerRemote
	}
	_, err := s.raw(s.call(cb, peer, 0))
	return err
}

// raw: a raw connection's headers cannot be held while data comes.
func (s connStream) raw(v filter.Verdict, err error) (filter.Verdict, error) {
	if v == filter.Hold {
		v = filter.Pause
	}
	return v, err
}
