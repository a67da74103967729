package upstream

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"penstock.dev/penstock/core/codec/h1"
	"penstock.dev/penstock/core/codec/h2"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
)

// maxTries bounds the endpoints that are tried for one exchange, and the tries.
const maxTries = 3

var (
	errNoEndpoint = errors.New("no endpoint is ready")
	errOverflow   = errors.New("too many exchanges wait for a connection")
	errGone       = errors.New("client disconnected")
)

// Send sends x.Request to an endpoint and reads the head of its answer into
// x.Response, whose Body is then to be read to its end, or closed. timeout
// bounds one try, from the request sent to the head received; 0 is the
// upstream's ResponseTimeout. It sets Upstream, Endpoint, Attempts,
// UpstreamStart and UpstreamHeader.
//
// It tries again, three times at most, where no byte reached an endpoint, where
// the endpoint says that it did nothing with the request (HTTP/2) and the body, if
// there is one, came as one part, and where the request is idempotent, without a body, and a connection
// that was used before closed without an answer. Request.Body may be read on another
// goroutine until the response's body was read or closed, or Send failed.
func (g *Group) Send(x *exchange.Exchange, timeout time.Duration) *exchange.Error {
	return g.SendWith(x, &Options{Timeout: timeout})
}

func (g *Group) send(x *exchange.Exchange, o *Options) *exchange.Error {
	r := retrier{retry: o.Retry}
	if o.Retry != nil {
		r.keep(x)
	}
	return g.tries(x, o, &r)
}

// tries sends until there is an answer that counts, or an error that does.
func (g *Group) tries(x *exchange.Exchange, o *Options, r *retrier) *exchange.Error {
	var store [maxTries]*endpoint
	tried := store[:0]
	fresh := false
	for {
		e := g.choose(tried, o.Session)
		if e == nil {
			if heir := g.heir.Load(); heir != nil {
				return heir.tries(x, o, r)
			}
			return fault(exchange.SideUpstream, 503, "no-endpoint", errNoEndpoint)
		}
		x.Attempts++
		x.Endpoint = e.text
		c, err := g.acquire(x, e, fresh, o)
		if err == nil {
			reused := c.reused
			if err = c.exchange(x, o.try(g.config.Parameters)); err == nil {
				again, err := r.again(x, o, nil)
				switch {
				case again:
					tried, fresh = append(tried, e), false
					continue
				case err == nil:
					o.at(e)
				}
				return err
			}
			if stale(err.Err) {
				x.Attempts-- // nothing was tried
				continue
			}
			fresh = reused
			if err.Retry && x.Attempts < maxTries {
				continue // the endpoint was there a moment ago
			}
		}
		tried = append(tried, e)
		if c == nil && err.Retry && x.Attempts < maxTries && g.more(tried) && !o.over(0) {
			continue
		}
		again, err := r.again(x, o, err)
		if !again {
			return err
		}
	}
}

// acquire returns a connection: an idle one unless fresh, or a new one, or the
// first that another exchange gives back.
func (g *Group) acquire(x *exchange.Exchange, e *endpoint, fresh bool, o *Options) (*conn, *exchange.Error) {
	c, t := e.take(fresh)
	limit := g.config.Parameters.ConnectTimeout
	if c == nil {
		limit = o.left(limit)
	}
	if t != nil {
		got := g.await(e, t, limit)
		if got.err != nil {
			return nil, got.err
		}
		c = got.c
	}
	if c != nil {
		return c, nil
	}
	x.UpstreamStart = time.Now()
	nc, agreed, err := g.open(e, limit)
	if err != nil {
		e.failed(err)
		return nil, err
	}
	return e.open(nc, agreed)
}

// open makes nc, which was dialled for a slot, a connection. agreed is the
// protocol that both sides chose with TLS (ALPN), empty for none.
func (e *endpoint) open(nc net.Conn, agreed string) (*conn, *exchange.Error) {
	g := e.group
	if agreed == "h2" || agreed == "" && g.config.Protocol == config.ProtocolH2C {
		return e.openShared(nc, g.tls != nil)
	}
	c := &conn{endpoint: e}
	h := h1.NewUpstreamConn(nc, &g.set.buffers, g.config.Parameters, c.released)
	h.SetOwner(c)
	c.h = h
	e.opened(c)
	return c, nil
}

// await waits for a ticket's turn, no longer than limit.
func (g *Group) await(e *endpoint, t *ticket, limit time.Duration) turn {
	defer g.pending.Add(-1)
	if g.pending.Add(1) > int64(g.config.Parameters.MaxPending) {
		e.cancel(t)
		return turn{err: fault(exchange.SideProxy, 503, "overflow", errOverflow)}
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case got := <-t.ready:
		return got
	case <-timer.C:
		e.cancel(t)
		return turn{err: fault(exchange.SideProxy, 503, "overflow", errOverflow)}
	}
}

