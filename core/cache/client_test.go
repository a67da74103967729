package cache_test

import (
	"cmp"
	"io"
	"sync"
	"time"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
)

// client is one request and what came of it.
type client struct {
	b         *bed
	id        int
	method    string
	path      string
	fields    [][2]string
	scope     string
	authority string
	who       string // consumer
	chain     *filter.Chain
	step      func() int
	x         exchange.Exchange
	started   int       // step
	at        time.Time // it began

	mu    sync.Mutex
	left  bool
	watch func()

	// Set when done is closed, head and what stands above body when it was there.
	done     chan struct{}
	status   int // 0: no answer
	headStep int
	headAt   time.Time
	header   map[string]string
	body     []byte
	whole    bool
	outcome  filter.Outcome
}

// run begins the request, and returns at once.
func (c *client) run() *client {
	c.done, c.header, c.started, c.at = make(chan struct{}), map[string]string{}, c.step(), time.Now()
	x := &c.x
	x.ID, x.Client, x.Start, x.CacheScope, x.Service = uint64(c.id), c, c.at, c.scope, "ns/shop"
	x.Consumer.Name = c.who
	q := &x.Request
	q.Method, q.Scheme, q.Authority, q.Path = []byte(c.method), []byte("http"), []byte(cmp.Or(c.authority, "shop.example")), []byte(c.path)
	for _, f := range c.fields {
		q.Header.Add([]byte(f[0]), []byte(f[1]))
	}
	go c.serve()
	return c
}

func (c *client) serve() {
	defer close(c.done)
	x := &c.x
	var run filter.Run
	run.Start(x)
	run.Detacher(c)
	defer run.Done()
	switch c.outcome = run.Request(c.chain, x.Request.Path); c.outcome {
	case filter.Failed:
		return
	case filter.Passed:
		if !c.b.put(&ask{by: c, direct: true}, x, c).fill(x) {
			return
		}
	}
	if run.Response() != filter.Passed {
		return
	}
	p := &x.Response
	c.headStep, c.headAt = c.step(), time.Now()
	for _, f := range p.Header.Fields() {
		c.header[string(f.Name)] = string(f.Value)
	}
	c.status = p.Status
	if p.Body == nil {
		c.whole = true
		return
	}
	length := p.ContentLength
	defer p.Body.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := p.Body.Read(buf)
		c.body = append(c.body, buf[:n]...)
		if c.gone() {
			return
		}
		if err != nil {
			c.whole = err == io.EOF && (length < 0 || length == int64(len(c.body)))
			return
		}
	}
}

// finished reports whether all came.
func (c *client) finished() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

func (c *client) gone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.left
}

// leave ends the client's connection.
func (c *client) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = true
	if c.watch != nil {
		c.watch()
		c.watch = nil
	}
}

// Watch implements exchange.Client.
func (c *client) Watch(gone func()) (stop func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watch = gone
	if c.left {
		go c.leave()
	}
	return func() {
		c.mu.Lock()
		c.watch = nil
		c.mu.Unlock()
	}
}

// Inform implements exchange.Client.
func (c *client) Inform(*exchange.Exchange, int, *exchange.Header) error { return nil }

// Send implements exchange.Client; serve does it.
func (c *client) Send(*exchange.Exchange) error { panic("BUG: the test sends itself") }
