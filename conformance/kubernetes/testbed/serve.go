package testbed

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"penstock.dev/penstock/conformance/kubernetes/node"
)

// Images are the images that a built repository has, by name: penstock, a
// registry, and what the Gateway API suite and the testbed's own tests use.
func Images(root string) (map[string]node.Image, error) {
	bin := filepath.Join(root, "bin")
	images := map[string]node.Image{
		"registry.k8s.io/gateway-api/echo-basic": {Program: filepath.Join(bin, "testbed", "echo-basic")},
		"registry.k8s.io/coredns/coredns":        {Program: filepath.Join(bin, "testbed", "whoami")},
		"testbed":                                {Program: filepath.Join(bin, "testbed", "tool")},
		"registry":                               {Program: filepath.Join(bin, "testbed", "registry")},
	}
	for name, i := range images {
		if _, err := os.Stat(i.Program); err != nil {
			return nil, fmt.Errorf("image %s: %w: run make testbed-build", name, err)
		}
	}
	if program := filepath.Join(bin, "penstock"); exists(program) {
		i := node.Image{Program: program, User: 65532}
		if layout := filepath.Join(root, "build", "plugins"); exists(layout) {
			i.Files = map[string]string{"/plugins": layout}
		}
		images["penstock"] = i
	}
	return images, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Serve lets clients of the machine reach the API server through l until ctx is
// done, and tells people how: a kubeconfig is written to the folder bin.
func (t *Testbed) Serve(ctx context.Context, l net.Listener, bin string) error {
	file, err := t.pki.kubeconfig("outside", subject{user: "admin", groups: []string{"system:masters"}}, "https://"+l.Addr().String())
	if err != nil {
		return err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	out := filepath.Join(bin, "kubeconfig")
	if err := os.WriteFile(out, text, 0o600); err != nil {
		return err
	}
	defer os.Remove(out)
	fmt.Printf(`
  export KUBECONFIG=%s
  %s get nodes

In the cluster's network, where Pods, ClusterIPs and load balancer addresses (%s) answer:

  nsenter --preserve-credentials -U -n -t $(pgrep -P %s) curl http://ADDRESS

Ctrl-C takes all away. Logs: nsenter --preserve-credentials -U -m -t $(pgrep -P %s) ls %s
`, out, filepath.Join(bin, "kubectl"), LoadBalancerPool, os.Getenv(parent), os.Getenv(parent), t.Logs())
	return forward(ctx, l, ControlAddress+":6443")
}
