package redis

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/telemetry"
)

// client is the connections to one server. Each has a worker, which takes calls
// from its queue and writes them, and while it is open a reader.
type client struct {
	o                            *Options
	r                            config.Redis
	tls                          *tls.Config  // nil: none
	queues                       []chan *call // each has a worker
	stop                         context.CancelFunc
	used                         time.Time // guarded by Clients.mu
	answered, broken, late, busy telemetry.Counter

	held atomic.Int64 // bytes of queries that are not answered

	mu    sync.Mutex
	wait  time.Duration // after the next failure to connect
	until time.Time     // no attempt before
	last  error         // of the last attempt
}

// conn is an open connection.
type conn struct {
	nc       net.Conn
	patience time.Duration // for the next reply while one is owed
	inFlight chan *call    // written, in order; closed by the worker
	broken   chan struct{} // closed by the reader
	ended    chan struct{} // the reader is done

	mu   sync.Mutex
	owed int // replies
}

// owe counts replies that are to come, and gives the next one its time: a
// server that says nothing is one that is gone.
func (c *conn) owe(n int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.owed += n
	switch {
	case c.owed == 0:
		return c.nc.SetReadDeadline(time.Time{})
	case n < 0 || c.owed == n:
		return c.nc.SetReadDeadline(time.Now().Add(c.patience))
	}
	return nil
}

// work serves calls until ctx is done.
func (cl *client) work(ctx context.Context, queue <-chan *call) {
	var c *conn
	idle := time.NewTimer(idleFor)
	defer idle.Stop()
	drop := func() {
		if c != nil {
			c.close()
			c = nil
		}
	}
	defer drop()
	for {
		var broken chan struct{}
		if c != nil {
			broken = c.broken
		}
		select {
		case <-ctx.Done():
			return
		case <-broken:
			drop()
		case <-idle.C:
			drop()
			idle.Reset(idleFor)
		case k := <-queue:
			idle.Reset(idleFor)
			if k.told.Load() { // too late, or nobody waits
				continue
			}
			c = cl.send(ctx, c, k)
		}
	}
}

// send writes a call on c, or on a new connection if c is nil or broken, and
// returns the connection to use from now on. A call that may have reached the
// server is never written again.
func (cl *client) send(ctx context.Context, c *conn, k *call) *conn {
	for {
		if c == nil {
			var err error
			if c, err = cl.connect(ctx); err != nil {
				k.end(nil, err)
				return nil
			}
		}
		select {
		case <-c.broken:
			c.close()
			c = nil
			continue
		default:
		}
		select {
		case c.inFlight <- k: // from here on the reader ends it
		case <-c.broken:
			c.close()
			c = nil
			continue
		case <-ctx.Done():
			k.end(nil, errClosed)
			return c
		}
		err := c.owe(1)
		if err == nil {
			err = c.nc.SetWriteDeadline(time.Now().Add(cl.r.Timeout))
		}
		if err == nil {
			_, err = c.nc.Write(k.query)
		}
		if err != nil {
			c.close()
			return nil
		}
		return c
	}
}

// connect dials, unless the last attempt failed just now. How long it may take
// is not the call's to say: a failure is everybody's.
func (cl *client) connect(ctx context.Context) (*conn, error) {
	cl.mu.Lock()
	defer cl.mu.Unlock() // one attempt at a time: the others wait for its result
	if time.Now().Before(cl.until) {
		return nil, cl.last
	}
	ctx, cancel := context.WithTimeout(ctx, max(cl.r.Timeout, leastDial))
	defer cancel()
	c, err := cl.open(ctx)
	if err == nil {
		if cl.last != nil {
			cl.o.Log.Info("redis is reached again", zap.String("parameters", cl.r.Name), zap.String("address", cl.r.Address))
		}
		cl.wait, cl.last = 0, nil
		return c, nil
	}
	if cl.wait == 0 {
		cl.o.Log.Warn("redis cannot be used: plugins' commands fail until it can", zap.String("parameters", cl.r.Name), zap.String("address", cl.r.Address), zap.Error(err))
	}
	cl.wait = min(max(2*cl.wait, firstWait), longestWait)
	cl.last = fmt.Errorf("connect to redis: %w", err)
	cl.until = time.Now().Add(cl.wait/2 + rand.N(cl.wait/2+1))
	return nil, cl.last
}

