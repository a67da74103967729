package proxywasm

import (
	"bytes"
	"net/netip"
	"strings"

	"penstock.dev/penstock/core/exchange"
)

// Bounds on what the filters of one exchange tell each other.
const (
	maxStateKeys  = 64
	maxStateBytes = 64 << 10
	maxPath       = 1 << 10
	// maxPaths paths of up to keptPath bytes are kept split.
	maxPaths = 64
	keptPath = 128
)

func getProperty(v *vm, p []uint64) uint32 {
	raw, ok := v.read(p[0], p[1])
	if !ok {
		return statusInvalidMemory
	}
	if len(raw) > maxPath {
		return statusBadArgument
	}
	path := v.path(raw)
	v.scratch = v.scratch[:0]
	v.i.Spend(v.lookSteps(path))
	value, found := v.r.f.property(v, path)
	if !found {
		return statusNotFound
	}
	return v.give(value, p[2], p[3])
}

// path returns the segments of a property's path. Plugins ask for the same few again and
// again.
func (v *vm) path(raw []byte) []string {
	if path, ok := v.paths[string(raw)]; ok {
		return path
	}
	text := string(raw)
	path := strings.Split(strings.TrimSuffix(text, "\x00"), "\x00")
	if len(v.paths) < maxPaths && len(text) <= keptPath {
		v.paths[text] = path
	}
	return path
}

// lookSteps is what property costs a guest at most: it may look for a field's name,
// the last one of path, in the heads that the guest can reach.
func (v *vm) lookSteps(path []string) int64 {
	s := v.reach(wayNone)
	if s == nil || s.x == nil {
		return 0
	}
	fields := s.x.Request.Header.Len()
	if s.told() {
		fields += s.x.Response.Header.Len() + s.x.Response.Trailer.Len()
	}
	return searchSteps(fields, len(path[len(path)-1]))
}

// property looks a path up (Envoy's attributes); numbers are written into the
// vm's scratch.
func (f *Filter) property(v *vm, path []string) ([]byte, bool) {
	if path[0] == "xds" && len(path) > 1 {
		path = path[1:]
	}
	if value, ok := f.ownProperty(v, path); ok {
		return value, true
	}
	s := v.reach(wayNone)
	if s == nil {
		return nil, false
	}
	rest := path[1:]
	switch path[0] {
	case "connection_id":
		return appendU64(v.scratch, s.conn.ID), true
	case "source":
		return address(v, s.conn.Remote, rest)
	case "destination":
		return address(v, s.conn.Local, rest)
	case "connection":
		return connection(v, s.conn, rest)
	case "penstock":
		if len(rest) == 1 && rest[0] == "client_certificate" {
			return s.conn.Certificate, s.conn.Certificate != nil
		}
	}
	if s.x == nil {
		return nil, false
	}
	return f.ofExchange(v, s, path)
}

// ownProperty returns the properties of the plugin and of the proxy, there in every context.
func (f *Filter) ownProperty(v *vm, path []string) ([]byte, bool) {
	switch path[0] {
	case "plugin_name":
		return []byte(f.config.ID()), true
	case "plugin_root_id":
		return []byte(f.config.RootID), true
	case "plugin_vm_id":
		return []byte(f.config.VMID), true
	case "plugin_vm_memory":
		return appendU64(v.scratch, uint64(v.i.Memory().Size())), true
	case "listener_direction":
		return appendU64(v.scratch, 1), true // inbound
	case "listener_metadata", "route_metadata", "cluster_metadata", "upstream_host_metadata":
		return nil, true // empty messages
	case "node":
		return f.node(path[1:])
	}
	return nil, false
}

// node describes this proxy, as Envoy's node does.
func (f *Filter) node(path []string) ([]byte, bool) {
	if len(path) == 0 {
		return nil, false
	}
	switch strings.Join(path, ".") {
	case "id":
		return []byte(f.abi.o.NodeID), true
	case "cluster":
		return []byte("penstock"), true
	case "metadata.NAMESPACE":
		return []byte(f.config.Owner.Namespace), true
	case "metadata.NAME":
		return []byte(f.abi.o.NodeID), true
	case "metadata.PLATFORM_METADATA", "metadata.LABELS", "metadata.APP_CONTAINERS", "metadata.INSTANCE_IPS":
		return nil, true
	}
	return nil, false
}

