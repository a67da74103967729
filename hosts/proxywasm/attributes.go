package proxywasm

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"strconv"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/router"
)

// requestProperty returns an attribute of the request.
func requestProperty(v *vm, s *stream, path []string) ([]byte, bool) {
	if len(path) == 0 {
		return nil, false
	}
	x := s.x
	q := &x.Request
	there := !q.Connect() // what only a request without a tunnel has
	switch path[0] {
	case "path":
		return q.Path, there
	case "url_path":
		p, _, _ := bytes.Cut(q.Path, []byte("?"))
		return p, there
	case "normal_path": // ours: what the router and except match, however it was written
		p, _, _ := bytes.Cut(q.Path, []byte("?"))
		p, _, err := router.Normalise(p, func(n int) []byte { return make([]byte, n) })
		return p, there && err == nil
	case "query":
		_, query, _ := bytes.Cut(q.Path, []byte("?"))
		return query, there
	case "host":
		return q.Authority, true
	case "scheme":
		return q.Scheme, there
	case "method":
		return q.Method, true
	case "referer":
		return q.Header.Get("referer")
	case "useragent":
		return q.Header.Get("user-agent")
	case "id":
		return q.Header.Get("x-request-id")
	case "time":
		return appendU64(v.scratch, uint64(x.Start.UnixNano())), true
	case "duration":
		if !s.done { // only known at the end
			return nil, false
		}
		return appendU64(v.scratch, uint64(v.r.f.abi.o.Clock.Now().Sub(x.Start))), true
	case "protocol":
		return []byte(protocol(q.Version)), true
	case "size":
		return appendU64(v.scratch, requestBytes(s)), true
	case "total_size":
		return appendU64(v.scratch, requestBytes(s)+headSize(&q.Header)), true
	case "headers":
		return headersProperty(v, view{s: s, h: &q.Header, kind: mapRequestHeaders}, path[1:])
	}
	return nil, false
}

// requestBytes is the size of the request's content; it is counted when the
// response goes out, 0 before.
func requestBytes(s *stream) uint64 {
	if !s.told() {
		return 0
	}
	return uint64(max(s.x.RequestBytes, 0))
}

// responseProperty returns an attribute of the response, once there is one
// and only where it does not change under the guest.
func responseProperty(v *vm, s *stream, path []string) ([]byte, bool) {
	if len(path) == 0 || s.ways[wayResponse].stage == stageNone && !s.done || !s.told() {
		return nil, false
	}
	x := s.x
	p := &x.Response
	switch path[0] {
	case "code":
		return appendU64(v.scratch, uint64(p.Status)), true
	case "code_details":
		if s.v.current != s && !s.delivering { // a filter of the request's body may write them
			return nil, false
		}
		return codeDetails(x), true
	case "flags":
		return appendU64(v.scratch, responseFlags(x)), true
	case "grpc_status":
		return grpcStatus(v, p)
	case "size":
		return appendU64(v.scratch, uint64(max(x.ResponseBytes, 0))), true
	case "total_size":
		return appendU64(v.scratch, uint64(max(x.ResponseBytes, 0))+headSize(&p.Header)), true
	case "backend_latency":
		if x.UpstreamHeader.IsZero() {
			return nil, false
		}
		return appendU64(v.scratch, uint64(x.UpstreamHeader.Sub(x.UpstreamStart))), true
	case "headers":
		return headersProperty(v, view{s: s, h: &p.Header, kind: mapResponseHeaders}, path[1:])
	case "trailers":
		return headersProperty(v, view{s: s, h: &p.Trailer, kind: mapResponseTrailers}, path[1:])
	}
	return nil, false
}

// codeDetails says where the response came from, in Envoy's words where it has them.
func codeDetails(x *exchange.Exchange) []byte {
	switch {
	case x.Details != "":
		return []byte(x.Details)
	case x.Err != nil:
		return []byte(x.Err.Reason)
	case x.AnsweredBy != "":
		return []byte("local_response")
	}
	return []byte("via_upstream")
}

// Response flags of Envoy that have a counterpart here.
const (
	flagNoHealthyUpstream         = 1 << 1
	flagUpstreamRequestTimeout    = 1 << 2
	flagUpstreamRemoteReset       = 1 << 4
	flagUpstreamConnectionFailure = 1 << 5
	flagUpstreamConnectionClosed  = 1 << 6
	flagNoRouteFound              = 1 << 8
	flagDownstreamConnectionEnded = 1 << 14
)

