package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/accesslog"
	"penstock.dev/penstock/core/admin"
	"penstock.dev/penstock/core/cache"
	"penstock.dev/penstock/core/cache/store"
	"penstock.dev/penstock/core/codec/h1"
	"penstock.dev/penstock/core/codec/h2"
	"penstock.dev/penstock/core/codec/h3"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/listener"
	"penstock.dev/penstock/core/oci"
	"penstock.dev/penstock/core/plugin"
	"penstock.dev/penstock/core/proxy"
	"penstock.dev/penstock/core/remote"
	"penstock.dev/penstock/core/sandbox"
	"penstock.dev/penstock/core/snapshot"
	"penstock.dev/penstock/core/telemetry"
	"penstock.dev/penstock/core/upstream"
	"penstock.dev/penstock/hosts/capability"
	"penstock.dev/penstock/hosts/capability/compress"
	"penstock.dev/penstock/hosts/capability/consumer"
	"penstock.dev/penstock/hosts/capability/crypto"
	"penstock.dev/penstock/hosts/capability/kv"
	"penstock.dev/penstock/hosts/capability/ratelimit"
	"penstock.dev/penstock/hosts/capability/redis"
	"penstock.dev/penstock/hosts/httpwasm"
	"penstock.dev/penstock/hosts/proxywasm"
)

// proxyProcess is everything that runs, in the order in which it ends.
type proxyProcess struct {
	log     *zap.Logger
	metrics *telemetry.Metrics
	// run hands on what the source delivers until its context is done; problems are
	// those of the source's objects.
	run       func(context.Context, func(*config.Config, func(error)) error) error
	problems  func() []admin.Problem
	met       <-chan struct{}         // closed once control was there or was not to be had; nil: there is none
	first     sync.Once               // for the first config that is applied
	jobs      []func(context.Context) // that run as long as it serves
	listeners *listener.Listeners
	handler   *proxy.HTTP
	store     *snapshot.Store
	groups    *upstream.Set
	caller    *upstream.Caller
	redis     *redis.Clients
	passwords *crypto.Passwords
	consumers *consumer.Index
	plugins   *plugin.Manager
	images    *oci.Store // nil: control asks registries
	engine    *sandbox.Engine
	cache     *cache.Cache
	responses *store.Store
	admin     *admin.Server
	servers   servers
	access    *accesslog.Log // nil: off
	inherited *listener.Inherited
	ready     *os.File // nil: nobody waits for this process
	peers     *peers
	self      self
	handed    bool  // another process has taken over
	memory    int64 // bytes that the process may use

	background sync.WaitGroup
	stop       context.CancelFunc // of the background
}

// run serves until ctx is done, then drains.
func run(ctx context.Context, o options) error {
	log, err := prepare(o)
	if err != nil {
		return err
	}
	if info, err := os.Stat(o.config); !o.kubernetes.enabled && (err != nil || !info.IsDir()) {
		if err == nil {
			err = errors.New("not a folder")
		}
		var path *fs.PathError
		if errors.As(err, &path) {
			err = path.Err
		}
		return fmt.Errorf("--config %s: %w", o.config, err)
	}
	p, err := wire(o, log)
	if err != nil {
		return err
	}
	err = p.serve(ctx, o)
	p.close(o.drain)
	return err
}

