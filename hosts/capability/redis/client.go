package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/telemetry"
	"penstock.dev/penstock/hosts/capability"
)

// Bounds on one server's commands.
const (
	maxQueue    = 1024     // that wait for one connection
	maxInFlight = 256      // of one connection
	maxHeld     = 64 << 20 // bytes of queries that are not answered
	firstWait   = 20 * time.Millisecond
	longestWait = 5 * time.Second
	leastDial   = time.Second
	idleFor     = time.Minute // until a connection is closed
)

var (
	errTimeout = errors.New("no reply in time")
	errClosed  = errors.New("the proxy is stopping")
)

// Options of Clients.
type Options struct {
	Log     *zap.Logger
	Metrics *telemetry.Metrics
	// Dial opens a connection to "hostname:port".
	Dial func(ctx context.Context, address string) (net.Conn, error)
}

// Clients sends commands to the servers that filters' parameters name. Its
// methods may be called by several goroutines at once.
type Clients struct {
	o        Options
	commands telemetry.Counters
	ctx      context.Context
	stop     context.CancelFunc
	group    sync.WaitGroup

	mu     sync.Mutex
	closed bool
	by     map[config.Redis]*client
}

var _ capability.RedisCaller = (*Clients)(nil)

// New returns Clients without a connection. Metric:
// penstock_redis_commands_total by server (the parameters' name) and result.
func New(o Options) *Clients {
	c := &Clients{o: o, by: map[config.Redis]*client{},
		commands: o.Metrics.Counters("penstock_redis_commands_total", "Commands of plugins to Redis by result: answered, broken, timeout, busy.", "redis", "result")}
	c.ctx, c.stop = context.WithCancel(context.Background())
	return c
}

// Close fails the commands under way, and waits for the connections to end.
func (c *Clients) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.stop()
	c.group.Wait()
}

// RedisCall implements capability.RedisCaller.
func (c *Clients) RedisCall(k *capability.RedisCall, done func([]byte, error)) (func(), error) {
	own := prefix(k.Filter)
	query, err := rewrite(k.Query, own)
	if err != nil {
		return nil, err
	}
	timeout := k.Filter.Redis.Timeout
	if k.Timeout > 0 {
		timeout = min(timeout, k.Timeout)
	}
	return c.begin(k.Filter.Redis, own, query, timeout, done)
}

var _ capability.RedisScripter = (*Clients)(nil)

// RedisScript implements capability.RedisScripter: by the script's sum, and with its text
// to a server that does not know it.
func (c *Clients) RedisScript(s *capability.RedisScript, done func([]byte, error)) (func(), error) {
	r, own := s.Filter.Redis, prefix(s.Filter)
	words := append([]string{"EVALSHA", s.SHA1, "1", own + s.Key}, s.Args...)
	var mu sync.Mutex
	stopped, stop := false, func() {}
	cancel := func() {
		mu.Lock()
		defer mu.Unlock()
		stopped = true
		stop()
	}
	mu.Lock() // what comes of the first waits until stop is known
	defer mu.Unlock()
	first, err := c.begin(r, own, appendQuery(nil, words...), r.Timeout, func(reply []byte, err error) {
		if err != nil || !bytes.HasPrefix(reply, []byte("-NOSCRIPT")) {
			done(reply, err)
			return
		}
		words[0], words[1] = "EVAL", s.Source
		mu.Lock()
		if stopped {
			mu.Unlock()
			return
		}
		again, err := c.begin(r, own, appendQuery(nil, words...), r.Timeout, done)
		if err == nil {
			stop = again
		}
		mu.Unlock()
		if err != nil {
			done(nil, err)
		}
	})
	if err != nil {
		return nil, err
	}
	stop = first
	return cancel, nil
}

