// Package parity has the same objects served from files and from a cluster, and
// compares what the two make of them.
package parity

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/yaml"

	"penstock.dev/penstock/conformance/kubernetes/node"
	"penstock.dev/penstock/conformance/kubernetes/testbed"
)

const (
	filesAdmin   = "127.0.0.1:9901"
	clusterAdmin = "127.0.0.1:9902"
)

// pair is two proxies: one on a folder, one on the cluster.
type pair struct {
	bed    *testbed.Testbed
	root   string
	dir    string
	client dynamic.Interface
	mapper *restmapper.DeferredDiscoveryRESTMapper
	turn   int
}

// marker is a Gateway of no other port.
const marker = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: marker, namespace: default}
spec: {gatewayClassName: penstock, listeners: [{name: turn, port: 9999, protocol: HTTP, hostname: %s}]}
`

var two *pair

func TestMain(m *testing.M) {
	testbed.Enter()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	images, err := images()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	bed, err := testbed.Start(ctx, testbed.Options{Nodes: 1, Images: images, Log: func(format string, args ...any) { fmt.Printf(format+"\n", args...) }})
	if err == nil {
		defer bed.Stop()
		two, err = start(ctx, bed)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func images() (map[string]node.Image, error) {
	root, err := testbed.Root()
	if err != nil {
		return nil, err
	}
	return testbed.Images(root)
}

const class = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: penstock}
spec: {controllerName: penstock.dev/gateway-controller}
---
apiVersion: v1
kind: Namespace
metadata: {name: penstock-system}
`

func start(ctx context.Context, bed *testbed.Testbed) (*pair, error) {
	root, err := testbed.Root()
	if err != nil {
		return nil, err
	}
	p := &pair{bed: bed, root: root}
	if p.dir, err = os.MkdirTemp("", "parity"); err != nil {
		return nil, err
	}
	config := *bed.Config
	config.QPS = -1
	if p.client, err = dynamic.NewForConfig(&config); err != nil {
		return nil, err
	}
	found, err := discovery.NewDiscoveryClientForConfig(&config)
	if err != nil {
		return nil, err
	}
	p.mapper = restmapper.NewDeferredDiscoveryRESTMapper(cached{found})
	if err := bed.Apply(ctx, filepath.Join(root, "k8s", "api", "crds")); err != nil {
		return nil, err
	}
	for _, o := range parse(class) {
		if err := p.put(ctx, o); err != nil {
			return nil, err
		}
	}
	for name, args := range map[string][]string{
		"files":   {"--admin", filesAdmin, "--bind", "127.0.0.2", "--config", p.dir},
		"cluster": {"--admin", clusterAdmin, "--bind", "127.0.0.3", "--kubernetes", "--kubeconfig", bed.Kubeconfig, "--host-ports"},
	} {
		c := exec.CommandContext(ctx, filepath.Join(root, "bin", "penstock"), append([]string{
			"run", "--access-log", "off", "--images", filepath.Join(root, "build", "plugins"), "--state", filepath.Join(p.dir, "..", "state-"+filepath.Base(p.dir)+name),
		}, args...)...)
		log, err := os.Create(filepath.Join(bed.Logs(), "penstock-"+name+".log"))
		if err != nil {
			return nil, err
		}
		c.Stdout, c.Stderr = log, log
		c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := c.Start(); err != nil {
			return nil, err
		}
	}
	return p, nil
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

func (p *pair) at(o *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	kind := o.GroupVersionKind()
	mapping, err := p.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return nil, err
	}
	if mapping.Scope.Name() == "namespace" {
		if o.GetNamespace() == "" {
			o.SetNamespace("default")
		}
		return p.client.Resource(mapping.Resource).Namespace(o.GetNamespace()), nil
	}
	return p.client.Resource(mapping.Resource), nil
}

// put gives an object to the API server, and then to the folder, as its author wrote
// it, with the time of its creation, which decides conflicts.
func (p *pair) put(ctx context.Context, o *unstructured.Unstructured) error {
	at, err := p.at(o)
	if err != nil {
		return err
	}
	body, err := o.MarshalJSON()
	if err != nil {
		return err
	}
	force := true
	made, err := at.Patch(ctx, o.GetName(), types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: "parity", Force: &force})
	if err != nil {
		return fmt.Errorf("%s: %w", id(o), err)
	}
	written := o.DeepCopy()
	written.SetCreationTimestamp(made.GetCreationTimestamp())
	if o.GetKind() == "Namespace" {
		written.SetLabels(made.GetLabels()) // the API server adds its name
	}
	text, err := yaml.Marshal(written.Object)
	if err != nil {
		return err
	}
	file := filepath.Join(p.dir, strings.ToLower(strings.ReplaceAll(id(o), "/", "."))+".yaml")
	if err := os.WriteFile(file+".new", text, 0o644); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