// wirePlugins makes the parts that find, compile and start plugins.
//
// images is where they come from; nil: registries, asked by this process. cached is
// where plugins keep objects of their own; nil: nowhere.
func wirePlugins(o options, log *zap.Logger, dialer upstream.Dialer, metrics *telemetry.Metrics, images plugin.Images, cached capability.CacheObjects) (*proxyProcess, error) {
	memory, err := memoryLimit(o.memoryLimit)
	if err != nil {
		return nil, err
	}
	p := &proxyProcess{log: log, metrics: metrics, memory: memory, consumers: new(consumer.Index)}
	var told <-chan struct{}
	if from, ok := images.(*remote.Images); ok {
		told = from.Told()
	} else {
		if p.images, err = openImages(o, log, func() []string { return p.plugins.Digests() }); err != nil {
			return nil, err
		}
		images = p.images
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p.engine, err = sandbox.New(sandbox.Options{Dir: compiledIn(o.state), Compiler: []string{self, "compile"}}, log.Named("sandbox"), p.metrics)
	if err != nil {
		return nil, err
	}
	p.groups = upstream.New(log.Named("upstream"), p.metrics, dialer)
	p.caller = upstream.NewCaller(p.groups, upstream.ResolveDNS, config.DefaultProxyParameters())
	p.redis = redis.New(redis.Options{Log: log.Named("redis"), Metrics: p.metrics, Dial: redisDialer{p.groups.Outward("redis")}.dial})
	p.passwords = crypto.NewPasswords(nil)
	p.plugins = plugin.New(plugin.Options{
		Images: images, Told: told, Engine: p.engine, Log: log.Named("plugin"), Metrics: p.metrics, TagInterval: o.tagInterval,
		Cases:  prover(o, self).Prove,
		Bodies: filter.NewBudget(memory/bodyShare, p.metrics),
		ABIs: []plugin.ABI{
			proxyWasm{proxywasm.New(proxywasm.Options{
				Log: log.Named("guest"), Metrics: p.metrics, HTTP: httpCaller{p.caller}, GRPC: httpCaller{p.caller}, Names: httpCaller{p.caller}, Redis: p.redis, Cache: cached, Consumers: p.consumers,
				Rates: ratelimit.New(ratelimit.Options{Redis: p.redis}), KV: kv.New(kv.Options{}), Passwords: p.passwords, Recoder: compress.New(memory/recoderShare, p.metrics), NodeID: nodeID(),
			})},
			httpWasm{httpwasm.New(log.Named("guest"), p.metrics)},
		},
	})
	return p, nil
}

// wire makes a process that serves what a folder or a cluster asks for.
func wire(o options, log *zap.Logger) (*proxyProcess, error) {
	p, err := wireProxy(o, log, telemetry.New(), nil)
	if err != nil {
		return nil, err
	}
	changed := make(chan struct{}, 1)
	p.jobs = append(p.jobs, func(ctx context.Context) { passOn(ctx, p.store.Relinked(), p.cache.CarriedOut(), changed) })
	s, err := newSource(o, log, p.metrics, fleet{ran: p.store.Ran, guard: p.images.Guard, running: p.running, purged: p.purging, rolledBack: func() bool { return true }, changed: changed, lead: func(bool) {}})
	if err != nil {
		return nil, err
	}
	p.run, p.problems = s.Run, func() []admin.Problem { return problems(s.Problems()) }
	return p, nil
}

// wireProxy makes all of the proxy but its source.
func wireProxy(o options, log *zap.Logger, metrics *telemetry.Metrics, images plugin.Images) (*proxyProcess, error) {
	bind, err := bindAddress(o.bind)
	if err != nil {
		return nil, err
	}
	out, err := openAccessLog(o.accessLog)
	if err != nil {
		return nil, err
	}
	memory, err := memoryLimit(o.memoryLimit)
	if err != nil {
		return nil, err
	}
	responses, kept, err := openCache(o.cache, memory, o.state, log.Named("cache"), metrics)
	if err != nil {
		return nil, err
	}
	p, err := wirePlugins(o, log, upstream.NetDialer{}, metrics, images, responses)
	if err != nil {
		return nil, err
	}
	p.cache, p.responses = responses, kept
	p.peers = &peers{cache: responses, log: log.Named("cache")}
	p.cache.Tell(p.peers.tell)
	var accessLog proxy.Log
	var rawLog proxy.RawLog
	rejected := func(*exchange.Conn, int, string) {}
	if out != nil {
		p.access = accesslog.New(out)
		accessLog, rawLog, rejected = p.access, p.access, p.access.Rejected
	}
	var sockets late
	p.store = snapshot.New(bind, &sockets, p.groups, p.plugins, p.cache, p.metrics)
	p.store.Consumers(p.consumers)
	p.groups.Locate(upstream.Place{Zone: o.zone, Node: o.node})
	handler := proxy.New(p.store, accessLog)
	p.handler = handler
	http1, http2, http3 := h1.NewServer(handler, p.metrics, rejected), h2.NewServer(handler, p.metrics, rejected), h3.NewServer(handler, p.metrics, rejected)
	var before net.Conn
	p.inherited, p.ready, before = inherit(log)
	if before != nil {
		p.peers.talk(before)
	}
	if p.self, err = findSelf(); err != nil {
		return nil, err
	}
	p.listeners = listener.New(log.Named("listener"), p.metrics, http1, http2, http3, p.inherited)
	raw := proxy.NewRaw(p.store, rawLog)
	p.listeners.ServeRaw(raw, raw)
	sockets.Sockets = p.listeners
	p.admin = admin.New(p.store, p.cache, p.metrics, func() []admin.Problem { return p.problems() })
	return p, nil
}

// late breaks the circle of store, handler and listeners.
type late struct{ snapshot.Sockets }

// serve runs everything until ctx is done or the first configuration fails.
func (p *proxyProcess) serve(ctx context.Context, o options) error {
	background, stop := context.WithCancel(context.Background())
	p.stop = stop
	for _, job := range append(p.jobs, p.store.Run, p.cache.Run, p.cache.RunPurges, p.engine.Run, p.plugins.Run, p.plugins.RunRechecks, p.plugins.RunTags) {
		p.background.Go(func() { job(background) })
	}
	p.background.Go(func() { paceCollections(background, p.memory, p.cache.MemoryBytes) })
	if p.access != nil {
		p.background.Go(func() { p.access.Run(background) })
	}
	l, err := p.listen(o.admin)
	if err != nil {
		return fmt.Errorf("--admin: %w", err)
	}
	guard, err := adminGuard(o, nil, p.log)
	if err != nil {
		return err
	}
	p.servers.start(l, guard, p.admin.Admin(guard), p.log)
	if o.health != "" {
		if l, err = p.listen(o.health); err != nil {
			return fmt.Errorf("--health: %w", err)
		}
		p.servers.start(l, admin.Open(), p.admin.Health(), p.log)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR2)
	defer signal.Stop(asked)
	p.background.Go(func() { p.announce(ctx, o.pidFile) })
	p.background.Go(func() { p.handOver(ctx, asked, p.self, cancel) })
	err = p.run(ctx, func(c *config.Config, applied func(error)) error {
		if p.images != nil {
			p.images.Forbid(c.Forbidden)
		}
		err := p.store.Apply(c)
		applied(err)
		if err == nil {
			p.first.Do(func() { p.background.Go(func() { p.catchUp(background) }) })
		}
		return err
	})
	if ctx.Err() != nil {
		p.log.Info("stopping")
		return nil
	}
	return err
}

// close drains within the deadline and ends everything.
func (p *proxyProcess) close(drain time.Duration) {
	p.admin.Stopping()
	if p.handed {
		p.background.Go(p.letGo)
	}
	ctx, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	if err := p.listeners.Drain(ctx); err != nil {
		p.log.Warn("exchanges were cut short", zap.Duration("drain", drain), zap.Error(err))
	}
	p.servers.stop()
	p.stop()
	p.peers.close()
	p.background.Wait()
	p.handler.Close()
	p.cache.Close()
	p.store.Close()
	if err := p.responses.Close(); err != nil {
		p.log.Warn("closing the response cache", zap.Error(err))
	}
	p.closePlugins()
}

// letGo leaves what two processes cannot have to the one that has taken over, while this
// one still drains: the admin addresses, and the folder of cached responses.
func (p *proxyProcess) letGo() {
	p.servers.leave()
	if err := p.responses.Release(); err != nil {
		p.log.Warn("letting go of cached responses on disk", zap.Error(err))
	}
}

// closePlugins ends what wirePlugins made.
func (p *proxyProcess) closePlugins() {
	p.plugins.Close()
	p.passwords.Close()
	p.redis.Close()
	p.caller.Close()
	p.groups.Close()
	if err := p.engine.Close(); err != nil {
		p.log.Warn("closing the sandbox", zap.Error(err))
	}
	_ = p.log.Sync() // a terminal cannot be synced
}

var _ plugin.Notes = (*remote.Images)(nil)
