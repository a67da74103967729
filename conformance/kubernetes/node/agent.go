package node

import (
	"context"
	"fmt"
	"log"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/record"
)

// Agent runs the Pods of one node.
type Agent struct {
	config    Config
	client    kubernetes.Interface
	recorder  record.EventRecorder
	network   *network
	log       *log.Logger
	apiServer string
	users     ids
	groups    ids
	watchers  watchers
	ctx       context.Context // of Run: Pods live as long as it
	running   sync.WaitGroup

	mu   sync.Mutex
	pods map[types.UID]*pod
}

// New reads what the agent needs and connects to the API server.
func New(c Config) (*Agent, error) {
	if c.Backoff == 0 {
		c.Backoff = 10 * time.Second
	}
	rest, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		return nil, err
	}
	rest.QPS, rest.Burst = 200, 400
	client, err := kubernetes.NewForConfig(rest)
	if err != nil {
		return nil, err
	}
	a := &Agent{
		config: c, client: client, log: log.New(os.Stderr, "", log.Ltime|log.Lmicroseconds), pods: map[types.UID]*pod{},
		watchers: watchers{pods: map[reference]map[*pod]bool{}, stop: map[reference]context.CancelFunc{}},
	}
	if a.network, err = newNetwork(c.PodNetwork, c.Address); err != nil {
		return nil, err
	}
	if a.users, err = readIDs("/proc/self/uid_map"); err != nil {
		return nil, err
	}
	if a.groups, err = readIDs("/proc/self/gid_map"); err != nil {
		return nil, err
	}
	return a, nil
}

// Run runs the node until ctx is done. It must be PID 1 of its own network,
// mount and PID namespaces; somebody else puts eth0 into the first.
func (a *Agent) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		a.running.Wait()
	}()
	a.ctx = ctx
	if err := a.settle(ctx); err != nil {
		return err
	}
	if err := a.findAPIServer(ctx); err != nil {
		return err
	}
	events := record.NewBroadcaster()
	defer events.Shutdown()
	events.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: a.client.CoreV1().Events("")})
	a.recorder = events.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "node", Host: a.config.Name})

	failed := make(chan error, 2)
	a.running.Go(func() { failed <- a.serve(ctx) })
	if len(a.config.ProxyCommand) > 0 {
		a.running.Go(func() { failed <- a.runProxy(ctx) })
	}
	if err := a.register(ctx); err != nil {
		return err
	}
	a.running.Go(func() { a.renewLease(ctx) })
	a.watchPods(ctx)
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

// findAPIServer waits for the Service that the API server makes soon after its start.
func (a *Agent) findAPIServer(ctx context.Context) error {
	for {
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		s, err := a.client.CoreV1().Services(metav1.NamespaceDefault).Get(attempt, "kubernetes", metav1.GetOptions{})
		cancel()
		if err != nil && !apierrors.IsNotFound(err) && ctx.Err() == nil {
			a.log.Printf("API server: %v", err)
		}
		if err == nil {
			a.apiServer = s.Spec.ClusterIP
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// settle makes the namespaces fit to live in.
func (a *Agent) settle(ctx context.Context) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := unix.Sethostname([]byte(a.config.Name)); err != nil {
		return err
	}
	if err := os.MkdirAll(a.config.Dir, 0o755); err != nil {
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		return err
	}
	for { // until eth0 is there
		if _, err := netlink.LinkByName("eth0"); err == nil {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
	addr, err := netip.ParseAddr(a.config.Address)
	if err != nil {
		return err
	}
	return plug("eth0", addr, a.config.Router)
}

// runProxy keeps kube-proxy running.
func (a *Agent) runProxy(ctx context.Context) error {
	out, err := os.Create(filepath.Join(a.config.Log, a.config.Name+"-kube-proxy.log"))
	if err != nil {
		return err
	}
	defer out.Close()
	for ctx.Err() == nil {
		args := append(append([]string{}, a.config.ProxyCommand...),
			"--kubeconfig="+a.config.ProxyKubeconfig, "--hostname-override="+a.config.Name, "--proxy-mode=nftables", "--cluster-cidr="+a.config.ClusterNetwork,
			// The table of connections is the machine's: not ours to size.
			"--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0",
			"--iptables-min-sync-period=20ms" /* of nftables too */)
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Run(); err != nil && ctx.Err() == nil {
			a.log.Printf("kube-proxy: %v", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	return nil
}

// watchPods gives each Pod that is bound to this node its own goroutine.
func (a *Agent) watchPods(ctx context.Context) {
	f := informers.NewSharedInformerFactoryWithOptions(a.client, 0, informers.WithTweakListOptions(func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", a.config.Name).String()
	}))
	inf := f.Core().V1().Pods().Informer()
	_, _ = inf.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { a.see(ctx, o.(*corev1.Pod)) },
		UpdateFunc: func(_, o any) { a.see(ctx, o.(*corev1.Pod)) },
		DeleteFunc: func(o any) {
			if d, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = d.Obj
			}
			if p := a.find(o.(*corev1.Pod).UID); p != nil {
				p.end(0) // removed by force
			}
		},
	})
	f.Start(ctx.Done())
	a.running.Go(func() {
		<-ctx.Done()
		f.Shutdown()
	})
}

func (a *Agent) see(ctx context.Context, o *corev1.Pod) {
	o = o.DeepCopy() // its status is written into it
	a.mu.Lock()
	p := a.pods[o.UID]
	if p == nil {
		if o.Status.Phase == corev1.PodSucceeded || o.Status.Phase == corev1.PodFailed {
			a.mu.Unlock()
			if o.DeletionTimestamp != nil {
				a.running.Go(func() { a.newPod(o).remove(ctx) })
			}
			return
		}
		p = a.newPod(o)
		a.pods[o.UID] = p
		a.running.Go(func() {
			p.run(ctx)
			a.mu.Lock()
			delete(a.pods, o.UID)
			a.mu.Unlock()
		})
	}
	a.mu.Unlock()
	p.update(o)
}

func (a *Agent) find(uid types.UID) *pod {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.pods[uid]
}

// named finds a Pod by name; a replaced one may still be ending beside it.
func (a *Agent) named(namespace, name string) (found *pod) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.pods {
		if p.namespace == namespace && p.name == name && (found == nil || p.began.After(found.began.Time)) {
			found = p
		}
	}
	return found
}

func (a *Agent) event(p *pod, kind, reason, message string) {
	a.log.Printf("%s/%s: %s: %s", p.namespace, p.name, reason, message)
	a.recorder.Event(&corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: p.namespace, Name: p.name, UID: p.uid}, kind, reason, message)
}