func (p *pair) remove(ctx context.Context, o *unstructured.Unstructured) error {
	at, err := p.at(o)
	if err != nil {
		return err
	}
	if err := at.Delete(ctx, o.GetName(), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	return os.Remove(filepath.Join(p.dir, strings.ToLower(strings.ReplaceAll(id(o), "/", "."))+".yaml"))
}

func id(o *unstructured.Unstructured) string {
	return o.GetKind() + "/" + o.GetNamespace() + "/" + o.GetName()
}

// config is what a proxy runs.
func config(admin string) (map[string]any, error) {
	client := http.Client{Timeout: 5 * time.Second}
	r, err := client.Get("http://" + admin + "/config")
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err == nil && r.StatusCode != 200 {
		err = fmt.Errorf("%s: %d: %s", admin, r.StatusCode, body)
	}
	if err != nil {
		return nil, err
	}
	var c map[string]any
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	return c, d.Decode(&c)
}

// same waits until both proxies run the same, all that was put before.
func (p *pair) same(t *testing.T) {
	t.Helper()
	p.turn++
	hostname := fmt.Sprintf("turn-%d.example", p.turn)
	// A folder is read as a whole: with this one, all that came before was read.
	if err := p.put(t.Context(), parse(fmt.Sprintf(marker, hostname))[0]); err != nil {
		t.Fatal(err)
	}
	var why error
	size := 0
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		why = func() error {
			a, err := config(filesAdmin)
			if err != nil {
				return err
			}
			b, err := config(clusterAdmin)
			if err != nil {
				return err
			}
			if !strings.Contains(text(a), hostname) {
				return fmt.Errorf("the folder was not read: %.300s", text(a))
			}
			size = len(text(a))
			if a["Forbidden"] != nil || b["Forbidden"] == nil {
				return fmt.Errorf("forbidden addresses: files %s, cluster %s: want them for the cluster alone", text(a["Forbidden"]), text(b["Forbidden"]))
			}
			delete(a, "Forbidden")
			delete(b, "Forbidden")
			withoutUIDs(a)
			withoutUIDs(b)
			if d := differences("", a, b); len(d) > 0 {
				return errors.New(strings.Join(d[:min(len(d), 20)], "\n"))
			}
			return nil
		}()
		if why == nil {
			t.Logf("the same %d bytes", size)
			return
		}
	}
	t.Errorf("files and cluster differ (file: cluster):\n%v", why)
}

// withoutUIDs takes the UIDs of Services out of what the keys of a cache begin with: a
// folder's are made of names.
func withoutUIDs(v any) {
	switch x := v.(type) {
	case map[string]any:
		if scope, ok := x["CacheScope"].(string); ok && scope != "" {
			namespace, _, _ := strings.Cut(scope, "/")
			x["CacheScope"] = namespace + "/uid" + scope[strings.LastIndexByte(scope, ':'):]
		}
		for _, e := range x {
			withoutUIDs(e)
		}
	case []any:
		for _, e := range x {
			withoutUIDs(e)
		}
	}
}

func TestDifferences(t *testing.T) {
	var a, b map[string]any
	for to, text := range map[*map[string]any]string{&a: `{"x": [1, {"y": "z"}], "only": 1, "n": {}}`, &b: `{"x": [1, {"y": "other"}], "n": []}`} {
		if err := json.Unmarshal([]byte(text), to); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{".n: {}: []", ".only: 1: null", `.x[1].y: "z": "other"`}
	if got := differences("", a, b); !slices.Equal(got, want) {
		t.Errorf("got %q; want %q", got, want)
	}
}

// differences lists where two trees differ.
func differences(path string, a, b any) (all []string) {
	if reflect.DeepEqual(a, b) {
		return nil
	}
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok {
			break
		}
		keys := maps.Clone(x)
		maps.Copy(keys, y)
		for _, k := range slices.Sorted(maps.Keys(keys)) {
			all = append(all, differences(path+"."+k, x[k], y[k])...)
		}
		return all
	case []any:
		y, ok := b.([]any)
		if !ok || len(x) != len(y) {
			break
		}
		for i := range x {
			all = append(all, differences(fmt.Sprintf("%s[%d]", path, i), x[i], y[i])...)
		}
		return all
	}
	return []string{fmt.Sprintf("%s: %.300s: %.300s", path, text(a), text(b))}
}

func text(v any) string {
	out, _ := json.Marshal(v)
	return string(out)
}