// begin sends a query on the connection of a prefix.
func (c *Clients) begin(r *config.Redis, own string, query []byte, timeout time.Duration, done func([]byte, error)) (func(), error) {
	cl, err := c.client(r)
	if err != nil {
		return nil, err
	}
	size := int64(len(query))
	if cl.held.Add(size) > maxHeld {
		cl.held.Add(-size)
		cl.busy.Inc()
		return nil, fmt.Errorf("%w: %d bytes wait for Redis", capability.ErrBusy, maxHeld)
	}
	begun := make(chan struct{}) // done is never called before we return
	defer close(begun)
	call := &call{query: query, cl: cl, group: &c.group, done: func(reply []byte, err error) {
		<-begun
		done(reply, err)
	}}
	call.timer = time.AfterFunc(timeout, func() {
		<-begun
		call.finish(nil, errTimeout)
	})
	select {
	case cl.queues[shard(own, len(cl.queues))] <- call:
		return call.cancel, nil
	default:
		call.cancel()
		cl.busy.Inc()
		return nil, fmt.Errorf("%w: %d wait for Redis", capability.ErrBusy, maxQueue)
	}
}

// client returns the connections to a server, made if there are none.
func (c *Clients) client(r *config.Redis) (*client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errClosed
	}
	if cl := c.by[*r]; cl != nil {
		cl.used = time.Now()
		return cl, nil
	}
	count := func(result string) telemetry.Counter { return c.commands.With(r.Name, result) }
	cl := &client{o: &c.o, r: *r, used: time.Now(),
		answered: count("answered"), broken: count("broken"), late: count("timeout"), busy: count("busy")}
	if r.TLS {
		var err error
		if cl.tls, err = tlsConfig(r); err != nil {
			return nil, err
		}
	}
	ctx, stop := context.WithCancel(c.ctx)
	cl.stop = stop
	var workers sync.WaitGroup
	for range max(r.Connections, 1) {
		queue := make(chan *call, maxQueue)
		cl.queues = append(cl.queues, queue)
		workers.Go(func() { cl.work(ctx, queue) })
	}
	c.group.Go(func() {
		workers.Wait()
		cl.fail()
	})
	c.group.Go(func() { c.watch(ctx, r, cl) })
	c.by[*r] = cl
	return cl, nil
}

// shard gives what has one prefix one connection, so that its commands run in
// the order in which they were sent.
func shard(prefix string, n int) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(prefix)) // cannot fail
	return int(h.Sum32() % uint32(n))
}

// watch ends a client that nobody has used for a while: its parameters may be
// gone.
func (c *Clients) watch(ctx context.Context, r *config.Redis, cl *client) {
	tick := time.NewTicker(idleFor)
	defer tick.Stop()
	key := *r
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		c.mu.Lock()
		gone := time.Since(cl.used) > 2*idleFor
		if gone {
			delete(c.by, key)
		}
		c.mu.Unlock()
		if gone {
			cl.stop()
			return
		}
	}
}

// call is one command under way.
type call struct {
	query []byte
	timer *time.Timer
	done  func([]byte, error)
	cl    *client
	group *sync.WaitGroup
	told  atomic.Bool
}

// end is finish for those who must not wait for a guest: what it does then may
// take a while, and others' replies come on the same connection.
func (c *call) end(reply []byte, err error) {
	if !c.told.Load() {
		c.group.Go(func() { c.finish(reply, err) })
	}
}

// finish tells how the call ended, once.
func (c *call) finish(reply []byte, err error) {
	if c.told.Swap(true) {
		return
	}
	c.forget()
	switch {
	case err == nil:
		c.cl.answered.Inc()
	case errors.Is(err, errTimeout):
		c.cl.late.Inc()
	default:
		c.cl.broken.Inc()
	}
	c.done(reply, err)
}

func (c *call) cancel() {
	if !c.told.Swap(true) {
		c.forget()
	}
}

func (c *call) forget() {
	c.timer.Stop()
	c.cl.held.Add(-int64(len(c.query)))
}
