package remote

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"go.uber.org/zap"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/telemetry"
)

// Back-off between connections, and how often a silent one is asked for life.
const (
	firstRetry = 200 * time.Millisecond
	lastRetry  = 10 * time.Second
	retryApply = time.Second
	keepAlive  = 10 * time.Second
	// reportEvery is how often what runs is told at most.
	reportEvery = 500 * time.Millisecond
	// reportSoon is how often at most it is told what somebody waits for.
	reportSoon = 20 * time.Millisecond
	// renewEvery is how often the state on disk is written while nothing changes: its
	// age is that of the last word with control.
	renewEvery = 10 * time.Minute
)

// Options of a Source.
type Options struct {
	Address string // of control: "hostname:port"
	// TLS returns the certificate to show and the authorities to trust, as they are
	// now: it is called for each connection.
	TLS  func() (*tls.Config, error)
	Name string // of this proxy, for control: its Pod's
	Log  *zap.Logger
	// Modules is the folder of plugin modules, made if it is missing; Quota bounds it
	// in bytes, but for what is configured.
	Modules string
	Quota   int64
	// State keeps what was applied last; nil: nothing is kept. Contact remembers when
	// control was there; nil: nobody asks.
	State   *State
	Contact *Contact
	Metrics *telemetry.Metrics
	// Report says what runs; Changed receives a value when that may be something else,
	// Soon when somebody waits to be told: that a purge is done. nil: never.
	Report        func() *Report
	Changed, Soon <-chan struct{}
}

// Apply is how a Source hands on what it got.
type Apply struct {
	// Back is called before the first config that a connection brings is handed on: control
	// was away for so long, or for Forever, as far as Options.Contact knows. nil: nobody is
	// told.
	Back func(away time.Duration)
	// Config replaces all that is served.
	Config func(*config.Config) error
	// Endpoints replaces those of these upstreams; nil: it has none any more.
	Endpoints func(map[string]*config.EndpointSet)
}

// Source gets the config from control.
type Source struct {
	o         Options
	connected telemetry.Gauge
	versions  telemetry.Counters

	images *Images
	met    chan struct{} // closed by meet
	meet   sync.Once

	mu      sync.Mutex // of the decoder, between who changes it and who writes it to disk
	decoder *Decoder
	applied bool // a config, since the start, from control or from disk
}

// New returns a Source that has connected to nobody. Its Images are where the
// plugins of its config come from.
func New(o Options) *Source {
	s := &Source{
		o: o, decoder: NewDecoder(), met: make(chan struct{}),
		connected: o.Metrics.Gauges("penstock_control_connected", "1 while control is connected.").With(),
		versions:  o.Metrics.Counters("penstock_control_updates_total", "Updates from control, by type and what became of them.", "type", "result"),
	}
	s.images = newImages(o.Modules, o.Quota)
	return s
}

// Images returns where the plugins come from.
func (s *Source) Images() *Images { return s.images }

// Met returns a channel that is closed once the first config of control's was handed on, or
// control was not to be had at the first try.
func (s *Source) Met() <-chan struct{} { return s.met }

