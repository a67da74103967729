package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"penstock.dev/penstock/core/admin"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/remote"
	"penstock.dev/penstock/core/telemetry"
	"penstock.dev/penstock/k8s/annotation"
)

// remoteOptions are those of a proxy that control sends its config to.
type remoteOptions struct{ control, tls, name string }

// tagsAnew is how often filters look where their tags point: control knows, and
// tells.
const tagsAnew = 5 * time.Second

// proxyCommand is penstock proxy.
func proxyCommand() *cobra.Command {
	var o options
	var r remoteOptions
	c := &cobra.Command{
		Use:   "proxy",
		Short: "Serve what a control process sends: the part that takes traffic, without an API token",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return runProxy(ctx, o, r)
		},
	}
	f := c.Flags()
	f.StringVar(&r.control, "control", "", "HOSTNAME:PORT of penstock control")
	f.StringVar(&r.tls, "tls", "", "folder with ca.crt, tls.crt and tls.key, with which control is met, and state.key, with which the last good config is kept on disk; re-read when needed")
	f.StringVar(&r.name, "name", "", "name of this proxy; default the hostname, which is a Pod's name")
	f.StringVar(&o.state, "state", defaultState(), "folder for plugins, compiled code and the last good config")
	f.StringVar(&o.imageQuota, "image-quota", "4Gi", "disk space for plugins; what runs is never dropped")
	proxyFlags(c, &o)
	for _, name := range []string{"control", "tls"} {
		if err := c.MarkFlagRequired(name); err != nil {
			panic("BUG: " + err.Error())
		}
	}
	return c
}

func runProxy(ctx context.Context, o options, r remoteOptions) error {
	log, err := prepare(o)
	if err != nil {
		return err
	}
	quota, ok := annotation.Bytes(o.imageQuota)
	if !ok || quota <= 0 {
		return fmt.Errorf("--image-quota %q: want a size such as 4Gi", o.imageQuota)
	}
	if r.name == "" {
		if r.name, err = os.Hostname(); err != nil {
			return err
		}
	}
	o.tagInterval = tagsAnew
	metrics := telemetry.New()
	var p *proxyProcess
	changed := make(chan struct{}, 1)
	state := remote.NewState(filepath.Join(o.state, "config"), remote.StateKey(r.tls), log.Named("state"))
	purged := make(chan struct{}, 1)
	contact, err := openContact(o, func() *proxyProcess { return p }, log)
	if err != nil {
		return err
	}
	source := remote.New(remote.Options{
		Address: r.control, TLS: remote.FromFolder(r.tls), Name: r.name, Log: log.Named("remote"), Metrics: metrics,
		Modules: filepath.Join(o.state, "modules"), Quota: quota, State: state, Contact: contact, Changed: changed, Soon: purged,
		Report: func() *remote.Report { return p.report() },
	})
	if p, err = wireProxy(o, log, metrics, source.Images()); err != nil {
		return err
	}
	p.problems = func() []admin.Problem { return nil } // control knows
	p.met = source.Met()
	p.jobs = append(p.jobs, state.Run, contact.Run, func(ctx context.Context) { tellChanges(ctx, p.store.Relinked(), nil, changed) },
		func(ctx context.Context) { passOn(ctx, nil, p.cache.CarriedOut(), purged) })
	p.run = func(ctx context.Context, apply func(*config.Config, func(error)) error) error {
		return source.Run(ctx, remote.Apply{
			Back: func(away time.Duration) { forget(p.cache, away, log.Named("cache")) },
			Config: func(c *config.Config) error {
				if c.Forbidden == nil { // of an older control: what needs no list is refused all the same
					closed := *c
					closed.Forbidden = &config.Forbidden{}
					c = &closed
				}
				return apply(c, func(error) {})
			},
			Endpoints: p.store.ApplyEndpoints,
		})
	}
	err = p.serve(ctx, o)
	p.close(o.drain)
	return err
}

// tellChanges passes on that what runs, or was purged, may have changed, and does so
// now and then: readiness changes by itself.
func tellChanges(ctx context.Context, relinked, purged <-chan struct{}, changed chan<- struct{}) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	forward(ctx, relinked, purged, t.C, changed)
}

// passOn is tellChanges for who is asked whether it is ready.
func passOn(ctx context.Context, relinked, purged <-chan struct{}, changed chan<- struct{}) {
	forward(ctx, relinked, purged, nil, changed)
}

func forward(ctx context.Context, relinked, purged <-chan struct{}, tick <-chan time.Time, changed chan<- struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-relinked:
		case <-purged:
		case <-tick:
		}
		select {
		case changed <- struct{}{}:
		default:
		}
	}
}

// report is what this proxy tells control of itself.
func (p *proxyProcess) report() *remote.Report {
	r := &remote.Report{Ready: p.admin.Ready()}
	for _, part := range p.store.Reports() {
		one := remote.PartReport{Hash: part.Hash, State: part.State}
		for _, f := range part.Filters {
			one.Filters = append(one.Filters, remote.FilterReport{Name: f.Name, Digest: f.Digest, State: f.State, Reason: f.Reason, Message: f.Message, Since: f.Since.Unix(), Declaration: f.Declaration, Entry: f.Entry})
		}
		r.Parts = append(r.Parts, one)
	}
	r.Purges = p.purged()
	return r
}

// purged is what became of the config's purges.
func (p *proxyProcess) purged() []remote.PurgeReport {
	var all []remote.PurgeReport
	for _, done := range p.cache.Purged() {
		one := remote.PurgeReport{ID: done.ID, Removed: int64(done.Removed)}
		if done.Err != nil {
			one.Error = done.Err.Error()
		}
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b remote.PurgeReport) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// prepare checks what all processes that serve have in common.
func prepare(o options) (*zap.Logger, error) {
	log, err := newLog(o.logLevel)
	if err != nil {
		return nil, err
	}
	if _, err := adminGuard(o, nil, log); err != nil {
		return nil, err
	}
	// quic-go prints this past the log; core/listener logs it.
	return log, os.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true")
}