func (f *Filter) ofExchange(v *vm, s *stream, path []string) ([]byte, bool) {
	x, rest := s.x, path[1:]
	switch path[0] {
	case "route_name":
		return []byte(x.Route), true
	case "cluster_name":
		return clusterName(x.Upstream), true
	case "x_request_id":
		if value, ok := kept(x, "x_request_id"); ok {
			return value, true
		}
		return x.Request.Header.Get("x-request-id")
	case "request":
		return requestProperty(v, s, rest)
	case "response":
		return responseProperty(v, s, rest)
	case "upstream":
		return upstreamProperty(v, s, rest)
	case "filter_state":
		if len(rest) == 0 {
			return nil, false
		}
		path = append([]string{strings.TrimPrefix(rest[0], "wasm.")}, rest[1:]...)
	case "penstock":
		switch {
		case len(rest) != 1:
		case rest[0] == "claims":
			return x.Claims, x.Claims != nil
		case rest[0] == "client_address":
			return appendAddress(v.scratch, x.ClientAddress), true
		}
		return nil, false
	case "metadata":
		return nil, false // no filter of ours writes any
	}
	return kept(x, strings.Join(path, "\x00"))
}

// kept returns what a filter has kept in the exchange.
func kept(x *exchange.Exchange, key string) ([]byte, bool) {
	x.StateMu.Lock()
	defer x.StateMu.Unlock()
	value, ok := x.State[key]
	return value, ok
}

// clusterName writes an upstream, "namespace/service:port", as Envoy's clusters
// are called in a mesh.
func clusterName(upstream string) []byte {
	namespace, rest, ok := strings.Cut(upstream, "/")
	service, port, ok2 := strings.Cut(rest, ":")
	if !ok || !ok2 {
		return []byte(upstream)
	}
	return []byte("outbound|" + port + "||" + service + "." + namespace + ".svc.cluster.local")
}

// appendAddress appends an address in network order: 4 or 16 bytes, none of the zero Addr.
func appendAddress(b []byte, a netip.Addr) []byte {
	switch {
	case a.Is4():
		four := a.As4()
		return append(b, four[:]...)
	case a.Is6():
		all := a.As16()
		return append(b, all[:]...)
	}
	return b
}

func address(v *vm, a netip.AddrPort, path []string) ([]byte, bool) {
	if len(path) == 0 || !a.IsValid() {
		return nil, false
	}
	switch path[0] {
	case "address":
		return a.AppendTo(v.scratch), true
	case "port":
		return appendU64(v.scratch, uint64(a.Port())), true
	}
	return nil, false
}

func upstreamProperty(v *vm, s *stream, path []string) ([]byte, bool) {
	if len(path) == 0 {
		return nil, false
	}
	x := s.x
	if path[0] == "request_attempt_count" {
		return appendU64(v.scratch, uint64(x.Attempts)), true
	}
	ap, err := netip.ParseAddrPort(x.Endpoint)
	if err != nil {
		return nil, false
	}
	switch path[0] {
	case "transport_failure_reason":
		if s.told() && x.Err != nil && x.Err.Side == exchange.SideUpstream {
			return []byte(x.Err.Reason), true
		}
		return nil, true
	}
	return address(v, ap, path)
}

// setProperty keeps a value for the exchange's other filters.
func setProperty(v *vm, p []uint64) uint32 {
	path, ok := v.read(p[0], p[1])
	value, ok2 := v.read(p[2], p[3])
	if !ok || !ok2 {
		return statusInvalidMemory
	}
	s := v.reach(wayNone)
	if s == nil || s.x == nil || s.done {
		return statusNotFound
	}
	first, _, _ := bytes.Cut(path, []byte{0})
	if len(path) == 0 || len(path) > maxPath || string(first) == "penstock" { // what the proxy vouches for
		return statusBadArgument
	}
	return s.keep(string(bytes.TrimSuffix(path, []byte{0})), value)
}

// keep stores a copy of a value in the exchange.
func (s *stream) keep(key string, value []byte) uint32 {
	x := s.x
	x.StateMu.Lock()
	defer x.StateMu.Unlock()
	size := len(key) + len(value)
	for key, old := range x.State {
		size += len(key) + len(old)
	}
	if _, known := x.State[key]; size > maxStateBytes || !known && len(x.State) >= maxStateKeys {
		return statusInternal
	}
	if x.State == nil {
		x.State = map[string][]byte{}
	}
	x.State[key] = bytes.Clone(value)
	return statusOK
}