// open makes a connection that is ready for commands.
func (cl *client) open(ctx context.Context) (*conn, error) {
	nc, err := cl.o.Dial(ctx, cl.r.Address)
	if err != nil {
		return nil, err
	}
	if cl.tls != nil {
		secure := tls.Client(nc, cl.tls)
		if err := secure.HandshakeContext(ctx); err != nil {
			nc.Close()
			return nil, fmt.Errorf("TLS: %w", err)
		}
		nc = secure
	}
	r := bufio.NewReaderSize(nc, maxLine)
	if err := cl.greet(ctx, nc, r); err != nil {
		nc.Close()
		return nil, err
	}
	c := &conn{nc: nc, patience: cl.r.Timeout + time.Second, inFlight: make(chan *call, maxInFlight), broken: make(chan struct{}), ended: make(chan struct{})}
	go c.read(r) // conn.close waits for it
	return c, nil
}

// greet says who we are and chooses the database.
func (cl *client) greet(ctx context.Context, nc net.Conn, r *bufio.Reader) error {
	deadline, _ := ctx.Deadline()
	if err := nc.SetDeadline(deadline); err != nil {
		return err
	}
	ask := func(what string, words ...string) error {
		if _, err := nc.Write(appendQuery(nil, words...)); err != nil {
			return err
		}
		reply, err := readReply(r)
		if err == nil && string(reply) != "+OK\r\n" && string(reply) != "+PONG\r\n" {
			err = fmt.Errorf("it refuses %s: %.100q", what, reply)
		}
		return err
	}
	words := []string{"AUTH", cl.r.Password}
	if cl.r.Username != "" {
		words = []string{"AUTH", cl.r.Username, cl.r.Password}
	}
	if cl.r.Password != "" {
		if err := ask("the password", words...); err != nil {
			return err
		}
	}
	if cl.r.Database != 0 {
		if err := ask("the database", "SELECT", strconv.Itoa(cl.r.Database)); err != nil {
			return err
		}
	}
	if err := ask("a PING", "PING"); err != nil {
		return err
	}
	return nc.SetDeadline(time.Time{})
}

// read ends the calls that were written with their replies, until the
// connection fails; then those that are left with its error.
func (c *conn) read(r *bufio.Reader) {
	defer close(c.ended)
	err := c.replies(r)
	close(c.broken)
	c.nc.Close()
	for k := range c.inFlight {
		k.end(nil, fmt.Errorf("redis: %w", err))
	}
}

// replies reads until an error, also while nothing is asked: so a connection
// that the server closes is noticed.
func (c *conn) replies(r *bufio.Reader) error {
	for {
		reply, err := readReply(r)
		if err != nil && !errors.Is(err, errReplySize) {
			return err
		}
		select {
		case k, open := <-c.inFlight:
			if !open { // the worker has ended the connection just now
				return errClosed
			}
			k.end(reply, err)
		default:
			return errors.New("a reply that nobody asked for")
		}
		if err := c.owe(-1); err != nil {
			return err
		}
	}
}

// close ends the connection and its calls; for the worker alone.
func (c *conn) close() {
	c.nc.Close()
	close(c.inFlight)
	<-c.ended
}

// fail ends the calls that no worker will take.
func (cl *client) fail() {
	for _, queue := range cl.queues {
		for len(queue) > 0 {
			(<-queue).end(nil, errClosed)
		}
	}
}

// tlsConfig verifies the server's certificate.
func tlsConfig(r *config.Redis) (*tls.Config, error) {
	c := &tls.Config{ServerName: r.ServerName, MinVersion: tls.VersionTLS12}
	if r.CA != "" {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM([]byte(r.CA)) {
			return nil, fmt.Errorf("redis %s: no certificate in the authorities", r.Name)
		}
	}
	return c, nil
}
