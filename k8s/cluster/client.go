package cluster

import (
	"errors"
	"fmt"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/transport"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"

	"penstock.dev/penstock/k8s/api"
)

// The versions of Gateway API that are read.
var (
	gatewayGV = schema.GroupVersion(gatewayv1.GroupVersion)
	grantGV   = schema.GroupVersion(gatewayv1beta1.GroupVersion)
)

// object is what an API server keeps.
type object interface {
	metav1.Object
	runtime.Object
}

// clients speak with an API server, one for each group and version.
type clients struct {
	scheme *runtime.Scheme
	byGV   map[schema.GroupVersion]*rest.RESTClient
}

// newClients returns clients for what this package reads and writes. Requests are
// not held back here: what is written is paced by its writer, and a server that
// has too many says so (429, Retry-After), which client-go heeds.
func newClients(cfg *rest.Config) (*clients, error) {
	c := &clients{scheme: runtime.NewScheme(), byGV: map[schema.GroupVersion]*rest.RESTClient{}}
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, discoveryv1.AddToScheme, coordinationv1.AddToScheme, eventsv1.AddToScheme,
		gatewayv1.Install, gatewayv1beta1.Install, api.AddToScheme,
	} {
		if err := add(c.scheme); err != nil {
			return nil, err
		}
	}
	metav1.AddToGroupVersion(c.scheme, schema.GroupVersion{Version: "v1"})
	codecs := serializer.NewCodecFactory(c.scheme).WithoutConversion()
	for _, gv := range []schema.GroupVersion{
		corev1.SchemeGroupVersion, discoveryv1.SchemeGroupVersion, gatewayGV, grantGV, api.GroupVersion, eventsv1.SchemeGroupVersion,
	} {
		one := rest.CopyConfig(cfg)
		one.GroupVersion, one.NegotiatedSerializer, one.QPS = &gv, codecs, -1
		one.APIPath = "/apis"
		if gv.Group == "" {
			one.APIPath = "/api"
		}
		if gv.Group == "" || gv == discoveryv1.SchemeGroupVersion || gv == eventsv1.SchemeGroupVersion { // custom resources have no protobuf
			one.ContentType, one.AcceptContentTypes = runtime.ContentTypeProtobuf, runtime.ContentTypeProtobuf+","+runtime.ContentTypeJSON
		}
		client, err := rest.RESTClientFor(one)
		if err != nil {
			return nil, fmt.Errorf("API server: %w", err)
		}
		c.byGV[gv] = client
	}
	return c, nil
}

// connect returns how the API server is reached.
func connect(kubeconfig string) (*rest.Config, error) {
	if kubeconfig != "" {
		return clientcmd.BuildConfigFromFlags("", kubeconfig)
	}
	c, err := rest.InClusterConfig()
	if errors.Is(err, rest.ErrNotInCluster) {
		return nil, errors.New("this is no Pod of a cluster: name a kubeconfig file")
	}
	if err == nil {
		rereading(c)
	}
	return c, err
}

// Connection returns how this source reaches the API server, and by what name it is
// known there.
func (s *Source) Connection() *rest.Config { return rest.CopyConfig(s.config) }

// rereading has the token read again as soon as the API server refuses it: client-go
// does so once a minute, and would go on with one that has expired until then.
func rereading(c *rest.Config) {
	c.WrapTransport = transport.ResettableTokenSourceWrapTransport(transport.NewCachedFileTokenSource(c.BearerTokenFile))
	c.BearerToken, c.BearerTokenFile = "", ""
}

// Labels reads labels as people write them: "name=value,name=value".
func Labels(text string) (map[string]string, error) { return labels.ConvertSelectorToLabelsMap(text) }