// Run hands on what control sends until ctx is done; that is the error. If there
// is a state on disk it is handed on first, unless control was there earlier.
// While control is away, what it sent last serves.
func (s *Source) Run(ctx context.Context, apply Apply) error {
	s.restore(apply)
	for wait := firstRetry; ; {
		began := time.Now()
		err := s.session(ctx, apply)
		s.connected.Set(0)
		s.meet.Do(func() { close(s.met) })
		if s.o.Contact != nil {
			s.o.Contact.end()
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Since(began) > lastRetry {
			wait = firstRetry
		}
		s.o.Log.Warn("control is not connected: what it sent last serves on", zap.String("address", s.o.Address), zap.Duration("again", wait), zap.Error(err))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		wait = min(2*wait, lastRetry)
	}
}

// restore applies what is on disk.
func (s *Source) restore(apply Apply) {
	if s.o.State == nil {
		return
	}
	set, err := s.o.State.load()
	if set == nil {
		if err != nil {
			s.o.Log.Warn("the state on disk is not used", zap.Error(err))
		}
		return
	}
	for _, r := range set.Images { // before filters look for them
		_ = s.images.learn([]*Resource{r}, nil) // what cannot be read is asked for again
	}
	d := NewDecoder()
	_, err = d.Endpoints(&Delta{Changed: slices.Collect(maps.Values(set.Endpoints))})
	var c *config.Config
	if err == nil {
		c, err = d.Config(&Delta{Changed: slices.Collect(maps.Values(set.Config))})
	}
	if err == nil {
		err = apply.Config(c)
	}
	if err != nil {
		s.o.Log.Warn("the state on disk is not used", zap.Error(err))
		return
	}
	s.decoder, s.applied = d, true
	s.o.Log.Info("the last good state on disk serves until control is there", zap.Int("gateways", len(c.Gateways)))
}

// session is one connection to control.
func (s *Source) session(ctx context.Context, apply Apply) error {
	cfg, err := s.o.TLS()
	if err != nil {
		return err
	}
	conn, err := grpc.NewClient(s.o.Address,
		grpc.WithTransportCredentials(credentials.NewTLS(cfg)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepAlive, Timeout: keepAlive}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessage)),
	)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // it is over either way
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		return err
	}
	t := &talk{source: s, stream: stream, apply: apply, wake: make(chan struct{}, 1)}
	t.forget()
	have, endpoints := s.decoder.Set()
	node := &core.Node{Id: s.o.Name, UserAgentName: "penstock"}
	for _, about := range []struct {
		kind string
		have map[string]*Resource
	}{{TypeEndpoints, endpoints}, {TypeConfig, have}} {
		versions := make(map[string]string, len(about.have))
		for name, r := range about.have {
			versions[name] = r.Version
		}
		t.send(&discovery.DeltaDiscoveryRequest{Node: node, TypeUrl: about.kind, ResourceNamesSubscribe: []string{"*"}, InitialResourceVersions: versions})
		node = nil
	}
	s.images.connect(conn, t.send)
	defer s.images.disconnect()
	var group sync.WaitGroup
	group.Go(func() { t.transmit(ctx) })
	group.Go(func() { s.report(ctx, conn) })
	group.Go(func() { s.renew(ctx) })
	defer group.Wait()
	defer cancel()
	s.connected.Set(1)
	return t.receive(ctx)
}

// talk is the exchange of messages on one connection.
type talk struct {
	source *Source
	stream grpc.BidiStreamingClient[discovery.DeltaDiscoveryRequest, discovery.DeltaDiscoveryResponse]
	apply  Apply
	// What responses have changed and was not applied yet, by resource.
	changed map[string]*Resource
	removed map[string]bool
	parts   bool // parts of chains were among what was applied last
	found   bool // a config has come
	// A config that was not applied as a whole, what brought it, and when to try again.
	refused *config.Config
	refusal *discovery.DeltaDiscoveryResponse
	again   <-chan time.Time

	// What is to be sent: receiving must never wait for it, since control may be
	// waiting to be received.
	mu   sync.Mutex
	out  []*discovery.DeltaDiscoveryRequest
	wake chan struct{} // holds one
}

