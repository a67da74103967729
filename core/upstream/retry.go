package upstream

import (
	"io"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
)

// retrier sends an exchange's request again where its rule says so.
type retrier struct {
	retry *config.Retry
	done  int // tries that it has asked for
	body  *kept
}

// keep begins to keep the request's body.
func (r *retrier) keep(x *exchange.Exchange) {
	if x.Request.Body != nil && r.body == nil {
		r.body = &kept{inner: x.Request.Body, length: x.Request.ContentLength}
		x.Request.Body = r.body
	}
}

// again waits and readies the request for another try after an error, or, with nil,
// after the answer in x.Response, which it then drops. false: err counts, which is its
// own if the client left meanwhile.
func (r *retrier) again(x *exchange.Exchange, o *Options, err *exchange.Error) (bool, *exchange.Error) {
	switch {
	case r.retry == nil || r.done >= r.retry.Attempts:
		return false, err
	case err != nil && !broken(err):
		return false, err
	case err == nil && (x.Response.Tunnel != nil || !slices.Contains(r.retry.Codes, x.Response.Status)):
		return false, nil
	case r.body != nil && !r.body.again(err == nil):
		return false, err
	}
	wait := backoff(r.retry.Backoff, r.done)
	if o.over(wait) {
		return false, err
	}
	r.done++
	if err == nil {
		drop(x)
	}
	if !sleep(x, wait) {
		return false, fault(exchange.SideClient, 499, "client-gone", errGone)
	}
	if r.body != nil {
		r.body.rewind()
	}
	return true, nil
}

// drop gives up the answer, so that its connection is free or closed.
func drop(x *exchange.Exchange) {
	p := &x.Response
	if p.Body != nil {
		p.Body.Close()
	}
	p.Header.Reset()
	p.Trailer.Reset()
	p.Status, p.Body, p.ContentLength = 0, nil, 0
}

// broken reports whether a connection failed, could not be made, or was silent.
func broken(err *exchange.Error) bool {
	switch err.Reason {
	case "connect-failed", "connect-refused", "connect-timeout", "tls-handshake", "upstream-closed", "upstream-reset", "stream-refused", "response-timeout":
		return true
	}
	return false
}

// mostBackoff is how much longer than the first wait any other may be.
const mostBackoff = 10

// backoff returns how long to wait before a try: twice as long for each one, and up to
// a quarter more, so that many do not come at once.
func backoff(base time.Duration, done int) time.Duration {
	d := min(base<<min(done, 10), base*mostBackoff)
	return d + rand.N(d/4+1)
}

// sleep waits; false: the client has left meanwhile.
func sleep(x *exchange.Exchange, d time.Duration) bool {
	gone := make(chan struct{})
	stop := x.Client.Watch(func() { close(gone) })
	defer stop()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-gone:
		return false
	case <-t.C:
		return true
	}
}

// maxKept is how much of a body is kept for another try, in bytes.
const maxKept = 64 << 10

// kept is a request's body of which what was read is kept, up to maxKept.
type kept struct {
	inner  exchange.Body
	length int64 // -1: unknown
	store  []byte
	at     int   // of store, where the next Read goes on
	end    error // what inner ended with
	// lost: more was read than is kept, or it could not be read.
	lost bool
	// stopped: inner gives no more, since whoever read it was stopped.
	stopped bool
	whole   atomic.Bool // all of it was read
}

// again reports whether the body can be read from its start again. answered says that
// another goroutine may still send it.
func (k *kept) again(answered bool) bool {
	whole := k.whole.Load()
	if answered && !whole {
		return false
	}
	return !k.lost && (whole || !k.stopped)
}

// Read implements exchange.Body.
func (k *kept) Read(p []byte) (int, error) {
	if k.at < len(k.store) {
		n := copy(p, k.store[k.at:])
		k.at += n
		return n, nil
	}
	switch {
	case k.end != nil:
		return 0, k.end
	case k.stopped && k.whole.Load():
		return 0, io.EOF
	}
	n, err := k.inner.Read(p)
	k.end = err
	if !k.lost {
		k.keep(p[:n])
	}
	k.lost = k.lost || err != nil && err != io.EOF
	if err == io.EOF || k.length >= 0 && int64(len(k.store)) == k.length {
		k.whole.Store(true)
	}
	return n, err
}

func (k *kept) keep(p []byte) {
	if len(k.store)+len(p) > maxKept {
		k.lost, k.store, k.at = true, nil, 0
		return
	}
	k.store = append(k.store, p...)
	k.at = len(k.store)
}

// rewind has the body read from its start; again has said that it can be.
func (k *kept) rewind() { k.at = 0 }

// Buffered implements exchange.Body.
func (k *kept) Buffered() int {
	if n := len(k.store) - k.at; n > 0 {
		return n
	}
	if k.end != nil {
		return 0
	}
	return k.inner.Buffered()
}

// Close implements exchange.Body.
func (k *kept) Close() { k.inner.Close() }

// Stop frees a goroutine that reads the body.
func (k *kept) Stop() {
	if b, ok := k.inner.(bodyWaiter); ok {
		b.Stop()
	}
}

var _ exchange.Body = (*kept)(nil)
