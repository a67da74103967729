package h2

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/telemetry"
)

// TestOverTLS: what is no socket is read and drained too.
func TestOverTLS(t *testing.T) {
	certs := httptest.NewTLSServer(nil) // for its certificate
	defer certs.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	p := params()
	p.IdleTimeout = time.Second
	s := NewServer(handlerFunc(describe), telemetry.New(), nil)
	conns, ended := make(chan *Conn, 1), make(chan struct{})
	go func() {
		defer close(ended)
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		tc := tls.Server(nc, &tls.Config{Certificates: certs.TLS.Certificates, NextProtos: []string{"h2"}})
		if err := tc.Handshake(); err != nil {
			t.Error(err)
			return
		}
		state := tc.ConnectionState()
		c := s.NewConn(tc, &exchange.Conn{ID: 1, TLS: &state}, p)
		conns <- c
		c.Serve()
	}()
	tr := certs.Client().Transport.(*http.Transport)
	tr.ForceAttemptHTTP2 = true
	c := &http.Client{Transport: tr, Timeout: 10 * time.Second}
	for range 3 {
		resp, err := c.Post("https://"+ln.Addr().String()+"/x", "", strings.NewReader(strings.Repeat("y", 200000)))
		if got := slurp(t, resp, err); !strings.HasPrefix(got, "200 POST https://"+ln.Addr().String()+" /x 20\n") || !strings.Contains(got, strings.Repeat("y", 200000)) {
			t.Fatalf("got %.100q", got)
		}
		time.Sleep(600 * time.Millisecond) // deadlines pass, the connection lives on
	}
	(<-conns).Drain()
	<-ended
}
