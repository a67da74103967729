//go:build wasip1

package sdk

//go:wasmexport proxy_on_new_connection
func newConnection(id uint32) uint32 {
	effective = id
	if c, ok := contexts.streams[id].(Connection); ok {
		return uint32(c.NewConnection())
	}
	return 0
}

//go:wasmexport proxy_on_downstream_data
func downstreamData(id, size, end uint32) uint32 {
	effective = id
	if c, ok := contexts.streams[id].(Connection); ok {
		return uint32(c.DownstreamData(int(size), end != 0))
	}
	return 0
}

//go:wasmexport proxy_on_upstream_data
func upstreamData(id, size, end uint32) uint32 {
	effective = id
	if c, ok := contexts.streams[id].(Connection); ok {
		return uint32(c.UpstreamData(int(size), end != 0))
	}
	return 0
}

//go:wasmexport proxy_on_downstream_connection_close
func downstreamConnectionClose(id, by uint32) {
	effective = id
	if c, ok := contexts.streams[id].(Connection); ok {
		c.DownstreamClose(Peer(by))
	}
}

//go:wasmexport proxy_on_upstream_connection_close
func upstreamConnectionClose(id, by uint32) {
	effective = id
	if c, ok := contexts.streams[id].(Connection); ok {
		c.UpstreamClose(Peer(by))
	}
}
