package testbed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"penstock.dev/penstock/conformance/kubernetes/dns"
	"penstock.dev/penstock/conformance/kubernetes/node"
)

// Addresses of the testbed. All are reached by routes from the process that
// called Start.
const (
	// ControlAddress is where the API server and the cluster's DNS listen, and
	// the address that clients in the process that called Start have.
	ControlAddress = "172.20.0.1"
	// PodNetwork is cut into one /24 for each node.
	PodNetwork = "10.244.0.0/16"
	// ServiceNetwork is where ClusterIPs come from.
	ServiceNetwork = "10.96.0.0/16"
	// LoadBalancerPool is where addresses of Services of type LoadBalancer come
	// from; no other address is ever given.
	LoadBalancerPool = "172.20.255.0/24"
)

// Options say what Start starts.
type Options struct {
	// Bin is the folder that make testbed-build fills. Default: bin/testbed of
	// the repository that the working directory is in.
	Bin string
	// Nodes is how many nodes there are, 1 to 200. Default: 2. Node i is called
	// node-i, in zone zone-a for odd i and zone-b for even ones.
	Nodes int
	// Images are what containers may run, by image name without tag and digest.
	Images map[string]node.Image
	// CNI is a chain of CNI plugins that each Pod's network namespace passes
	// after it has its address; see node.Config.
	CNI *node.CNI
	// Backoff is the delay after a container's second failure; it doubles up to
	// 30 times of it. Default: 10 s, as the kubelet.
	Backoff time.Duration
	// NodeGrace is how long a node may be silent, also because the API server is away,
	// until it counts as not ready. Default: 10 s; Kubernetes' own is 50 s.
	NodeGrace time.Duration
	// Log gets one line for each step. Default: none.
	Log func(format string, args ...any)
}

// Testbed is a running cluster.
type Testbed struct {
	// Config and Client are those of a cluster administrator.
	Config *rest.Config
	Client kubernetes.Interface
	// Kubeconfig is a file with the same rights, for processes inside.
	Kubeconfig string
	// ControlPlane holds etcd, kube-apiserver, kube-controller-manager and
	// kube-scheduler, by these names.
	ControlPlane map[string]*Process
	// Nodes holds the nodes, the first is node-1.
	Nodes []*Process

	options  Options
	pki      *authority
	balancer *balancer
	ctx      context.Context // of what runs in this process, until Stop
	cancel   context.CancelFunc
	running  sync.WaitGroup
}

// Start starts a cluster with Gateway API's CRDs, and returns when its nodes are
// ready. Enter must have returned before. There is one cluster for a process.
func Start(ctx context.Context, o Options) (*Testbed, error) {
	if os.Getenv(inside) == "" {
		return nil, errors.New("testbed.Enter was not called")
	}
	if o.NodeGrace == 0 {
		o.NodeGrace = 10 * time.Second
	}
	if o.Nodes == 0 {
		o.Nodes = 2
	}
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	if o.Bin == "" {
		root, err := Root()
		if err != nil {
			return nil, err
		}
		o.Bin = filepath.Join(root, "bin", "testbed")
	}
	if _, err := os.Stat(filepath.Join(o.Bin, "controlplane")); err != nil {
		return nil, fmt.Errorf("%w: run make testbed-build", err)
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	t := &Testbed{options: o, ctx: running, cancel: cancel, ControlPlane: map[string]*Process{}}
	if err := t.start(ctx, running); err != nil {
		t.Stop()
		return nil, err
	}
	return t, nil
}

// Root returns the folder of the repository that the working directory is in.
func Root() (string, error) {
	at, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; at != "/"; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "core", "internal", "layers", "layers.txt")); err == nil {
			return at, nil
		}
	}
	return "", errors.New("the working directory is not in Penstock's repository")
}

func (t *Testbed) start(ctx, running context.Context) error {
	for _, d := range []string{"pki", "log", "etcd", "node"} {
		if err := os.MkdirAll(dir(d), 0o755); err != nil {
			return err
		}
	}
	if err := addControlAddress(); err != nil {
		return err
	}
	if err := t.startControlPlane(ctx); err != nil {
		return err
	}
	t.options.Log("API server ready")
	records, err := dns.New(t.Client, ControlAddress+":53")
	if err != nil {
		return err
	}
	t.balancer = newBalancer(t.Client)
	t.run(running, "dns", records.Run)
	t.run(running, "load balancer", t.balancer.run)
	installed := make(chan error, 1)
	go func() { installed <- t.installGatewayAPI(ctx) }()
	for i := range t.options.Nodes {
		if err := t.startNode(i + 1); err != nil {
			return err
		}
	}
	if err := <-installed; err != nil {
		return err
	}
	return t.waitNodes(ctx)
}

