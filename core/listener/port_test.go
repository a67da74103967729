package listener

import (
	"crypto/tls"
	"testing"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
)

// TestThePortThatClientsSee: behind a Service the socket has another one.
func TestThePortThatClientsSee(t *testing.T) {
	conns := make(chan *exchange.Conn, 10)
	l, _ := newListeners(t, func(x *exchange.Exchange) {
		conns <- x.Conn
		answer(x, "x")
	})
	p := config.DefaultProxyParameters()
	reconcile := func(port uint16) {
		t.Helper()
		s := secureSocket(p, certificate(t, "a.example"))
		s[0].Port = port
		if err := l.Reconcile(s); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(port, altSvc string) {
		t.Helper()
		tcp, err := dialTLS(t, l, &tls.Config{ServerName: "a.example", NextProtos: []string{"http/1.1"}})
		if err != nil {
			t.Fatal(err)
		}
		ask(t, tcp)
		if c := <-conns; c.Local.String() != "127.0.0.1:"+port || string(c.LocalPort) != port || string(c.AltSvc) != altSvc || c.Socket != anyPort.String() {
			t.Errorf("over TCP: got %+v; want port %s and Alt-Svc %s", c, port, altSvc)
		}
		ask3(t, mustDialQUIC(t, l, "a.example"))
		if c := <-conns; c.Local.String() != "127.0.0.1:"+port || string(c.LocalPort) != port {
			t.Errorf("over QUIC: got %+v; want port %s", c, port)
		}
	}
	reconcile(443)
	expect("443", `h3=":443"; ma=86400`)
	reconcile(8443) // the same socket, seen elsewhere
	expect("8443", `h3=":8443"; ma=86400`)
}

func TestThePortThatClientsOfDatagramsSee(t *testing.T) {
	l, e, _, addr := newFlows(t, nil)
	if err := l.Reconcile([]config.Socket{{Address: anyPort, Port: 53, Parameters: config.DefaultProxyParameters(), UDP: true}}); err != nil {
		t.Fatal(err)
	}
	bounce(t, dialPacket(t, addr), "a")
	if c := <-e.seen; c.Local.String() != "127.0.0.1:53" || string(c.LocalPort) != "53" {
		t.Errorf("got %+v", c)
	}
}
