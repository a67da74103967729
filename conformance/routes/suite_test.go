package routes

import (
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
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
	"BackendTLSPolicyObservedGenerationBump":       noGeneration,
	"GatewayClassObservedGenerationBump":           noGeneration,
	"GatewayHTTPListenerIsolation":                 onePort,
	"GatewayInvalidTLSBackendConfiguration":        onePort,
	"GatewayInvalidTLSConfiguration":               onePort,
	"GatewayInfrastructureMetadata":                "there is nothing for labels: a Gateway of files has no Service",
	"GatewayModifyListeners":                       noGeneration,
	"GatewayObservedGenerationBump":                noGeneration,
	"GatewayStaticAddresses":                       "the machine has the addresses that it has: a Gateway cannot ask for one",
	"HTTPRouteMultipleGateways":                    onePort,
	"HTTPRouteObservedGenerationBump":              noGeneration,
	"TLSRouteInvalidNoMatchingListener":            onePort,
	"TLSRouteListenerMixedTerminationNotSupported": "it is for those that do not support what we do",
	"TLSRouteListenerTerminateNotSupported":        "it is for those that do not support what we do",
}

const (
	noGeneration = "objects in files have no generation"
	onePort      = "it has Gateways with one port, which files tell apart by hostname alone"
)

// made is what the suite makes itself at its start.
func made(t *testing.T) (all []client.Object) {
	infra, app := suite.InfrastructureNamespace, suite.AppBackendNamespace
	all = append(all,
		kubernetes.MustCreateSelfSignedCertSecret(t, suite.WebBackendNamespace, "certificate", []string{"*"}),
		kubernetes.MustCreateSelfSignedCertSecret(t, infra, "tls-validity-checks-certificate", []string{"*", "*.org", "*.wildcard.org"}))
	for _, name := range []string{"tls-validity-checks", "tls-validity-checks-per-port", "tls-checks"} {
		authority, ca, key := kubernetes.MustCreateCACertConfigMap(t, infra, name+"-ca-certificate")
		all = append(all, authority, kubernetes.MustCreateCASignedClientCertSecret(t, infra, name+"-client-certificate", ca, key))
		if name != "tls-checks" {
			continue
		}
		all = append(all,
			kubernetes.MustCreateCASignedCertSecret(t, infra, "tls-checks-certificate", []string{"abc.example.com", "spiffe://abc.example.com/test-identity", "other.example.com"}, ca, key),
			kubernetes.MustCreateCASignedCertSecret(t, infra, "tls-passthrough-checks-certificate", []string{"abc.example.com"}, ca, key),
			kubernetes.MustCreateCASignedCertSecret(t, app, "tls-passthrough-checks-certificate", []string{"abc.example.com"}, ca, key),
			kubernetes.MustCreateCASignedCertSecret(t, infra, "tls-terminate-checks-certificate", []string{"tls.example.com"}, ca, key))
	}
	for namespace, name := range map[string]string{suite.WebBackendNamespace: "web-backend-cm", infra: "mismatch-ca-certificate"} {
		authority, _, _ := kubernetes.MustCreateCACertConfigMap(t, namespace, name)
		all = append(all, authority)
	}
	return all
}

// TestSuite runs every test of the suite but those of meshes.
func TestSuite(t *testing.T) {
	s := scheme(t)
	base := append(manifests(t, s, "base/manifests.yaml"), made(t)...)
	backends := startBackends(t, base, 0)
	timeouts := config.DefaultTimeoutConfig()
	for _, limit := range []*time.Duration{
		&timeouts.GatewayMustHaveAddress, &timeouts.RouteMustHaveParents, &timeouts.HTTPRouteMustHaveCondition, &timeouts.GatewayMustHaveCondition,
		&timeouts.GatewayStatusMustHaveListeners, &timeouts.GatewayListenersMustHaveConditions, &timeouts.ListenerSetMustHaveCondition,
		&timeouts.ListenerSetListenersMustHaveConditions, &timeouts.GWCMustBeAccepted, &timeouts.HTTPRouteMustNotHaveParents, &timeouts.TLSRouteMustHaveCondition,
		&timeouts.TCPRouteMustHaveCondition, &timeouts.UDPRouteMustHaveCondition, &timeouts.LatestObservedGenerationSet,
	} {
		*limit = 5 * time.Second
	}
	timeouts.NamespacesMustBeReady = 5 * time.Second
	timeouts.MaxTimeToConsistency, timeouts.DefaultTestTimeout = 15*time.Second, 15*time.Second
	ran := 0
	for _, test := range tests.ConformanceTests {
		if strings.HasPrefix(test.ShortName, "Mesh") {
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
			all := append(reached(base, objects), objects...)
			own := startBackends(t, append(slices.DeleteFunc(slices.Clone(all), isDeployment), slices.DeleteFunc(slices.Clone(objects), func(o client.Object) bool { return !isDeployment(o) })...), len(backends))
			w := newWorld(t, s, all, append(slices.Clone(backends), own...), "")
			test.Test(t, &suite.ConformanceTestSuite{
				Client: w.client, Clientset: w.logs, TimeoutConfig: timeouts, GatewayClassName: className, ControllerName: controller,
				RoundTripper:    &roundtripper.DefaultRoundTripper{TimeoutConfig: timeouts},
				WebSocketDialer: &websocket.DefaultDialer{},
			})
		})
	}
	if ran < 100 {
		t.Errorf("the suite has %d tests; want at least 100", ran)
	}
}

func isDeployment(o client.Object) bool {
	_, ok := o.(*appsv1.Deployment)
	return ok
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
		case *gatewayv1.TLSRoute:
			refs = x.Spec.ParentRefs
		case *gatewayv1.TCPRoute:
			refs = x.Spec.ParentRefs
		case *gatewayv1.UDPRoute:
			refs = x.Spec.ParentRefs
		case *gatewayv1.ListenerSet:
			named[string(x.Spec.ParentRef.Name)] = true
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
