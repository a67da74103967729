package control

import (
	"context"
	"fmt"
	"maps"
	"slices"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"penstock.dev/penstock/core/remote"
)

// proxy is a connected one. Its exported state is guarded by the Server's mutex.
type proxy struct {
	id, peer string

	// Guarded by Server.mu.
	ready             bool
	config, endpoints uint64 // versions that it acknowledged
	fault             string
	parts             []remote.PartReport
	purges            map[string]remote.PurgeReport // by ID; never written to
}

// tell takes a report over. Server.mu is held.
func (p *proxy) tell(r *remote.Report) {
	p.ready, p.parts = r.Ready, r.Parts
	p.purges = make(map[string]remote.PurgeReport, len(r.Purges))
	for _, one := range r.Purges[:min(len(r.Purges), maxPurges)] {
		one.Removed = max(one.Removed, 0)
		p.purges[one.ID] = one
	}
}

// peerOf names a connection.
func peerOf(ctx context.Context) string {
	if p, ok := peer.FromContext(ctx); ok {
		return p.Addr.String()
	}
	return ""
}

// discoveryService is delta discovery, of which there is the aggregated form alone.
type discoveryService struct {
	discovery.UnimplementedAggregatedDiscoveryServiceServer
	server *Server
}

// DeltaAggregatedResources serves one proxy until its connection ends.
func (d discoveryService) DeltaAggregatedResources(stream discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	s := d.server
	ctx := stream.Context()
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	if first.Node.GetId() == "" || len(first.Node.GetId()) > 253 {
		return status.Error(codes.InvalidArgument, "the first request names no node")
	}
	p := &proxy{id: first.Node.Id, peer: peerOf(ctx)}
	s.mu.Lock()
	if len(s.proxies) >= maxProxies {
		s.mu.Unlock()
		return status.Error(codes.ResourceExhausted, "too many proxies")
	}
	s.proxies[p] = true
	if r := s.reports[p.peer]; r != nil {
		p.tell(r)
	}
	s.connected.Set(float64(len(s.proxies)))
	s.mu.Unlock()
	s.o.Log.Info("a proxy is connected", zap.String("proxy", p.id), zap.String("address", p.peer))
	defer func() {
		s.mu.Lock()
		delete(s.proxies, p)
		s.connected.Set(float64(len(s.proxies)))
		s.mu.Unlock()
		s.settle()
		s.o.Log.Info("a proxy is gone", zap.String("proxy", p.id))
	}()
	t := &talk{server: s, proxy: p, stream: stream, topics: map[string]*topic{}}
	requests := make(chan *discovery.DeltaDiscoveryRequest)
	failed := make(chan error, 1)
	go func() {
		for m := first; ; {
			select {
			case requests <- m:
			case <-ctx.Done():
				return
			}
			if m, err = stream.Recv(); err != nil {
				failed <- err
				return
			}
		}
	}()
	return t.run(ctx, requests, failed)
}

// talk is the exchange of messages with one proxy. One goroutine sends and decides.
type talk struct {
	server *Server
	proxy  *proxy
	stream discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer
	topics map[string]*topic // by type
	nonce  uint64
}

// topic is what a proxy has of one type.
type topic struct {
	names   map[string]bool   // it subscribed to; "*" is not kept
	sent    map[string]string // version by name; nil: it has all that Server's version next has
	gone    []string          // that it has all the same
	waiting string            // nonce that is not answered yet; empty: none
	last    string            // nonce of the last one
	// next is the version that was sent with it, of Server's; 0: none.
	next uint64
}

func (t *talk) run(ctx context.Context, requests <-chan *discovery.DeltaDiscoveryRequest, failed <-chan error) error {
	for {
		t.server.mu.Lock()
		latest, changed := t.server.latest, t.server.changed
		t.server.mu.Unlock()
		if latest != nil {
			if err := t.update(latest); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-failed:
			return err
		case <-changed:
		case m := <-requests:
			t.request(m)
		}
	}
}

// request takes over a subscription or an answer.
func (t *talk) request(m *discovery.DeltaDiscoveryRequest) {
	about := t.topics[m.TypeUrl]
	if about == nil {
		if m.TypeUrl != remote.TypeConfig && m.TypeUrl != remote.TypeEndpoints && m.TypeUrl != remote.TypeImage {
			return // of a later version
		}
		about = &topic{names: map[string]bool{}, sent: map[string]string{}}
		maps.Copy(about.sent, m.InitialResourceVersions)
		t.topics[m.TypeUrl] = about
	}
	for _, name := range m.ResourceNamesSubscribe {
		if name != "*" { // what is shared is sent whole in any case
			about.names[name] = true
		}
	}
	for _, name := range m.ResourceNamesUnsubscribe {
		delete(about.names, name)
		delete(about.sent, name)
	}
	switch m.ResponseNonce {
	case "":
	case about.waiting:
		about.waiting = ""
		t.answered(m, about)
	case about.last: // it was refused, and is applied now
		if m.ErrorDetail == nil && about.waiting == "" {
			t.answered(m, about)
		}
	}
}

