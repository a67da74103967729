package routes

import (
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/conformance/tests"
	"sigs.k8s.io/gateway-api/conformance/utils/config"
	"sigs.k8s.io/gateway-api/conformance/utils/kubernetes"
	"sigs.k8s.io/gateway-api/conformance/utils/roundtripper"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
	"sigs.k8s.io/gateway-api/conformance/utils/websocket"
)

// left are the suite's tests that do not run here, and why.
var left = map[string]string{
	"HTTPRouteMultipleGateways":       "it has two Gateways with one port, which files tell apart by hostname alone",
	"HTTPRouteObservedGenerationBump": "objects in files have no generation",
}

// TestSuite runs every test of the suite for HTTPRoutes and GRPCRoutes.
func TestSuite(t *testing.T) {
	s := scheme(t)
	base := manifests(t, s, "base/manifests.yaml")
	base = append(base, kubernetes.MustCreateSelfSignedCertSecret(t, suite.InfrastructureNamespace, "tls-validity-checks-certificate", []string{"*", "*.org", "*.wildcard.org"}))
	backends := startBackends(t, base)
	timeouts := config.DefaultTimeoutConfig()
	timeouts.GatewayMustHaveAddress, timeouts.RouteMustHaveParents, timeouts.HTTPRouteMustHaveCondition = 5*time.Second, 5*time.Second, 5*time.Second
	timeouts.MaxTimeToConsistency = 15 * time.Second
	ran := 0
	for _, test := range tests.ConformanceTests {
		if !strings.HasPrefix(test.ShortName, "HTTPRoute") && !strings.HasPrefix(test.ShortName, "GRPC") {
			continue
		}
		ran++
		t.Run(test.ShortName, func(t *testing.T) {
			if why, ok := left[test.ShortName]; ok {
				t.Skip(why)
			}
			var objects []client.Object
			for _, name := range test.Manifests {
				objects = append(objects, manifests(t, s, name)...)
			}
			w := newWorld(t, s, append(reached(base, objects), objects...), backends, "")
			test.Test(t, &suite.ConformanceTestSuite{
				Client: w.client, Clientset: w.logs, TimeoutConfig: timeouts, GatewayClassName: className, ControllerName: controller,
				RoundTripper:    &roundtripper.DefaultRoundTripper{TimeoutConfig: timeouts},
				WebSocketDialer: &websocket.DefaultDialer{},
			})
		})
	}
	if ran < 50 {
		t.Errorf("the suite has %d tests for routes; want at least 50", ran)
	}
}

// reached returns what of the base a test needs: all but the Gateways that none of its
// routes name, since all Gateways of a folder share their ports.
func reached(base, objects []client.Object) (all []client.Object) {
	named := map[string]bool{}
	for _, o := range objects {
		var refs []gatewayv1.ParentReference
		switch x := o.(type) {
		case *gatewayv1.HTTPRoute:
			refs = x.Spec.ParentRefs
		case *gatewayv1.GRPCRoute:
			refs = x.Spec.ParentRefs
		}
		for _, p := range refs {
			named[string(p.Name)] = true
		}
	}
	for _, o := range base {
		if g, ok := o.(*gatewayv1.Gateway); !ok || named[g.Name] {
			all = append(all, o.DeepCopyObject().(client.Object))
		}
	}
	return all
}
