package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"penstock.dev/penstock/core/admin"
	"penstock.dev/penstock/core/plugin"
)

// options of penstock run.
type options struct {
	config, bind, health, state, accessLog, logLevel string
	admin, adminTLS                                  string
	images, localRegistries, mirrors, authorities    []string
	imageQuota, memoryLimit, pidFile, zone, node     string
	drain, tagInterval                               time.Duration
	kubernetes                                       kubernetesOptions
	cache                                            cacheOptions
}

func runCommand() *cobra.Command {
	var o options
	c := &cobra.Command{
		Use:   "run",
		Short: "Serve the Gateways of a folder of YAML files, or of a cluster, in one process",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return run(ctx, o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.config, "config", "", "folder of Kubernetes manifests, re-read on change")
	proxyFlags(c, &o)
	imageFlags(c, &o)
	f.DurationVar(&o.tagInterval, "tag-interval", plugin.DefaultTagInterval, "how often registries are asked where tags point; folders of --images are looked at each second; 0: neither")
	f.BoolVar(&o.kubernetes.enabled, "kubernetes", false, "serve the Gateways of a cluster in place of a folder; hostile plugins then share a process with an API token")
	kubernetesFlags(c, &o.kubernetes)
	c.MarkFlagsOneRequired("config", "kubernetes")
	c.MarkFlagsMutuallyExclusive("config", "kubernetes")
	return c
}

// proxyFlags are those of a process that serves traffic.
func proxyFlags(c *cobra.Command, o *options) {
	f := c.Flags()
	f.StringVar(&o.bind, "bind", "", "address that listeners bind to; default all")
	cacheFlags(c, &o.cache)
	adminFlags(c, o, "/config, /chains, health and metrics")
	f.StringVar(&o.health, "health", "", "address of /livez, /readyz and /metrics for probes; default off")
	f.StringVar(&o.memoryLimit, "memory-limit", "", "memory of the process, of which a quarter is for bodies that filters hold back; default GOMEMLIMIT, its control group's or the machine's")
	f.StringVar(&o.zone, "zone", "", "zone that the proxy runs in: endpoints that are meant for it are preferred")
	f.StringVar(&o.node, "node", "", "node that the proxy runs on: endpoints that are meant for it are preferred")
	f.DurationVar(&o.drain, "drain", 30*time.Second, "how long exchanges in flight may take after SIGTERM")
	f.StringVar(&o.pidFile, "pid-file", "", "file that holds the process' number once it is ready; SIGUSR2 hands over to a new process")
	f.StringVar(&o.accessLog, "access-log", "stdout", "stdout, off, or a file to append to")
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
}

// imageFlags are those that say where plugin images come from.
func imageFlags(c *cobra.Command, o *options) {
	f := c.Flags()
	f.StringArrayVar(&o.images, "images", nil, "OCI layout folder with plugin images; may be repeated")
	f.StringVar(&o.state, "state", defaultState(), "folder for images and compiled code")
	f.StringArrayVar(&o.mirrors, "registry-mirror", nil, "PREFIX=PREFIX: where images under the first (registry[:port][/path]) are asked for first; may be repeated")
	registryFlags(c, o)
	f.StringVar(&o.imageQuota, "image-quota", o.imageQuota, "disk space for pulled images; what runs is never dropped")
}

// registryFlags are those of commands that ask registries.
func registryFlags(c *cobra.Command, o *options) {
	f := c.Flags()
	f.StringArrayVar(&o.localRegistries, "local-registry", nil, "HOST:PORT of a registry that may be on loopback, over plain HTTP; may be repeated")
	f.StringArrayVar(&o.authorities, "registry-ca", nil, "HOST[:PORT]=FILE: certificate authorities (PEM) that vouch for a registry; may be repeated")
	o.imageQuota = "4Gi"
}

func defaultState() string {
	if dir := os.Getenv("XDG_STATE_HOME"); dir != "" {
		return filepath.Join(dir, "penstock")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ".penstock"
	}
	return filepath.Join(home, ".local", "state", "penstock")
}

// newLog writes for people on a terminal, JSON elsewhere; always to stderr.
func newLog(level string) (*zap.Logger, error) {
	l, err := zapcore.ParseLevel(level)
	if err != nil {
		return nil, fmt.Errorf("--log-level: %w", err)
	}
	c := zap.NewProductionEncoderConfig()
	c.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	encoder := zapcore.NewJSONEncoder(c)
	if info, err := os.Stderr.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		c.EncodeTime = zapcore.TimeEncoderOfLayout(time.TimeOnly)
		c.EncodeLevel = zapcore.CapitalColorLevelEncoder
		encoder = zapcore.NewConsoleEncoder(c)
	}
	return zap.New(zapcore.NewCore(encoder, zapcore.Lock(os.Stderr), l)), nil
}

// bindAddress returns what listeners bind to: all addresses of both families
// if the machine has IPv6.
func bindAddress(s string) (netip.Addr, error) {
	if s != "" {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return a, fmt.Errorf("--bind: %w", err)
		}
		return a, nil
	}
	if l, err := net.Listen("tcp6", "[::1]:0"); err == nil {
		l.Close()
		return netip.IPv6Unspecified(), nil
	}
	return netip.IPv4Unspecified(), nil
}

// openAccessLog returns where the access log goes; nil for nowhere.
func openAccessLog(where string) (io.WriteCloser, error) {
	switch where {
	case "off":
		return nil, nil
	case "stdout":
		return os.Stdout, nil
	}
	f, err := os.OpenFile(where, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return nil, fmt.Errorf("--access-log: %w", err)
	}
	return f, nil
}

// servers are the admin and the health server.
type servers struct {
	list    []*http.Server
	sockets []net.Listener
	group   sync.WaitGroup
}

// start serves h to whom g lets in.
func (s *servers) start(l net.Listener, g admin.Guard, h http.Handler, log *zap.Logger) {
	s.sockets = append(s.sockets, l)
	server := admin.HTTP(h, log)
	s.list = append(s.list, server)
	s.group.Go(func() {
		if err := server.Serve(g.Listen(l)); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			log.Error("admin server ended", zap.Error(err))
		}
	})
}

// leave leaves the addresses to another process that has their sockets, too: who is
// connected gets one answer more. Shutdown would give none to who has not asked yet.
func (s *servers) leave() {
	for _, l := range s.sockets {
		l.Close()
	}
	for _, server := range s.list {
		server.SetKeepAlivesEnabled(false)
	}
}

func (s *servers) stop() {
	for _, server := range s.list {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		if server.Shutdown(ctx) != nil {
			server.Close()
		}
		cancel()
	}
	s.group.Wait()
}