// run keeps a part that runs in this process going until Stop.
func (t *Testbed) run(ctx context.Context, name string, run func(context.Context) error) {
	t.running.Go(func() {
		if err := run(ctx); err != nil && ctx.Err() == nil {
			t.options.Log("%s: %v", name, err)
		}
	})
}

func (t *Testbed) startControlPlane(ctx context.Context) error {
	if err := t.issue(); err != nil {
		return err
	}
	server := "https://" + ControlAddress + ":6443"
	var err error
	if t.Kubeconfig, err = t.pki.kubeconfig("admin", subject{user: "admin", groups: []string{"system:masters"}}, server); err != nil {
		return err
	}
	manager, err := t.pki.kubeconfig("manager", subject{user: "system:kube-controller-manager"}, server)
	if err != nil {
		return err
	}
	scheduler, err := t.pki.kubeconfig("scheduler", subject{user: "system:kube-scheduler"}, server)
	if err != nil {
		return err
	}
	if t.Config, err = clientcmd.BuildConfigFromFlags("", t.Kubeconfig); err != nil {
		return err
	}
	t.Config.QPS, t.Config.Burst = 500, 1000
	if t.Client, err = kubernetes.NewForConfig(t.Config); err != nil {
		return err
	}
	if err := os.WriteFile(dir("audit.yaml"), []byte(auditPolicy), 0o644); err != nil {
		return err
	}
	for _, args := range [][]string{etcdFlags(), apiserverFlags()} {
		if err := t.startControl(args); err != nil {
			return err
		}
	}
	api := t.ControlPlane["kube-apiserver"]
	err = waitFor(ctx, "API server", time.Minute, func() error {
		return t.Client.CoreV1().RESTClient().Get().AbsPath("/readyz").Timeout(time.Second).Do(ctx).Error()
	}, api, t.ControlPlane["etcd"])
	if err != nil {
		return err
	}
	for _, args := range [][]string{managerFlags(manager, t.options.NodeGrace), schedulerFlags(scheduler)} {
		if err := t.startControl(args); err != nil {
			return err
		}
	}
	return nil
}

func (t *Testbed) startControl(args []string) error {
	p := &Process{Name: args[0], args: append([]string{filepath.Join(t.options.Bin, "controlplane")}, args...)}
	t.ControlPlane[p.Name] = p
	return p.start()
}

// issue makes the cluster's certificates and the key that signs tokens.
func (t *Testbed) issue() error {
	var err error
	if t.pki, err = newAuthority(dir("pki", "ca.crt")); err != nil {
		return err
	}
	for name, s := range map[string]subject{
		"apiserver": {
			hostnames: []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"},
			addresses: []string{ControlAddress, "127.0.0.1", "10.96.0.1"},
		},
		"apiserver-kubelet": {user: "kube-apiserver", groups: []string{"system:masters"}},
		"tokens":            {user: "tokens"},
	} {
		if err := t.pki.issue(name, s); err != nil {
			return err
		}
	}
	return nil
}

// Stop ends the cluster and all that runs in it. If the environment variable
// PENSTOCK_TESTBED_LOGS names a folder, the processes' logs are copied there.
func (t *Testbed) Stop() {
	t.cancel()
	t.running.Wait()
	for _, p := range t.Nodes {
		_ = p.Kill()
	}
	for _, name := range []string{"kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd"} {
		if p := t.ControlPlane[name]; p != nil {
			_ = p.Kill()
		}
	}
	if to := os.Getenv("PENSTOCK_TESTBED_LOGS"); to != "" {
		if err := copyFiles(to, t.Logs()); err != nil {
			t.options.Log("copy logs: %v", err)
		}
	}
}

func copyFiles(to, from string) error {
	files, err := filepath.Glob(filepath.Join(from, "*"))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, filepath.Base(file)), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Logs returns the folder of the processes' logs, one file for each.
func (t *Testbed) Logs() string { return dir("log") }

const nodeFlags = syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC
