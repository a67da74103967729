package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"penstock.dev/penstock/core/admin"
	"penstock.dev/penstock/core/remote"
	"penstock.dev/penstock/k8s/access"
)

// adminFlags are those of the admin address, which serves what is named.
func adminFlags(c *cobra.Command, o *options, serves string) {
	c.Flags().StringVar(&o.admin, "admin", "127.0.0.1:9901", "address of "+serves+"; elsewhere than on loopback with --admin-tls only")
	c.Flags().StringVar(&o.adminTLS, "admin-tls", "", "folder with tls.crt and tls.key, which --admin is served with, and ca.crt, which must vouch for clients' certificates; re-read when needed")
}

// adminGuard returns who is answered on the admin address: everybody on loopback,
// elsewhere, and wherever there is a folder, who shows a certificate or, if tokens is
// not nil, a token.
func adminGuard(o options, tokens admin.Authorizer, log *zap.Logger) (admin.Guard, error) {
	if o.adminTLS == "" {
		return admin.Open(), loopback(o.admin)
	}
	if _, _, err := net.SplitHostPort(o.admin); err != nil {
		return admin.Guard{}, fmt.Errorf("--admin: %w", err)
	}
	certificates := remote.FromFolder(o.adminTLS)
	if _, err := certificates(); err != nil {
		return admin.Guard{}, fmt.Errorf("--admin-tls %s: %w", o.adminTLS, err)
	}
	return admin.Remote(certificates, tokens, log.Named("admin")), nil
}

// loopback refuses an admin address that others could reach.
func loopback(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("--admin: %w", err)
	}
	if a, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !a.IsLoopback()) {
		return fmt.Errorf("--admin: %s is not on loopback: name a folder with certificates by --admin-tls, or use --health for probes and metrics", address)
	}
	return nil
}

// reviewed is what an API server says of tokens, in core/admin's words.
type reviewed struct{ reviewer *access.Reviewer }

// Authorize implements admin.Authorizer.
func (r reviewed) Authorize(ctx context.Context, token string, right admin.Right) error {
	return inAdminWords(r.reviewer.Authorize(ctx, token, access.Right(right)))
}

// inAdminWords returns an error of k8s/access under core/admin's sentinel.
func inAdminWords(err error) error {
	for theirs, ours := range map[error]error{access.ErrToken: admin.ErrToken, access.ErrDenied: admin.ErrDenied} {
		if errors.Is(err, theirs) {
			return told{err, ours}
		}
	}
	return err
}

// told is an error under another sentinel.
type told struct {
	error
	as error
}

// Is reports whether target is the other sentinel.
func (t told) Is(target error) bool { return target == t.as }

// admin returns what answers for a control process.
func (p *controlProcess) admin() *admin.Control {
	return admin.NewControl(admin.ControlOptions{
		Metrics:  p.metrics,
		Ready:    p.ready.Load,
		Config:   p.config.Load,
		Fleet:    p.fleet,
		Problems: func() []admin.Problem { return problems(p.source.Problems()) },
	})
}

// fleet is what the proxies said.
func (p *controlProcess) fleet() admin.Fleet {
	f := admin.Fleet{Leads: p.server.Serving()}
	for _, one := range p.server.Proxies() {
		proxy := admin.Proxy{ID: one.ID, Ready: one.Ready, Current: one.Current, Fault: one.Fault}
		for _, part := range one.Parts {
			made := admin.Part{Hash: part.Hash, State: part.State}
			for _, f := range part.Filters {
				made.Filters = append(made.Filters, admin.Filter{Name: f.Name, Digest: f.Digest, State: f.State, Reason: f.Reason, Message: f.Message, Since: time.Unix(f.Since, 0).UTC()})
			}
			proxy.Parts = append(proxy.Parts, made)
		}
		f.Proxies = append(f.Proxies, proxy)
	}
	return f
}
