package testbed

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"time"
)

// FrontPort is where Front listens, on ControlAddress.
const FrontPort = "6444"

// Front is a second way to the API server, on ControlAddress and FrontPort, until
// Stop. Each request is shown to answer first, which may wait, and may answer
// it in the API server's place (it returns true then).
func (t *Testbed) Front(answer func(http.ResponseWriter, *http.Request) bool) error {
	cert, err := tls.LoadX509KeyPair(dir("pki", "apiserver.crt"), dir("pki", "apiserver.key"))
	if err != nil {
		return err
	}
	ca, err := os.ReadFile(dir("pki", "ca.crt"))
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	l, err := net.Listen("tcp", net.JoinHostPort(ControlAddress, FrontPort))
	if err != nil {
		return err
	}
	behind := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "https", Host: ControlAddress + ":6443"})
	behind.FlushInterval = -1 // watches
	behind.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, MaxIdleConnsPerHost: 100, ResponseHeaderTimeout: 30 * time.Second}
	behind.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { panic(http.ErrAbortHandler) } // as a connection that breaks
	s := &http.Server{
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !answer(w, r) {
				behind.ServeHTTP(w, r)
			}
		}),
	}
	t.running.Go(func() {
		stop := context.AfterFunc(t.ctx, func() { _ = s.Close() })
		defer stop()
		_ = s.ServeTLS(l, "", "")
	})
	return nil
}
