package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/telemetry"
	"penstock.dev/penstock/k8s/cluster"
	"penstock.dev/penstock/k8s/files"
	"penstock.dev/penstock/k8s/translate"
)

// kubernetesOptions are those of a process that watches a cluster.
type kubernetesOptions struct {
	enabled    bool
	kubeconfig string
	namespace  string
	selector   string
	hostPorts  bool
	// Of Gateways' Services.
	serviceType, trafficPolicy string
}

// kubernetesFlags are those that say which cluster, and how its Gateways are reached.
func kubernetesFlags(c *cobra.Command, o *kubernetesOptions) {
	f := c.Flags()
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig file of the cluster; default the Pod's own")
	f.StringVar(&o.namespace, "namespace", "", "install namespace: of Gateways' Services, the Lease, and what cluster-scoped objects refer to; default the Pod's own, or "+installNamespace)
	f.StringVar(&o.selector, "proxy-selector", "app.kubernetes.io/name=penstock,app.kubernetes.io/component=proxy", "labels of the proxies' Pods, which Gateways' Services lead to")
	f.StringVar(&o.serviceType, "service-type", "LoadBalancer", "type of Gateways' Services: LoadBalancer, NodePort or ClusterIP")
	f.StringVar(&o.trafficPolicy, "traffic-policy", "Local", "externalTrafficPolicy of Gateways' Services: Local keeps clients' addresses, and needs a proxy on each node that traffic comes to; Cluster hides them behind those of nodes")
	f.BoolVar(&o.hostPorts, "host-ports", false, "listeners bind their own ports; Gateways get no Services")
}

// source delivers configs.
type source interface {
	Run(ctx context.Context, apply func(c *config.Config, applied func(error)) error) error
	Problems() []translate.Problem
}

// fileSource is a folder, to which nothing is told of what was applied.
type fileSource struct{ *files.Source }

func (s fileSource) Run(ctx context.Context, apply func(*config.Config, func(error)) error) error {
	return s.Source.Run(ctx, func(c *config.Config) error { return apply(c, func(error) {}) })
}

// clusterSource is a cluster.
type clusterSource struct{ *cluster.Source }

func (s clusterSource) Run(ctx context.Context, apply func(*config.Config, func(error)) error) error {
	return s.Source.Run(ctx, func(c *config.Config, applied cluster.Applied) error { return apply(c, applied) })
}

func newSource(o options, log *zap.Logger, metrics *telemetry.Metrics, f fleet) (source, error) {
	if !o.kubernetes.enabled {
		return fileSource{files.New(files.Options{Dir: o.config, Log: log.Named("files"), Translator: translate.New(withGuards(translatorOptions(f.ran), f))})}, nil
	}
	log.Warn("plugins run in a process that holds an API token: penstock control and penstock proxy keep them apart")
	s, err := newCluster(o.kubernetes, log, metrics, f)
	if err != nil {
		return nil, err
	}
	return clusterSource{s}, nil
}

// fleet is what a cluster's source has to know of what serves.
type fleet struct {
	ran   func(hash string) bool
	guard func(image string) bool // translate.Options.GuardImage
	// resolved is translate.Options.Resolved; nil: what serves is this process.
	resolved func(filter, digest string) bool
	running  func() []cluster.Proxy
	purged   func() ([]cluster.PurgingProxy, bool)
	// rolledBack is cluster.Options.RolledBack.
	rolledBack func() bool
	changed    <-chan struct{}
	lead       func(bool)
}

func withGuards(o translate.Options, f fleet) translate.Options {
	o.GuardImage = f.guard
	return o
}

func newCluster(o kubernetesOptions, log *zap.Logger, metrics *telemetry.Metrics, f fleet) (*cluster.Source, error) {
	identity, err := os.Hostname() // a Pod's name
	if err != nil {
		return nil, err
	}
	namespace := installed(o.namespace)
	var s *cluster.Source
	t := withGuards(translatorOptions(func(hash string) bool { return f.ran(hash) || s.Ran(hash) }), f)
	t.InstallNamespace, t.CheckEndpoints, t.Resolved = namespace, true, f.resolved
	if !o.hostPorts {
		selector, err := cluster.Labels(o.selector)
		if err != nil {
			return nil, fmt.Errorf("--proxy-selector: %w", err)
		}
		t.Infrastructure = &translate.Infrastructure{Namespace: namespace, Selector: selector}
		if err := t.Infrastructure.SetServices(o.serviceType, o.trafficPolicy); err != nil {
			return nil, err
		}
	}
	s, err = cluster.New(cluster.Options{
		Kubeconfig: o.kubeconfig, Log: log.Named("cluster"), Metrics: metrics, Translator: translate.New(t),
		Lead: f.lead, Running: f.running, Purged: f.purged, RolledBack: f.rolledBack, Changed: f.changed, ControllerName: controllerName, Namespace: namespace, Identity: fmt.Sprintf("%s-%d", identity, os.Getpid()),
	})
	return s, err
}

// namespaceFile is where a Pod finds the name of its namespace.
const namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// installed returns the install namespace.
func installed(flag string) string {
	if flag != "" {
		return flag
	}
	if name, err := os.ReadFile(namespaceFile); err == nil {
		return strings.TrimSpace(string(name))
	}
	return installNamespace
}
