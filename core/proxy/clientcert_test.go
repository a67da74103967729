package proxy

import (
	"crypto/tls"
	"testing"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/snapshot"
)

// TestAnotherGatewaysCertificate: who has judged a client's certificate says who it is, also
// once another Gateway has the hostname.
func TestAnotherGatewaysCertificate(t *testing.T) {
	l := &snapshot.Listener{Gateway: &snapshot.Gateway{Name: "n/two"}}
	for _, test := range []struct {
		certificate string
		verifier    string
		want        bool
	}{{"", "n/one", false}, {"{}", "n/two", false}, {"{}", "n/one", true}, {"{}", "", true}} {
		c := &exchange.Conn{TLS: &tls.ConnectionState{}, Verifier: test.verifier}
		if test.certificate != "" {
			c.Certificate = []byte(test.certificate)
		}
		if got := judgedElsewhere(l, c); got != test.want {
			t.Errorf("%+v: got %v", test, got)
		}
	}
}
