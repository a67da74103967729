package routes

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"
	"sigs.k8s.io/gateway-api/conformance"
	"sigs.k8s.io/yaml"

	"penstock.dev/penstock/conformance/harness"
)

const (
	className  = "penstock"
	controller = "penstock.dev/gateway-controller"
)

// scheme knows the kinds that the suite's manifests have.
func scheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{gatewayv1.Install, gatewayv1beta1.Install, corev1.AddToScheme, appsv1.AddToScheme, discoveryv1.AddToScheme} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// manifests reads one of the suite's files.
func manifests(t *testing.T, s *runtime.Scheme, name string) (all []client.Object) {
	t.Helper()
	text, err := fs.ReadFile(conformance.Manifests, name)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.ReplaceAll(text, []byte("{GATEWAY_CLASS_NAME}"), []byte(className))
	return decode(t, s, name, text)
}

// decode reads a stream of documents.
func decode(t *testing.T, s *runtime.Scheme, name string, text []byte) (all []client.Object) {
	t.Helper()
	read := serializer.NewCodecFactory(s).UniversalDeserializer()
	for _, document := range bytes.Split(text, []byte("\n---")) {
		if asJSON, err := yaml.YAMLToJSON(document); err != nil || string(asJSON) == "null" {
			continue
		}
		o, _, err := read.Decode(document, nil, nil)
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, document)
		}
		all = append(all, o.(client.Object))
	}
	return all
}

// world is a proxy with the objects of one test.
type world struct {
	t      *testing.T
	scheme *runtime.Scheme
	proxy  *harness.Proxy
	client client.Client
	logs   clientset.Interface
}

// file is what an object's file is called.
func file(s *runtime.Scheme, o client.Object) string {
	kinds, _, _ := s.ObjectKinds(o)
	return strings.ToLower(fmt.Sprintf("%s.%s.%s.yaml", kinds[0].Kind, o.GetNamespace(), o.GetName()))
}

