package testbed

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"penstock.dev/penstock/conformance/kubernetes/node"
)

// startNode starts node i: its agent, which starts kube-proxy, in namespaces of
// its own.
func (t *Testbed) startNode(i int) error {
	name := fmt.Sprintf("node-%d", i)
	server := "https://" + ControlAddress + ":6443"
	kubeconfig, err := t.pki.kubeconfig(name, subject{user: "system:node:" + name, groups: []string{"system:nodes"}}, server)
	if err != nil {
		return err
	}
	proxy, err := t.pki.kubeconfig(name+"-proxy", subject{user: "system:kube-proxy"}, server)
	if err != nil {
		return err
	}
	if err := t.pki.issue(name+"-server", subject{addresses: []string{nodeAddress(i)}}); err != nil {
		return err
	}
	zone := "zone-a"
	if i%2 == 0 {
		zone = "zone-b"
	}
	config := node.Config{
		Name: name, Zone: zone, Address: nodeAddress(i), PodNetwork: podNetwork(i),
		Router: ControlAddress, DNS: ControlAddress, ClusterNetwork: PodNetwork,
		Kubeconfig: kubeconfig, ProxyKubeconfig: proxy, ProxyCommand: []string{filepath.Join(t.options.Bin, "controlplane"), "kube-proxy"},
		CA: dir("pki", "ca.crt"), Certificate: dir("pki", name+"-server.crt"), Key: dir("pki", name+"-server.key"),
		Dir: dir("node", name), Log: dir("log"), Images: t.options.Images, CNI: t.options.CNI, Backoff: t.options.Backoff,
	}
	if err := config.Absolute(); err != nil {
		return err
	}
	text, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return err
	}
	file := dir("node", name+".json")
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return err
	}
	p := &Process{
		Name: name, args: []string{filepath.Join(t.options.Bin, "node"), "run", file}, flags: nodeFlags,
		after: func(pid int) error {
			defer t.balancer.relink()
			return connect(i, pid)
		},
	}
	t.Nodes = append(t.Nodes, p)
	return p.start()
}

func (t *Testbed) waitNodes(ctx context.Context) error {
	needed := slices.AppendSeq(slices.Clone(t.Nodes), maps.Values(t.ControlPlane))
	return waitFor(ctx, "nodes", time.Minute, func() error {
		nodes, err := t.Client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		ready := 0
		for _, n := range nodes.Items {
			if nodeReady(&n) && len(n.Spec.Taints) == 0 {
				ready++
			}
		}
		if ready < t.options.Nodes {
			return fmt.Errorf("%d of %d are ready", ready, t.options.Nodes)
		}
		return nil
	}, needed...)
}

func nodeReady(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