func responseFlags(x *exchange.Exchange) uint64 {
	if x.Err == nil {
		return 0
	}
	switch x.Err.Reason {
	case "no-endpoint", "no-backend":
		return flagNoHealthyUpstream
	case "response-timeout", "response-body-timeout":
		return flagUpstreamRequestTimeout
	case "upstream-reset", "stream-refused":
		return flagUpstreamRemoteReset
	case "connect-failed", "connect-refused", "connect-timeout":
		return flagUpstreamConnectionFailure
	case "upstream-closed", "response-body-cut":
		return flagUpstreamConnectionClosed
	case "no-route", "no-listener":
		return flagNoRouteFound
	case "client-gone":
		return flagDownstreamConnectionEnded
	}
	return 0
}

func grpcStatus(v *vm, p *exchange.Response) ([]byte, bool) {
	text, ok := p.Trailer.Get("grpc-status")
	if !ok {
		text, ok = p.Header.Get("grpc-status")
	}
	n, err := strconv.ParseUint(string(text), 10, 8)
	if !ok || err != nil {
		return nil, false
	}
	return appendU64(v.scratch, n), true
}

// headSize is the size of a list of fields as HTTP/1.1 writes it.
func headSize(h *exchange.Header) uint64 {
	n := 0
	for _, f := range h.Fields() {
		n += len(f.Name) + len(f.Value) + 4
	}
	return uint64(n)
}

// headersProperty returns one value, or the whole map.
func headersProperty(v *vm, w view, path []string) ([]byte, bool) {
	var buf [4]byte
	if len(path) > 0 {
		return w.get([]byte(path[0]), buf[:0])
	}
	var pairs [requestPseudo]pair
	v.scratch = appendPairs(v.scratch[:0], w.pseudo(&pairs, buf[:0]), w.h)
	return v.scratch, true
}

func protocol(version uint8) string {
	switch version {
	case exchange.HTTP10:
		return "HTTP/1.0"
	case exchange.HTTP2:
		return "HTTP/2"
	case exchange.HTTP3:
		return "HTTP/3"
	}
	return "HTTP/1.1"
}

// connection returns an attribute of the client's connection.
func connection(v *vm, c *exchange.Conn, path []string) ([]byte, bool) {
	if len(path) == 0 {
		return nil, false
	}
	switch path[0] {
	case "id":
		return appendU64(v.scratch, c.ID), true
	case "mtls":
		return []byte{byte(flag(c.TLS != nil && len(c.TLS.PeerCertificates) > 0))}, true
	case "termination_details", "transport_failure_reason":
		return nil, true
	}
	if c.TLS == nil {
		return nil, false
	}
	switch path[0] {
	case "requested_server_name":
		return []byte(c.TLS.ServerName), true
	case "tls_version":
		return []byte(tlsVersion(c.TLS.Version)), true
	}
	if len(c.TLS.PeerCertificates) == 0 {
		return nil, false
	}
	return certificate(c.TLS.PeerCertificates[0], path[0])
}

// certificate returns an attribute of the peer's certificate.
func certificate(c *x509.Certificate, what string) ([]byte, bool) {
	switch what {
	case "subject_peer_certificate":
		return []byte(c.Subject.String()), true
	case "dns_san_peer_certificate":
		if len(c.DNSNames) > 0 {
			return []byte(c.DNSNames[0]), true
		}
	case "uri_san_peer_certificate":
		if len(c.URIs) > 0 {
			return []byte(c.URIs[0].String()), true
		}
	case "sha256_peer_certificate_digest":
		sum := sha256.Sum256(c.Raw)
		return []byte(hex.EncodeToString(sum[:])), true
	}
	return nil, false
}

// tlsVersion names a version as Envoy does.
func tlsVersion(version uint16) string {
	switch version {
	case tls.VersionTLS10:
		return "TLSv1"
	case tls.VersionTLS11:
		return "TLSv1.1"
	case tls.VersionTLS12:
		return "TLSv1.2"
	}
	return "TLSv1.3"
}
