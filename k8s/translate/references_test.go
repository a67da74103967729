package translate_test

import (
	"maps"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/translate"
)

// TestReferences: a source that watches single Secrets has to be told of those
// that are missing, too, and by each translation.
func TestReferences(t *testing.T) {
	o := &translate.Objects{
		GatewayClasses: []*gatewayv1.GatewayClass{{ObjectMeta: metav1.ObjectMeta{Name: "c"}, Spec: gatewayv1.GatewayClassSpec{ControllerName: gatewayv1.GatewayController(options().ControllerName)}}},
		Gateways: []*gatewayv1.Gateway{{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "g"}, Spec: gatewayv1.GatewaySpec{
			GatewayClassName: "c",
			Listeners: []gatewayv1.Listener{{Name: "s", Port: 443, Protocol: "HTTPS", TLS: &gatewayv1.ListenerTLSConfig{
				CertificateRefs: []gatewayv1.SecretObjectReference{{Name: "one"}, {Name: "two"}},
			}}},
		}}},
		Secrets: []*corev1.Secret{{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "two"}}, {ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "nobody-names-it"}}},
	}
	want := map[config.Object]bool{{Kind: "Secret", Namespace: "a", Name: "one"}: true, {Kind: "Secret", Namespace: "a", Name: "two"}: true}
	tr := translate.New(options())
	for range 2 {
		if got := tr.Translate(o).References; !maps.Equal(got, want) {
			t.Errorf("got %v; want %v", got, want)
		}
	}
}
