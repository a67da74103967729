package listener

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/certs"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
)

// alpn is what is spoken over TLS, best first (RFC 7301).
var alpn = []string{"h2", "http/1.1"}

// carrier is a client's connection below TLS.
type carrier struct {
	*certs.Carrier
	head    []byte // what was read before
	refusal certs.Refusal
	chosen  config.ServerName
}

// Read implements net.Conn.
func (c *carrier) Read(p []byte) (int, error) {
	if len(c.head) > 0 {
		n := copy(p, c.head)
		c.head = c.head[n:]
		return n, nil
	}
	return c.TCPConn.Read(p)
}

// Refuse implements certs.Refusable.
func (c *carrier) Refuse(why certs.Refusal) { c.refusal = why }

// Choose implements certs.Choosable.
func (c *carrier) Choose(n config.ServerName) { c.chosen = n }

// secured tells conn what a handshake was about; owner is the Gateway whose listener ends
// TLS.
func secured(conn *exchange.Conn, state tls.ConnectionState, owner string) {
	state.ServerName = strings.ToLower(state.ServerName)
	conn.TLS = &state
	conn.Certificate, conn.Verifier = certs.Shown(&state), owner
}

// handshake makes nc, of which head was read already, speak TLS within the time for
// a head; nil if it cannot. It sets conn.TLS.
func (l *Listeners) handshake(s *socket, server *certs.Server, nc net.Conn, head []byte, conn *exchange.Conn, p *config.ProxyParameters) net.Conn {
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		panic(fmt.Sprintf("BUG: TLS over %T", nc))
	}
	below := &carrier{Carrier: certs.NewCarrier(tcp, p.IdleTimeout), head: head}
	c := tls.Server(below, server.Config())
	_ = below.SetDeadline(time.Now().Add(p.HeaderTimeout)) // fails on a closed connection, as the handshake then does
	if err := c.Handshake(); err != nil {
		reason := below.failure(err)
		l.failures.With(s.key, reason).Inc()
		l.log.Debug("handshake", zap.String("socket", s.key), zap.Stringer("remote", conn.Remote), zap.String("reason", reason), zap.Error(err))
		if reason == "plain_http" {
			below.answerPlain()
		}
		nc.Close()
		return nil
	}
	secured(conn, c.ConnectionState(), below.chosen.Owner)
	conn.AltSvc = s.alternative(tcp, p)
	return c
}

// failure names why a handshake failed, for metrics.
func (c *carrier) failure(err error) string {
	var record tls.RecordHeaderError
	var op *net.OpError
	switch {
	case c.refusal != "":
		return string(c.refusal)
	case certs.ClientRefusal(err) != "":
		return string(certs.ClientRefusal(err))
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	case errors.As(err, &record):
		if record.Conn != nil && looksLikeHTTP(record.RecordHeader) {
			return "plain_http"
		}
		return "not_tls"
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, net.ErrClosed), errors.Is(err, syscall.EPIPE):
		return "client_gone"
	case errors.As(err, &op) && op.Op == "remote error":
		return "client_alert"
	}
	return "other"
}

// looksLikeHTTP reports whether a connection begins as a plain HTTP request does.
func looksLikeHTTP(first [5]byte) bool {
	switch string(first[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "DELET", "PATCH", "CONNE", "TRACE":
		return true
	}
	return false
}

const plainAnswer = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\nContent-Length: 33\r\n\r\nthis port is for https, not http\n"

// answerPlain tells a client that speaks plain HTTP what is wrong. The unread
// rest of its request must not destroy the answer.
func (c *carrier) answerPlain() {
	if _, err := io.WriteString(c.TCPConn, plainAnswer); err != nil || c.CloseWrite() != nil {
		return
	}
	_ = c.SetReadDeadline(time.Now().Add(time.Second)) // fails on a closed connection, as the read then does
	_, _ = io.Copy(io.Discard, io.LimitReader(c.TCPConn, 1<<20))
}
