// Package kinds asks a real API server what it takes and what it refuses: objects
// of Penstock's own kinds, and others with its annotations.
package kinds

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"

	"penstock.dev/penstock/conformance/kubernetes/testbed"
)

// server is the API server of all tests.
type server struct {
	bed    *testbed.Testbed
	root   string
	client dynamic.Interface
	mapper *restmapper.DeferredDiscoveryRESTMapper
}

var api *server

func TestMain(m *testing.M) {
	testbed.Enter()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	bed, err := testbed.Start(ctx, testbed.Options{Nodes: 1, Log: func(format string, args ...any) { fmt.Printf(format+"\n", args...) }})
	if err == nil {
		defer bed.Stop()
		api, err = prepare(ctx, bed)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// old is there before the policies are.
const old = `
apiVersion: v1
kind: Service
metadata: {name: old, namespace: default, annotations: {penstock.dev/plugins: "use: jwt", penstock.dev/plugin: "[]"}}
spec: {ports: [{port: 80}]}
`

func prepare(ctx context.Context, bed *testbed.Testbed) (*server, error) {
	root, err := testbed.Root()
	if err != nil {
		return nil, err
	}
	config := *bed.Config
	config.QPS = -1
	s := &server{bed: bed, root: root}
	if s.client, err = dynamic.NewForConfig(&config); err != nil {
		return nil, err
	}
	found, err := discovery.NewDiscoveryClientForConfig(&config)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(bed.Apply(ctx, filepath.Join(root, "k8s", "api", "crds")), bed.ApplyText(ctx, old)); err != nil {
		return nil, err
	}
	s.mapper = restmapper.NewDeferredDiscoveryRESTMapper(cached{found})
	if err := bed.Apply(ctx, filepath.Join(root, "k8s", "manifests", "60-admission.yaml")); err != nil {
		return nil, err
	}
	for _, probe := range []string{annotated("v1", "Service", `penstock.dev/x: ""`), annotated("v1", "ConfigMap", `penstock.dev/x: ""`)} {
		for s.create(ctx, parse(probe)[0]) == nil { // the server takes a moment to read its policies
			select {
			case <-ctx.Done():
				return nil, fmt.Errorf("the policy does nothing: %w", ctx.Err())
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	return s, nil
}

// cached lets a mapper ask once.
type cached struct{ *discovery.DiscoveryClient }

func (cached) Fresh() bool { return true }
func (cached) Invalidate() {}

// parse reads a stream of documents; it panics if they are not YAML.
func parse(text string) []*unstructured.Unstructured {
	all, err := testbed.Decode([]byte(text))
	if err != nil {
		panic(fmt.Sprintf("%v in\n%s", err, text))
	}
	return all
}

func (s *server) at(o *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	kind := o.GroupVersionKind()
	mapping, err := s.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return nil, err
	}
	if mapping.Scope.Name() == "namespace" {
		o.SetNamespace("default")
		return s.client.Resource(mapping.Resource).Namespace("default"), nil
	}
	return s.client.Resource(mapping.Resource), nil
}

// create asks whether the object would be taken; nothing is kept.
func (s *server) create(ctx context.Context, o *unstructured.Unstructured) error {
	at, err := s.at(o)
	if err != nil {
		return err
	}
	_, err = at.Create(ctx, o, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict})
	return err
}

// judge fails if the server's word is another; want is what it says, empty: it
// takes the object.
func (s *server) judge(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("refused: %v", err)
	case want != "" && err == nil:
		t.Errorf("taken; want %q", want)
	case want != "" && !strings.Contains(err.Error(), want):
		t.Errorf("got %v; want %q", err, want)
	}
}

// kubectl runs it and returns what it prints.
func (s *server) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), filepath.Join(s.root, "bin", "testbed", "kubectl"), append([]string{"--kubeconfig", s.bed.Kubeconfig}, args...)...)
	var out, problems bytes.Buffer
	c.Stdout, c.Stderr = &out, &problems
	if err := c.Run(); err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, &problems)
	}
	return out.String()
}
