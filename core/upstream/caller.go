package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
)

// What a call out of a plugin can fail with before anything is sent.
var (
	// ErrUnknown: the name means no Service and no egress entry.
	ErrUnknown = errors.New("no Service and no egress entry has this name")
	// ErrForbidden: it means something that this plugin may not call.
	ErrForbidden = errors.New("not in the plugin's namespace, nor in its egress")
	// ErrTooMany: too many calls are under way.
	ErrTooMany = errors.New("too many calls are under way")

	errCallTimeout = errors.New("the call took too long")
	errAnswerSize  = errors.New("the answer is too large")
)

// Bounds on calls out.
const (
	maxCalls       = 4096 // of all plugins
	maxAnswerBytes = 16 << 20
	maxCallTime    = 5 * time.Minute
)

// Call is a request that a plugin sends; nothing in it is changed once it began.
type Call struct {
	Namespace string          // of the plugin: whose Services it reaches
	Egress    []config.Egress // what else
	// Upstream is "outbound|PORT|SUBSET|NAME" (Envoy), "NAME:PORT" or "NAME",
	// where NAME is a Service's name, with its namespace or domain, or a
	// hostname; a suffix ".dns" or ".static" is dropped (Higress).
	Upstream string
	// Secure asks for TLS to a hostname, which port 443 has anyway, and makes 443 the
	// port where none is named. A Service has TLS if a BackendTLSPolicy says so.
	Secure                  bool
	Method, Authority, Path []byte
	Header, Trailer         exchange.Header
	Body                    []byte
	Timeout                 time.Duration // of the whole call; 0: 5 min
}

// Answer is what came back; whoever gets it owns it.
type Answer struct {
	Status          int
	Header, Trailer exchange.Header
	Body            []byte
}

// Caller sends the requests of plugins. All methods may be called by several
// goroutines at once.
type Caller struct {
	set      *Set
	external *externals
	inFlight atomic.Int64
	ctx      context.Context
	stop     context.CancelFunc
	group    sync.WaitGroup
}

// NewCaller returns a Caller over the groups of s; resolve looks hostnames of
// egress entries up. p holds the timeouts and limits of calls to them.
func NewCaller(s *Set, resolve Resolver, p *config.ProxyParameters) *Caller {
	c := &Caller{set: s, external: newExternals(s, resolve, p)}
	c.ctx, c.stop = context.WithCancel(context.Background())
	return c
}

// Close ends the calls under way, and waits for them.
func (c *Caller) Close() {
	c.stop()
	c.group.Wait()
	c.external.close()
}

// Call begins k. done is called exactly once on another goroutine, never
// before Call returned; not at all after cancel. Errors wrap ErrUnknown,
// ErrForbidden or ErrTooMany.
func (c *Caller) Call(k *Call, done func(*Answer, error)) (cancel func(), err error) {
	find, err := c.find(k, config.ProtocolHTTP)
	if err != nil {
		return nil, fmt.Errorf("upstream %.256q: %w", k.Upstream, err)
	}
	if c.inFlight.Add(1) > maxCalls || c.ctx.Err() != nil {
		c.inFlight.Add(-1)
		return nil, ErrTooMany
	}
	timeout := maxCallTime
	if k.Timeout > 0 {
		timeout = min(timeout, k.Timeout)
	}
	ctx, end := context.WithTimeout(c.ctx, timeout)
	var told atomic.Bool
	tell := func(a *Answer, err error) {
		if !told.Swap(true) {
			done(a, err)
		}
	}
	began := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		<-began
		tell(nil, errCallTimeout)
	})
	c.group.Go(func() {
		<-began
		defer c.inFlight.Add(-1)
		defer end()
		a, err := c.exchange(ctx, find, k, timeout)
		if stop() {
			tell(a, err)
		}
	})
	close(began)
	return func() {
		told.Store(true)
		end()
	}, nil
}

// exchange sends the request and reads the whole answer.
func (c *Caller) exchange(ctx context.Context, find finder, k *Call, timeout time.Duration) (*Answer, error) {
	g, err := find(ctx)
	if err != nil {
		return nil, err
	}
	x := &exchange.Exchange{Conn: &exchange.Conn{}, Client: ContextClient{Context: ctx}, Start: time.Now()}
	q := &x.Request
	q.Method, q.Authority, q.Path, q.Scheme, q.Version = k.Method, k.Authority, k.Path, g.scheme(), exchange.HTTP11
	for _, f := range k.Header.Fields() {
		q.Header.Add(f.Name, f.Value)
	}
	if len(k.Body) > 0 {
		q.Body, q.ContentLength = exchange.NewBytes(k.Body), int64(len(k.Body))
	}
	if k.Trailer.Len() > 0 { // needs a chunked body
		q.Trailer, q.ContentLength = k.Trailer, -1
		if q.Body == nil {
			q.Body = exchange.NewBytes(nil)
		}
	}
	if err := g.Send(x, timeout); err != nil {
		return nil, err
	}
	a := &Answer{Status: x.Response.Status}
	if b := x.Response.Body; b != nil {
		defer b.Close()
		if a.Body, err = readAnswer(ctx, b); err != nil {
			return nil, err
		}
	}
	a.Header, a.Trailer = x.Response.Header, x.Response.Trailer
	return a, nil
}

func readAnswer(ctx context.Context, b exchange.Body) ([]byte, error) {
	all := make([]byte, 0, 4<<10)
	for {
		if len(all) == cap(all) {
			all = append(all, 0)[:len(all)]
		}
		n, err := b.Read(all[len(all):cap(all)])
		all = all[:len(all)+n]
		switch {
		case err == io.EOF:
			return all, nil
		case err != nil:
			return nil, err
		case len(all) > maxAnswerBytes:
			return nil, errAnswerSize
		case ctx.Err() != nil:
			return nil, ctx.Err()
		}
	}
}

// ContextClient is who the proxy sends a request for when no client of its own did (a
// plugin's call, a mirrored copy): it hears nothing, and is gone when Context ends.
type ContextClient struct{ Context context.Context }

// Inform implements exchange.Client.
func (ContextClient) Inform(*exchange.Exchange, int, *exchange.Header) error { return nil }

// Send implements exchange.Client.
func (ContextClient) Send(*exchange.Exchange) error { return nil }

// Watch implements exchange.Client.
func (c ContextClient) Watch(gone func()) (stop func()) {
	ended := make(chan struct{})
	unhook := context.AfterFunc(c.Context, func() {
		defer close(ended)
		gone()
	})
	return func() {
		if !unhook() {
			<-ended
		}
	}
}

var _ exchange.Client = ContextClient{}
