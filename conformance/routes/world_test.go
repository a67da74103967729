package routes

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
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
// them once all of them were accepted.
func newWorld(t *testing.T, s *runtime.Scheme, objects []client.Object, backends []*backend) *world {
	t.Helper()
	w := &world{t: t, scheme: s}
	objects = append(objects, &gatewayv1.GatewayClass{ObjectMeta: metav1.ObjectMeta{Name: className}, Spec: gatewayv1.GatewayClassSpec{ControllerName: controller}})
	files := map[string]string{}
	for _, o := range objects {
		if _, ok := o.(*appsv1.Deployment); !ok {
			files[file(s, o)] = text(t, s, o)
		}
		if service, ok := o.(*corev1.Service); ok {
			for _, made := range slices(service, backends) {
				files[file(s, made)] = text(t, s, made)
			}
		}
	}
	w.proxy = harness.Start(t, harness.Options{Files: files})
	for _, o := range objects {
		accept(o)
	}
	for _, b := range backends {
		objects = append(objects, b.object())
	}
	w.client = fake.NewClientBuilder().WithScheme(s).WithObjects(objects...).WithInterceptorFuncs(interceptor.Funcs{Patch: w.patch}).Build()
	w.logs = logsOf(t, backends)
	return w
}

// patch changes an object's file too.
func (w *world) patch(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
	if err := c.Patch(ctx, o, p, opts...); err != nil {
		return err
	}
	w.proxy.Write(file(w.scheme, o), text(w.t, w.scheme, o))
	return nil
}

func conditions[T ~string](types ...T) (all []metav1.Condition) {
	for _, c := range types {
		all = append(all, metav1.Condition{Type: string(c), Status: metav1.ConditionTrue, Reason: string(c), LastTransitionTime: metav1.Now()})
	}
	return all
}

// refused are routes of the suite whose hostnames no listener has.
var refused = map[string]bool{"no-intersecting-hosts": true}

// accept writes the status of an object with which all is well.
func accept(o client.Object) {
	parents := func(refs []gatewayv1.ParentReference) (all []gatewayv1.RouteParentStatus) {
		group, kind, namespace := gatewayv1.Group(gatewayv1.GroupName), gatewayv1.Kind("Gateway"), gatewayv1.Namespace(o.GetNamespace())
		for i := range refs { // an API server's defaults
			refs[i].Group, refs[i].Kind = &group, &kind
		}
		for _, p := range refs {
			if p.Namespace == nil {
				p.Namespace = &namespace
			}
			status := gatewayv1.RouteParentStatus{ParentRef: p, ControllerName: controller, Conditions: conditions(gatewayv1.RouteConditionAccepted, gatewayv1.RouteConditionResolvedRefs)}
			if refused[o.GetName()] {
				status.Conditions[0].Status, status.Conditions[0].Reason = metav1.ConditionFalse, string(gatewayv1.RouteReasonNoMatchingListenerHostname)
			}
			all = append(all, status)
		}
		return all
	}
	switch x := o.(type) {
	case *gatewayv1.HTTPRoute:
		x.Status.Parents = parents(x.Spec.ParentRefs)
	case *gatewayv1.GRPCRoute:
		x.Status.Parents = parents(x.Spec.ParentRefs)
	case *gatewayv1.Gateway:
		address := gatewayv1.IPAddressType
		x.Status.Addresses = []gatewayv1.GatewayStatusAddress{{Type: &address, Value: "127.0.0.1"}}
		x.Status.Conditions = conditions(gatewayv1.GatewayConditionAccepted, gatewayv1.GatewayConditionProgrammed)
		for _, l := range x.Spec.Listeners {
			x.Status.Listeners = append(x.Status.Listeners, gatewayv1.ListenerStatus{Name: l.Name, AttachedRoutes: 1, Conditions: conditions(gatewayv1.ListenerConditionAccepted, gatewayv1.ListenerConditionProgrammed, gatewayv1.ListenerConditionResolvedRefs)})
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
