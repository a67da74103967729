package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"penstock.dev/penstock/core/admin"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/oci"
	"penstock.dev/penstock/core/plugin"
	"penstock.dev/penstock/core/remote"
	"penstock.dev/penstock/core/telemetry"
	"penstock.dev/penstock/k8s/access"
	"penstock.dev/penstock/k8s/annotation"
	"penstock.dev/penstock/k8s/cluster"
	"penstock.dev/penstock/k8s/control"
)

// controlOptions are those of penstock control.
type controlOptions struct {
	options
	listen, tls               string
	authoritySecret, tlsProxy string
}

// controlCommand is penstock control.
func controlCommand() *cobra.Command {
	var o controlOptions
	c := &cobra.Command{
		Use:   "control",
		Short: "Translate a cluster's objects, and send them and their plugins to the proxies: the part that holds the API token",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return runControl(ctx, o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.listen, "listen", ":9443", "address that proxies connect to, while this process leads")
	f.StringVar(&o.tls, "tls", "", "folder with ca.crt, tls.crt and tls.key, with which proxies are met; default an authority of its own, kept in Secrets")
	f.StringVar(&o.authoritySecret, "authority-secret", "penstock-authority", "Secret of the install namespace that holds the own authority")
	f.StringVar(&o.tlsProxy, "proxy-secret", "penstock-proxy", "Secret of the install namespace with what proxies need for --tls")
	adminFlags(c, &o.options, "/config, /chains, /proxies, health, metrics and profiles")
	f.StringVar(&o.health, "health", "", "address of /livez, /readyz and /metrics for probes; default off")
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	f.DurationVar(&o.tagInterval, "tag-interval", plugin.DefaultTagInterval, "how often registries are asked where tags point; 0: never")
	imageFlags(c, &o.options)
	kubernetesFlags(c, &o.kubernetes)
	return c
}

// controlProcess is what penstock control is made of.
type controlProcess struct {
	log       *zap.Logger
	metrics   *telemetry.Metrics
	source    *cluster.Source
	server    *control.Server
	images    *control.Images
	store     *oci.Store
	authority *control.Authority
	ready     atomic.Bool
	config    atomic.Pointer[config.Config] // the latest that is served
	group     sync.WaitGroup
}

func runControl(ctx context.Context, o controlOptions) error {
	log, err := newLog(o.logLevel)
	if err != nil {
		return err
	}
	if _, err := adminGuard(o.options, nil, log); err != nil {
		return err
	}
	p := &controlProcess{log: log, metrics: telemetry.New(), authority: control.NewAuthority(time.Now)}
	store, err := openImages(o.options, log, func() []string { return p.images.Digests() })
	if err != nil {
		return err
	}
	p.store = store
	quota, ok := annotation.Bytes(o.imageQuota)
	if !ok || quota <= 0 {
		return fmt.Errorf("--image-quota %q: want a size such as 4Gi", o.imageQuota)
	}
	p.images = control.NewImages(control.ImagesOptions{Store: store, Dir: filepath.Join(o.state, "modules"), Quota: quota, Log: log.Named("images"), TagInterval: o.tagInterval})
	tls := p.authority.TLS
	if o.tls != "" {
		tls = remote.FromFolder(o.tls)
	}
	p.server = control.New(control.Options{Log: log.Named("control"), Metrics: p.metrics, TLS: tls, Images: p.images})
	leads := make(chan bool, 1)
	if p.source, err = newCluster(o.kubernetes, log, p.metrics, fleet{ran: p.server.Ran, guard: store.Guard, running: p.running, purged: p.purged, rolledBack: p.server.RolledBack, resolved: p.images.Resolved, changed: p.server.Runs(), lead: func(now bool) { leads <- now }}); err != nil {
		return err
	}
	return p.serve(ctx, o, leads)
}

func (p *controlProcess) serve(ctx context.Context, o controlOptions, leads <-chan bool) error {
	var probes servers
	defer probes.stop()
	if err := p.answer(o, &probes); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer p.group.Wait()
	defer cancel()
	p.group.Go(func() { p.images.Run(ctx) })
	p.group.Go(func() { p.lead(ctx, o, leads) })
	err := p.source.Run(ctx, func(c *config.Config, applied cluster.Applied) error {
		p.store.Forbid(c.Forbidden) // before it names the first image
		err := p.server.Update(c, applied)
		if err == nil {
			p.config.Store(c)
		}
		p.ready.Store(true)
		return err
	})
	if ctx.Err() != nil {
		p.log.Info("stopping")
		return nil
	}
	return err
}

// answer starts the servers for people and probes.
func (p *controlProcess) answer(o controlOptions, to *servers) error {
	reviewer, err := access.New(p.source.Connection(), p.log.Named("access"))
	if err != nil {
		return err
	}
	guard, err := adminGuard(o.options, reviewed{reviewer}, p.log)
	if err != nil {
		return err
	}
	answers := p.admin()
	l, err := net.Listen("tcp", o.admin)
	if err != nil {
		return fmt.Errorf("--admin: %w", err)
	}
	to.start(l, guard, answers.Admin(guard), p.log)
	if o.health == "" {
		return nil
	}
	if l, err = net.Listen("tcp", o.health); err != nil {
		return fmt.Errorf("--health: %w", err)
	}
	to.start(l, admin.Open(), answers.Health(), p.log)
	return nil
}

// running is what the proxies run.
func (p *controlProcess) running() []cluster.Proxy {
	var all []cluster.Proxy
	for _, one := range p.server.Proxies() {
		c := cluster.Proxy{Name: one.ID, Ready: one.Ready, Current: one.Current, Parts: map[string]cluster.Part{}}
		for _, part := range one.Parts {
			c.Parts[part.Hash] = partOf(part)
		}
		all = append(all, c)
	}
	return all
}

// purged is which purges the proxies have carried out.
func (p *controlProcess) purged() (all []cluster.PurgingProxy, found bool) {
	said, found := p.server.Purges()
	for _, one := range said {
		c := cluster.PurgingProxy{Name: one.ID, Ready: one.Ready, Purges: make(map[string]cluster.Purge, len(one.Purges))}
		for id, r := range one.Purges {
			c.Purges[id] = cluster.Purge{Removed: r.Removed, Error: r.Error}
		}
		all = append(all, c)
	}
	return all, found
}

func partOf(r remote.PartReport) cluster.Part {
	part := cluster.Part{State: r.State}
	for _, f := range r.Filters {
		part.Filters = append(part.Filters, cluster.Filter{Name: f.Name, Digest: f.Digest, State: f.State, Reason: f.Reason, Message: f.Message, Since: time.Unix(f.Since, 0), Declaration: f.Declaration, Entry: f.Entry})
	}
	return part
}

// running is what this process runs: the one proxy there is.
func (p *proxyProcess) running() []cluster.Proxy {
	one := cluster.Proxy{Name: "run", Ready: true, Current: true, Parts: map[string]cluster.Part{}}
	for _, part := range p.report().Parts {
		one.Parts[part.Hash] = partOf(part)
	}
	return []cluster.Proxy{one}
}

// purging is running for purges.
func (p *proxyProcess) purging() ([]cluster.PurgingProxy, bool) {
	one := cluster.PurgingProxy{Name: "run", Ready: true, Purges: map[string]cluster.Purge{}}
	for _, r := range p.purged() {
		one.Purges[r.ID] = cluster.Purge{Removed: r.Removed, Error: r.Error}
	}
	return []cluster.PurgingProxy{one}, true
}

// lead serves proxies while this process leads: there is one word for all of them.
func (p *controlProcess) lead(ctx context.Context, o controlOptions, leads <-chan bool) {
	for now := false; ctx.Err() == nil; {
		serving, stop := context.WithCancel(ctx)
		done := make(chan struct{})
		go func(leading bool) {
			defer close(done)
			if leading {
				p.serveProxies(serving, o)
			}
		}(now)
		select {
		case <-ctx.Done():
		case now = <-leads:
		}
		stop()
		<-done
	}
}

func (p *controlProcess) serveProxies(ctx context.Context, o controlOptions) {
	if o.tls == "" {
		if !p.certify(ctx, o) {
			return
		}
		p.group.Go(func() {
			t := time.NewTicker(time.Hour)
			defer t.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-t.C:
					p.certify(ctx, o)
				}
			}
		})
	}
	l, err := net.Listen("tcp", o.listen)
	if err != nil {
		p.log.Error("proxies are not served", zap.Error(err))
		return
	}
	p.log.Info("serving proxies", zap.Stringer("address", l.Addr()))
	if err := p.server.Run(ctx, l); err != nil && !errors.Is(err, context.Canceled) {
		p.log.Error("proxies are not served", zap.Error(err))
	}
}

// certify brings the Secrets of the authority and of the proxies up to date; it
// tries until that is done or ctx is.
func (p *controlProcess) certify(ctx context.Context, o controlOptions) bool {
	for {
		authority, err := p.source.Keep(ctx, o.authoritySecret, p.authority.Renew)
		if err == nil {
			_, err = p.source.Keep(ctx, o.tlsProxy, func(have map[string][]byte) (map[string][]byte, bool, error) {
				return p.authority.Proxy(authority, have)
			})
		}
		if err == nil {
			return true
		}
		p.log.Error("certificates are not renewed", zap.Error(err))
		select {
		case <-ctx.Done():
			return false
		case <-time.After(2 * time.Second):
		}
	}
}