// send has a message sent. If that fails the stream ends, and with it the session.
func (t *talk) send(m *discovery.DeltaDiscoveryRequest) {
	t.mu.Lock()
	t.out = append(t.out, m)
	t.mu.Unlock()
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// transmit sends until ctx is done.
func (t *talk) transmit(ctx context.Context) {
	for {
		t.mu.Lock()
		list := t.out
		t.out = nil
		t.mu.Unlock()
		for _, m := range list {
			if t.stream.Send(m) != nil {
				return // receiving says why
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-t.wake:
		}
	}
}

func (t *talk) receive(ctx context.Context) error {
	messages, failed := make(chan *discovery.DeltaDiscoveryResponse), make(chan error, 1)
	go func() {
		for {
			m, err := t.stream.Recv()
			if err != nil {
				failed <- err
				return
			}
			select {
			case messages <- m:
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		select {
		case err := <-failed:
			return err
		case m := <-messages:
			t.message(m)
		case <-t.again:
			t.retry()
		}
	}
}

func (t *talk) message(m *discovery.DeltaDiscoveryResponse) {
	switch m.TypeUrl {
	case TypeConfig:
		t.config(m)
	case TypeEndpoints:
		t.endpoints(m)
	case TypeImage:
		t.image(m)
	default:
		t.answer(m, fmt.Errorf("type %.100q is not known here", m.TypeUrl))
	}
}

// retry applies a config again that could not be applied as a whole: a port may be
// free now. What was refused is acknowledged then.
func (t *talk) retry() {
	if err := t.apply.Config(t.refused); err != nil {
		t.again = time.After(retryApply)
		return
	}
	t.applied(t.refusal, t.refused)
}

// answer says that a response was applied, or why it was not.
func (t *talk) answer(m *discovery.DeltaDiscoveryResponse, fault error) {
	ack := &discovery.DeltaDiscoveryRequest{TypeUrl: m.TypeUrl, ResponseNonce: m.Nonce}
	result := "ack"
	if fault != nil {
		result = "nack"
		ack.ErrorDetail = &status.Status{Code: int32(codes.InvalidArgument), Message: fault.Error()}
		t.source.o.Log.Error("what control sent is not applied: the last good config serves", zap.String("type", m.TypeUrl), zap.Error(fault))
	}
	t.source.versions.With(m.TypeUrl, result).Inc()
	t.send(ack)
}

// forget drops what was gathered.
func (t *talk) forget() { t.changed, t.removed = map[string]*Resource{}, map[string]bool{} }

func resources(m *discovery.DeltaDiscoveryResponse) []*Resource {
	list := make([]*Resource, len(m.Resources))
	for i, r := range m.Resources {
		list[i] = &Resource{Name: r.Name, Version: r.Version, Bytes: r.Resource.GetValue()}
	}
	return list
}

func (t *talk) config(m *discovery.DeltaDiscoveryResponse) {
	for _, name := range m.RemovedResources {
		delete(t.changed, name)
		t.removed[name] = true
	}
	for _, r := range resources(m) {
		delete(t.removed, r.Name)
		t.changed[r.Name] = r
	}
	if m.SystemVersionInfo == "" {
		return // there is more to come
	}
	s := t.source
	u := &Delta{Changed: slices.Collect(maps.Values(t.changed)), Removed: slices.Collect(maps.Keys(t.removed))}
	s.mu.Lock()
	c, err := s.decoder.Config(u)
	s.mu.Unlock()
	if err != nil {
		t.answer(m, err)
		return // the next one changes what is wrong, and comes on top
	}
	t.forget()
	t.parts = t.parts || u.Parts()
	t.back()
	err = t.apply.Config(c)
	s.meet.Do(func() { close(s.met) })
	if err != nil {
		t.refused, t.refusal, t.again = c, m, time.After(retryApply)
		t.answer(m, err)
		return
	}
	t.applied(m, c)
}

// applied notes that the proxy serves a config, and says so.
func (t *talk) applied(m *discovery.DeltaDiscoveryResponse, c *config.Config) {
	s := t.source
	t.refused, t.refusal, t.again = nil, nil, nil
	s.applied = true
	if t.parts {
		s.images.keepOnly(c.Filters())
		t.parts = false
	}
	s.keep()
	t.answer(m, nil)
}

func (t *talk) endpoints(m *discovery.DeltaDiscoveryResponse) {
	s := t.source
	s.mu.Lock()
	changed, fault := s.decoder.Endpoints(&Delta{Changed: resources(m), Removed: m.RemovedResources})
	s.mu.Unlock()
	if s.applied {
		t.apply.Endpoints(changed)
	}
	s.keep()
	t.answer(m, fault)
}

// image takes over what became of images.
func (t *talk) image(m *discovery.DeltaDiscoveryResponse) {
	err := t.source.images.learn(resources(m), m.RemovedResources)
	t.source.keep()
	t.answer(m, err)
}

// keep writes the state to disk, soon.
func (s *Source) keep() {
	if s.o.State != nil {
		s.o.State.save(func() *Set {
			s.mu.Lock()
			defer s.mu.Unlock()
			cfg, endpoints := s.decoder.Set()
			return &Set{Config: maps.Clone(cfg), Endpoints: maps.Clone(endpoints), Images: s.images.resources()}
		})
	}
}

// renew keeps the state on disk young while control is connected.
func (s *Source) renew(ctx context.Context) {
	if s.o.State == nil {
		return
	}
	t := time.NewTicker(renewEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			s.o.State.renew()
		}
	}
}

// report tells control what runs, whenever that changes.
func (s *Source) report(ctx context.Context, conn *grpc.ClientConn) {
	if s.o.Report == nil {
		return
	}
	send, err := reporting(ctx, conn)
	if err != nil {
		return // the session ends for the same reason
	}
	for {
		if err := send(s.o.Report()); err != nil {
			return
		}
		if !s.due(ctx) {
			return
		}
	}
}

// due waits until there is something to tell; false: ctx is done.
func (s *Source) due(ctx context.Context) bool {
	soonest, next := time.After(reportSoon), time.After(reportEvery)
	select {
	case <-ctx.Done():
		return false
	case <-s.o.Soon:
		select {
		case <-ctx.Done():
			return false
		case <-soonest:
			return true
		}
	case <-next:
	}
	select {
	case <-ctx.Done():
		return false
	case <-s.o.Changed:
	case <-s.o.Soon:
	}
	return true
}