func text(t *testing.T, s *runtime.Scheme, o client.Object) string {
	t.Helper()
	kinds, _, err := s.ObjectKinds(o)
	if err != nil {
		t.Fatal(err)
	}
	o = o.DeepCopyObject().(client.Object)
	o.GetObjectKind().SetGroupVersionKind(kinds[0])
	o.SetResourceVersion("")
	out, err := yaml.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// newWorld starts a proxy on the objects. The suite sees them as a cluster would show
// them: with the statuses that `penstock check --status` writes. chains are
// PluginChains of bundled plugins; empty: none.
func newWorld(t *testing.T, s *runtime.Scheme, objects []client.Object, backends []*backend, chains string) *world {
	t.Helper()
	w := &world{t: t, scheme: s}
	objects = append(objects, &gatewayv1.GatewayClass{ObjectMeta: metav1.ObjectMeta{Name: className}, Spec: gatewayv1.GatewayClassSpec{ControllerName: controller}})
	files := map[string]string{}
	for _, o := range objects {
		defaults(o)
		if _, ok := o.(*appsv1.Deployment); !ok {
			files[file(s, o)] = text(t, s, o)
		}
		if service, ok := o.(*corev1.Service); ok {
			for _, made := range slicesOf(service, backends) {
				files[file(s, made)] = text(t, s, made)
			}
		}
	}
	options := harness.Options{Files: files, Args: []string{"--drain", "1s"}} // the suite leaves connections open
	if chains != "" {
		options.Files["chains.yaml"], options.Images = chains, []string{harness.BundledPlugins(t)}
	}
	w.proxy = harness.Start(t, options)
	w.judge(objects)
	for _, b := range backends {
		objects = append(objects, b.object())
	}
	w.client = fake.NewClientBuilder().WithScheme(s).WithObjects(objects...).WithInterceptorFuncs(interceptor.Funcs{Create: w.create, Update: w.update, Patch: w.patch, Delete: w.remove}).Build()
	w.logs = logsOf(t, backends)
	return w
}

// patch changes an object's file too.
func (w *world) patch(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
	if err := c.Patch(ctx, o, p, opts...); err != nil {
		return err
	}
	w.proxy.Write(file(w.scheme, o), text(w.t, w.scheme, o))
	return w.refresh(ctx, c)
}

// create makes an object's file too.
func (w *world) create(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
	defaults(o)
	if at := o.GetCreationTimestamp(); at.IsZero() {
		o.SetCreationTimestamp(metav1.Now())
	}
	if err := c.Create(ctx, o, opts...); err != nil {
		return err
	}
	w.proxy.Write(file(w.scheme, o), text(w.t, w.scheme, o))
	return w.refresh(ctx, c)
}

// update changes an object's file too.
func (w *world) update(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
	if err := c.Update(ctx, o, opts...); err != nil {
		return err
	}
	w.proxy.Write(file(w.scheme, o), text(w.t, w.scheme, o))
	return w.refresh(ctx, c)
}

// remove removes an object's file too.
func (w *world) remove(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
	return errors.Join(c.Delete(ctx, o, opts...), os.Remove(filepath.Join(w.proxy.Dir, file(w.scheme, o))), w.refresh(ctx, c))
}

// refresh gives all objects the status that they have now.
func (w *world) refresh(ctx context.Context, c client.Client) error {
	var all []client.Object
	for _, list := range []client.ObjectList{
		&gatewayv1.GatewayList{}, &gatewayv1.GatewayClassList{}, &gatewayv1.ListenerSetList{}, &gatewayv1.HTTPRouteList{}, &gatewayv1.GRPCRouteList{},
		&gatewayv1.TLSRouteList{}, &gatewayv1.TCPRouteList{}, &gatewayv1.UDPRouteList{}, &gatewayv1.BackendTLSPolicyList{},
	} {
		if err := c.List(ctx, list); err != nil {
			return err
		}
		objects, err := meta.ExtractList(list)
		if err != nil {
			return err
		}
		for _, o := range objects {
			all = append(all, o.(client.Object))
		}
	}
	w.judge(all)
	var err error
	for _, o := range all {
		err = errors.Join(err, c.Update(ctx, o))
	}
	return err
}

// judge writes the statuses of objects. An address is what a cluster has beside them.
func (w *world) judge(objects []client.Object) {
	w.t.Helper()
	var problems bytes.Buffer
	check := exec.Command(harness.Binary(w.t), "check", "--status", "--no-plugins", w.proxy.Dir)
	check.Stderr = &problems
	out, err := check.Output() // exit 1: something is wrong with them
	var said map[string]json.RawMessage
	if wrong := yaml.Unmarshal(out, &said); wrong != nil || len(said) == 0 {
		w.t.Fatalf("penstock check: %v, %v\n%s\n%s", err, wrong, out, &problems)
	}
	for _, o := range objects {
		kinds, _, _ := w.scheme.ObjectKinds(o)
		name := kinds[0].Kind + "/" + o.GetNamespace() + "/" + o.GetName()
		if o.GetNamespace() == "" {
			name = kinds[0].Kind + "/" + o.GetName()
		}
		status, ok := said[name]
		if !ok {
			continue
		}
		if err := json.Unmarshal([]byte(fmt.Sprintf(`{"status": %s}`, status)), o); err != nil {
			w.t.Fatal(err)
		}
		if g, ok := o.(*gatewayv1.Gateway); ok {
			address := gatewayv1.IPAddressType
			g.Status.Addresses = []gatewayv1.GatewayStatusAddress{{Type: &address, Value: "127.0.0.1"}}
		}
	}
}

// defaults fills in what an API server does.
func defaults(o client.Object) {
	group, kind := gatewayv1.Group(gatewayv1.GroupName), gatewayv1.Kind("Gateway")
	var refs []gatewayv1.ParentReference
	switch x := o.(type) {
	case *gatewayv1.HTTPRoute:
		refs = x.Spec.ParentRefs
	case *gatewayv1.GRPCRoute:
		refs = x.Spec.ParentRefs
	case *gatewayv1.TLSRoute:
		refs = x.Spec.ParentRefs
	case *gatewayv1.TCPRoute:
		refs = x.Spec.ParentRefs
	case *gatewayv1.UDPRoute:
		refs = x.Spec.ParentRefs
	}
	for i := range refs {
		if refs[i].Group == nil {
			refs[i].Group = &group
		}
		if refs[i].Kind == nil {
			refs[i].Kind = &kind
		}
	}
}

// logsOf is an API server that has the Pods' logs and nothing else.
func logsOf(t *testing.T, backends []*backend) clientset.Interface {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/namespaces/{namespace}/pods/{pod}/log", func(w http.ResponseWriter, r *http.Request) {
		for _, b := range backends {
			if b.deployment.Namespace == r.PathValue("namespace") && b.pod() == r.PathValue("pod") {
				_, _ = w.Write([]byte(b.printed()))
			}
		}
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return clientset.NewForConfigOrDie(&rest.Config{Host: server.URL})
}
