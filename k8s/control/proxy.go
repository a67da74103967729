package control

import (
	"context"
	"fmt"
	"maps"

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
}

// tell takes a report over. Server.mu is held.
func (p *proxy) tell(r *remote.Report) { p.ready, p.parts = r.Ready, r.Parts }

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
	all     bool              // it is subscribed to everything
	names   map[string]bool   // else to these
	sent    map[string]string // version by name
	waiting string            // nonce that is not answered yet; empty: none
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
		if name == "*" {
			about.all = true
		} else {
			about.names[name] = true
		}
	}
	for _, name := range m.ResourceNamesUnsubscribe {
		delete(about.names, name)
		delete(about.sent, name)
	}
	if m.ResponseNonce == "" || m.ResponseNonce != about.waiting {
		return
	}
	about.waiting = ""
	t.answered(m, about)
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
	endpoints, cfg := t.topics[remote.TypeEndpoints], t.topics[remote.TypeConfig]
	if endpoints != nil && endpoints.waiting == "" && endpoints.next < v.endpoints {
		gone := cfg == nil || cfg.next >= v.config
		if err := t.send(remote.TypeEndpoints, endpoints, v.set.Endpoints, gone, v.endpoints); err != nil {
			return err
		}
	}
	if cfg != nil && cfg.waiting == "" && cfg.next < v.config {
		if err := t.send(remote.TypeConfig, cfg, v.set.Config, true, v.config); err != nil {
			return err
		}
		if endpoints != nil && endpoints.next == v.endpoints && len(endpoints.sent) > len(v.set.Endpoints) {
			endpoints.next = v.endpoints - 1 // those that are gone follow
		}
	}
	if images := t.topics[remote.TypeImage]; images != nil && images.waiting == "" {
		wanted := map[string]*remote.Resource{}
		for name := range images.names {
			if v.filters[name] == nil {
				continue // it is none of this proxy's
			}
			if r := t.server.o.Images.resource(name); r != nil {
				wanted[name] = r
			}
		}
		return t.send(remote.TypeImage, images, wanted, false, 0)
	}
	return nil
}

// send sends the difference between what a proxy has and what is wanted, in as
// many responses as it takes.
func (t *talk) send(kind string, about *topic, wanted map[string]*remote.Resource, gone bool, version uint64) error {
	m := &discovery.DeltaDiscoveryResponse{TypeUrl: kind}
	size := 0
	flush := func(last bool) error {
		t.nonce++
		m.Nonce = fmt.Sprint(t.nonce)
		if last {
			m.SystemVersionInfo = fmt.Sprint(version)
			about.waiting = m.Nonce
		}
		err := t.stream.Send(m)
		m, size = &discovery.DeltaDiscoveryResponse{TypeUrl: kind}, 0
		return err
	}
	empty := true
	for name, r := range wanted {
		if about.sent[name] == r.Version {
			continue
		}
		if size > 0 && size+len(r.Bytes) > remote.MaxResponse && kind != remote.TypeImage {
			if err := flush(false); err != nil {
				return err
			}
		}
		about.sent[name], empty = r.Version, false
		m.Resources = append(m.Resources, &discovery.Resource{Name: name, Version: r.Version, Resource: &anypb.Any{TypeUrl: kind, Value: r.Bytes}})
		size += len(r.Bytes) + len(name) + 100
	}
	if gone {
		for name := range about.sent {
			if wanted[name] == nil {
				delete(about.sent, name)
				m.RemovedResources = append(m.RemovedResources, name)
				empty = false
			}
		}
	}
	if kind == remote.TypeImage && empty {
		return nil
	}
	about.next = version
	return flush(true)
}