// answered takes over an ACK or a NACK.
func (t *talk) answered(m *discovery.DeltaDiscoveryRequest, about *topic) {
	s, p := t.server, t.proxy
	if fault := m.ErrorDetail; fault != nil {
		s.refusals.With(m.TypeUrl).Inc()
		s.o.Log.Error("a proxy refuses what it was sent", zap.String("proxy", p.id), zap.String("type", m.TypeUrl), zap.String("error", fault.Message))
	}
	s.mu.Lock()
	switch {
	case m.ErrorDetail != nil && m.TypeUrl != remote.TypeImage:
		p.fault = m.ErrorDetail.Message
	case m.TypeUrl == remote.TypeConfig:
		p.config, p.fault = about.next, ""
	case m.TypeUrl == remote.TypeEndpoints:
		p.endpoints = about.next
	}
	s.mu.Unlock()
	s.settle()
}

// update sends what the proxy lacks, a type at a time: endpoints before the
// config that needs them, and those that are gone after it. What is not answered
// yet holds back the next of its type, so that a slow proxy skips versions.
func (t *talk) update(v *version) error {
	s := t.server
	endpoints, cfg := t.topics[remote.TypeEndpoints], t.topics[remote.TypeConfig]
	if endpoints != nil && endpoints.waiting == "" && endpoints.next < v.endpoints {
		s.mu.Lock()
		d, err := endpoints.lacks(s.endpoints)
		s.mu.Unlock()
		if err != nil {
			return err
		}
		endpoints.gone = append(endpoints.gone, d.Removed...)
		if len(endpoints.gone) > 0 { // those that are back are not gone
			endpoints.gone = slices.DeleteFunc(endpoints.gone, func(name string) bool {
				return slices.ContainsFunc(d.Changed, func(r *remote.Resource) bool { return r.Name == name })
			})
		}
		d.Removed = nil
		if err := t.send(remote.TypeEndpoints, endpoints, d, v.endpoints); err != nil {
			return err
		}
	}
	if cfg != nil && cfg.waiting == "" && cfg.next < v.config {
		s.mu.Lock()
		d, err := cfg.lacks(s.resources)
		s.mu.Unlock()
		if err != nil {
			return err
		}
		if err := t.send(remote.TypeConfig, cfg, d, v.config); err != nil {
			return err
		}
	}
	if endpoints != nil && endpoints.waiting == "" && len(endpoints.gone) > 0 && (cfg == nil || cfg.next >= v.config) {
		d := &remote.Delta{Removed: endpoints.gone}
		endpoints.gone = nil
		if err := t.send(remote.TypeEndpoints, endpoints, d, endpoints.next); err != nil {
			return err
		}
	}
	if images := t.topics[remote.TypeImage]; images != nil && images.waiting == "" {
		return t.images(images)
	}
	return nil
}

// images sends what is known of the images that a proxy asks for.
func (t *talk) images(about *topic) error {
	t.server.mu.Lock()
	filters := t.server.filters
	t.server.mu.Unlock()
	d := &remote.Delta{}
	for name := range about.names {
		if filters[name] == nil {
			continue // it is none of this proxy's
		}
		if r := t.server.o.Images.resource(name); r != nil && about.sent[name] != r.Version {
			about.sent[name] = r.Version
			d.Changed = append(d.Changed, &remote.Resource{Name: name, Version: r.Version, Bytes: r.Bytes})
		}
	}
	if d.Empty() {
		return nil
	}
	return t.send(remote.TypeImage, about, d, 0)
}

// lacks returns what a proxy has to be sent to have all of h. Server.mu is held.
func (a *topic) lacks(h *history) (*remote.Delta, error) {
	d := &remote.Delta{}
	if a.sent == nil {
		names, ok := h.since(a.next)
		if !ok {
			return nil, status.Error(codes.Aborted, "too far behind: say what you have")
		}
		for _, name := range names {
			if r := h.all[name]; r != nil {
				d.Changed = append(d.Changed, r)
			} else {
				d.Removed = append(d.Removed, name)
			}
		}
		return d, nil
	}
	for name, r := range h.all {
		if a.sent[name] != r.Version {
			d.Changed = append(d.Changed, r)
		}
	}
	for name := range a.sent {
		if h.all[name] == nil {
			d.Removed = append(d.Removed, name)
		}
	}
	a.sent = nil
	return d, nil
}

// send sends a difference, in as many responses as it takes.
func (t *talk) send(kind string, about *topic, d *remote.Delta, version uint64) error {
	m := &discovery.DeltaDiscoveryResponse{TypeUrl: kind, RemovedResources: d.Removed}
	size := 0
	flush := func(last bool) error {
		t.nonce++
		m.Nonce = fmt.Sprint(t.nonce)
		if last {
			m.SystemVersionInfo = fmt.Sprint(version)
			about.waiting, about.last, about.next = m.Nonce, m.Nonce, version
		}
		err := t.stream.Send(m)
		m, size = &discovery.DeltaDiscoveryResponse{TypeUrl: kind}, 0
		return err
	}
	for _, r := range d.Changed {
		if size > 0 && size+len(r.Bytes) > remote.MaxResponse && kind != remote.TypeImage {
			if err := flush(false); err != nil {
				return err
			}
		}
		m.Resources = append(m.Resources, &discovery.Resource{Name: r.Name, Version: r.Version, Resource: &anypb.Any{TypeUrl: kind, Value: r.Bytes}})
		size += len(r.Bytes) + len(r.Name) + 100
	}
	return flush(true)
}