// exchange sends x's request on c and reads the head of the answer. After an
// error c is closed, and nobody reads the request's body any more.
func (c *conn) exchange(x *exchange.Exchange, timeout time.Duration) *exchange.Error {
	c.used = time.Now()
	c.gone.Store(false)
	x.UpstreamStart = c.used
	rest, err := c.h.Write(x, c.reused)
	if err != nil && !stale(err) {
		return c.unsent(x, err)
	}
	if err == nil {
		if rest {
			c.start(x)
			c.h.Arm(c.used, 0)
		} else {
			c.h.Arm(c.used, timeout)
		}
		err = c.readHead(x, timeout)
	}
	if err == nil {
		x.UpstreamHeader = time.Now()
		c.h.Settle() // from here on c may be another's
		return nil
	}
	return c.fail(x, err)
}

// unsent ends c after the request was not, or not wholly, written inline.
func (c *conn) unsent(x *exchange.Exchange, err error) *exchange.Error {
	var cause *exchange.Error
	switch {
	case err == h2.ErrUpgrade:
		cause = fault(exchange.SideProxy, 501, "upgrade-refused", err)
	case errors.Is(err, h1.ErrInvalidMessage), errors.Is(err, h2.ErrInvalidMessage):
		cause = fault(exchange.SidePlugin, 500, "invalid-message", err)
	case !errors.As(err, &cause):
		return c.fail(x, err)
	}
	c.h.Close()
	c.endpoint.drop(c)
	return cause
}

// readHead waits for the head of the answer.
func (c *conn) readHead(x *exchange.Exchange, timeout time.Duration) error {
	var stop func()
	u, early := c.up, false
	defer func() {
		if stop != nil {
			stop()
		}
	}()
	c.Wait()
	for {
		err := c.h.ReadHead(x)
		told := c.Proceed()
		if err != h1.ErrInterrupted && err != h2.ErrInterrupted {
			return err
		}
		switch {
		case c.gone.Load():
			return errGone
		case u != nil && u.failed.Load():
			return u.err
		case u != nil && u.ended.Load():
			c.h.Arm(time.Now(), timeout)
			u = nil
			if early { // what read the request's body may have hidden the client's end
				stop()
				stop, early = nil, false
			}
		}
		switch {
		case told && stop == nil:
			early = u != nil
			stop = c.Watch(x, func() {
				c.gone.Store(true)
				c.h.Interrupt()
			})
		case stop == nil:
			c.Wait()
		}
	}
}

// fail closes c after an error and says what it means.
func (c *conn) fail(x *exchange.Exchange, err error) *exchange.Error {
	c.h.Close()
	retry := x.Request.Body == nil && c.reused && !c.h.Received() && idempotent(x.Request.Method)
	if u := c.up; u != nil {
		failed := u.failed.Load() // by itself, not because it is aborted
		u.abort()
		c.up = nil
		var cause *exchange.Error
		if failed && errors.As(u.err, &cause) {
			c.endpoint.drop(c)
			return cause
		}
		if failed {
			c.endpoint.drop(c)
			return fault(exchange.SideClient, 400, "request-body", u.err)
		}
	}
	if err == h2.ErrRefused {
		retry = c.replay(x)
	}
	c.endpoint.drop(c)
	var refused *h1.Refused
	var bad *h2.BadResponse
	switch {
	case err == errGone:
		return fault(exchange.SideClient, 499, "client-gone", err)
	case errors.Is(err, h1.ErrTimeout), err == h2.ErrTimeout:
		return fault(exchange.SideUpstream, 504, "response-timeout", err)
	case errors.As(err, &refused), errors.As(err, &bad):
		return fault(exchange.SideUpstream, 502, "bad-response", err)
	}
	e := fault(exchange.SideUpstream, 502, "upstream-closed", err)
	switch {
	case err == h2.ErrRefused:
		e.Reason = "stream-refused"
	case h2.WasReset(err):
		e.Reason = "upstream-reset"
	}
	e.Retry = retry
	return e
}

// replay readies a request for another try that the endpoint did nothing with;
// false: what was sent of its body is not at hand.
func (c *conn) replay(x *exchange.Exchange) bool {
	q := &x.Request
	if q.Body == nil {
		return true
	}
	s, ok := c.h.(*h2.UpstreamStream)
	if !ok {
		return false
	}
	content, ok := s.Body()
	if ok {
		q.Body = exchange.NewBytes(x.Arena.Copy(content))
	}
	return ok
}

// stale reports whether a connection could not be used any more, so that nothing
// was sent.
func stale(err error) bool { return err == h1.ErrStale || err == h2.ErrStale }

// idempotent reports whether a method may be repeated (RFC 9110, 9.2.2).
func idempotent(method []byte) bool {
	switch string(method) {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}

// dialFault says why there is no connection: no byte was sent.
func dialFault(err error) *exchange.Error {
	e := fault(exchange.SideUpstream, 502, "connect-failed", err)
	e.Retry = true
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Reason = "connect-refused"
	case errors.Is(err, ErrNotAllowed):
		e.Reason = "connect-not-allowed"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		e.Status, e.Reason = 504, "connect-timeout"
	}
	return e
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

func fault(side exchange.Side, status int, reason string, err error) *exchange.Error {
	return &exchange.Error{Phase: exchange.PhaseSend, Side: side, Status: status, Reason: reason, Err: err}
}
