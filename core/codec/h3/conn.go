package h3

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"penstock.dev/penstock/core/codec/fields"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/bucket"
)

// Conn is one client connection in service.
type Conn struct {
	server *Server
	qc     *quic.Conn
	conn   *exchange.Conn
	p      *config.ProxyParameters
	lim    fields.Limits

	running sync.WaitGroup // all goroutines but Serve's own

	mu       sync.Mutex
	serving  int           // handlers that run
	quiet    time.Time     // since when none has
	next     quic.StreamID // least id that no request was accepted with
	resets   bucket.Bucket
	controls bucket.Bucket
	critical [4]bool          // the client's streams of these types were opened
	out      *quic.SendStream // our control stream; nil: not open yet
	timer    *time.Timer      // calls tick when something is due; nil: Serve was not called
	drain    drainStage
	dueBy    time.Time // when the stage ends
	ended    bool      // nothing more is begun
	panicked *panicked
	relays   map[*relay]struct{} // tunnels; nil: there was none
}

// drainStage is how far Drain is.
type drainStage uint8

const (
	drainNot   drainStage = iota
	drainAsked            // first GOAWAY sent; what the client had sent before it saw it is served
	drainLast             // second GOAWAY sent
	drainDone             // all responses are sent, and their last bytes on the way
)

// NewConn readies qc, which conn describes, for Serve. qc was made with Config of
// p; p is for its whole life.
func (s *Server) NewConn(qc *quic.Conn, conn *exchange.Conn, p *config.ProxyParameters) *Conn {
	now := time.Now()
	return &Conn{
		server: s, qc: qc, conn: conn, p: p,
		lim:      limitsOf(p),
		quiet:    now,
		resets:   bucket.New(resetBurst, resetPerSecond, now),
		controls: bucket.New(controlBurst, controlPerSecond, now),
	}
}

func limitsOf(p *config.ProxyParameters) fields.Limits {
	return fields.Limits{Line: p.RequestLineBytes, Bytes: p.HeaderBytes, Fields: p.HeaderFields, Extended: true}
}

// Serve serves exchanges until the client, an idle time or Drain ends it, and
// closes the connection. It is called once, on the connection's own goroutine. It
// panics if a handler has panicked.
func (c *Conn) Serve() {
	if err := c.open(); err != nil {
		c.fail(err)
	} else {
		c.running.Go(c.acceptUni)
		c.accept()
	}
	c.mu.Lock()
	c.ended = true
	if c.timer != nil {
		c.timer.Stop()
	}
	c.mu.Unlock()
	c.close(codeNo, "")
	c.running.Wait()
	if c.panicked != nil {
		panic(c.panicked)
	}
}

// open sends our SETTINGS (RFC 9114, 7.2.4). QPACK's streams are not opened: they
// would stay empty.
func (c *Conn) open() error {
	out, err := c.qc.OpenUniStream()
	if err == nil {
		hello := appendVarint(nil, streamControl)
		settings := appendSetting(nil, settingMaxFieldSection, uint64(c.lim.Bytes))
		settings = appendSetting(settings, settingExtendedConnect, 1) // RFC 9220, 3
		hello = appendFrame(hello, frameSettings, settings)
		err = out.TryWriteAll(hello)
	}
	if err != nil {
		return connError{codeGeneralProtocol, "control-stream"} // RFC 9114, 6.2: the client must allow for it
	}
	c.running.Add(1)
	context.AfterFunc(out.Context(), func() { // at the connection's end at the latest
		defer c.running.Done()
		if refused := (*quic.StreamError)(nil); errors.As(context.Cause(out.Context()), &refused) {
			c.fail(connError{codeClosedCritical, "closed-critical"}) // RFC 9114, 6.2.1
		}
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = out
	c.timer = time.AfterFunc(c.beat(), c.tick)
	if c.drain != drainNot {
		c.firstGoAway()
	}
	return nil
}

// accept serves requests until the connection has ended.
func (c *Conn) accept() {
	for {
		qs, err := c.qc.AcceptStream(context.Background())
		if err != nil {
			return
		}
		c.start(qs)
	}
}

// start serves a request on a goroutine.
func (c *Conn) start(qs *quic.Stream) {
	c.mu.Lock()
	if c.ended || c.drain >= drainLast {
		// Not served, and the client knows (RFC 9114, 5.2).
		c.mu.Unlock()
		cancel(qs, codeRequestRejected)
		qs.ReleaseStreamCredit()
		if err := c.control(1); err != nil {
			c.fail(err)
		}
		return
	}
	c.next = qs.StreamID() + 4
	c.serving++
	c.running.Add(1)
	c.mu.Unlock()
	c.server.workers.Go(c.server.stream(c, qs).run)
}

// cancel ends both directions of a stream.
func cancel(qs *quic.Stream, code code) {
	qs.CancelRead(quic.StreamErrorCode(code))
	qs.CancelWrite(quic.StreamErrorCode(code))
}

// served is called when a handler has ended.
func (c *Conn) served(credit int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.resets.Give(credit)
	if c.serving--; c.serving > 0 {
		return
	}
	c.quiet = time.Now()
	if c.drain == drainLast {
		c.finish()
	}
}

// Drain tells the client to send no more requests (GOAWAY, twice; RFC 9114, 5.2),
// lets those that are there finish, and closes the connection then. It may be
// called by any goroutine, and does not wait.
func (c *Conn) Drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.drain != drainNot || c.ended {
		return
	}
	c.drain = drainAsked
	if c.out != nil {
		c.firstGoAway()
	}
	for t := range c.relays {
		t.goAway()
	}
}

// firstGoAway allows for what is on the way. c.mu is held.
func (c *Conn) firstGoAway() {
	c.goAway(maxVarint &^ 3)
	c.due(c.patience())
}

// goAway sends a GOAWAY. A client that gives the control stream no room learns of
// it when the connection closes. c.mu is held.
func (c *Conn) goAway(id uint64) { _ = c.out.TryWriteAll(appendGoAway(nil, id)) }

// due ends the stage in d. c.mu is held.
func (c *Conn) due(d time.Duration) {
	c.dueBy = time.Now().Add(d)
	c.timer.Reset(d)
}

// patience is how long what was sent by either side may be on its way, with one
// loss repaired.
func (c *Conn) patience() time.Duration {
	stats := c.qc.ConnectionStats()
	return min(max(4*stats.SmoothedRTT+8*stats.MeanDeviation, 100*time.Millisecond), time.Second)
}

// finish waits for the last bytes to arrive: closing forgets what is not
// acknowledged. c.mu is held.
func (c *Conn) finish() {
	c.drain = drainDone
	c.due(c.patience())
}

// tick does what is due.
func (c *Conn) tick() {
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return
	}
	c.running.Add(1)
	defer c.running.Done()
	now := time.Now()
	switch {
	case c.drain != drainNot && now.Before(c.dueBy):
		c.timer.Reset(c.dueBy.Sub(now))
	case c.drain == drainNot:
		c.idle(now)
	case c.drain == drainAsked:
		c.drain = drainLast
		c.goAway(uint64(c.next))
		if c.serving == 0 {
			c.finish()
		}
	case c.drain == drainDone:
		c.mu.Unlock()
		c.close(codeNo, "")
		return
	}
	c.mu.Unlock()
}

// mostBeat is how often QUIC's idle timeout is put off at least; that of clients is
// 30 s commonly.
const mostBeat = 12 * time.Second

// beat is how often idle looks.
func (c *Conn) beat() time.Duration { return min(c.p.IdleTimeout/4, mostBeat) }

// kept is a frame of a reserved type, which means nothing (RFC 9114, 7.2.8).
var kept = []byte{0x21, 0}

// idle drains a connection that has served nothing for the idle time, whatever its
// client sends to keep it. While a request is served QUIC must not find the
// connection idle: its answer, or a tunnel, may be silent for longer. c.mu is held.
func (c *Conn) idle(now time.Time) {
	left := c.p.IdleTimeout
	if c.serving == 0 {
		left = c.quiet.Add(c.p.IdleTimeout).Sub(now)
	} else {
		_ = c.out.TryWriteAll(kept) // a client that gives no room for it keeps the connection itself
	}
	if left > 0 {
		c.timer.Reset(min(left, c.beat()))
		return
	}
	c.drain = drainAsked
	c.firstGoAway()
}

// fail ends the connection for err, if that is a connError.
func (c *Conn) fail(err error) {
	var mistake connError
	if !errors.As(err, &mistake) {
		return
	}
	c.mu.Lock()
	known := c.ended
	c.ended = true
	c.mu.Unlock()
	if known || c.qc.Context().Err() != nil {
		return
	}
	c.reject(400, mistake.reason)
	c.close(mistake.code, mistake.reason)
}

func (c *Conn) close(code code, why string) {
	_ = c.qc.CloseWithError(quic.ApplicationErrorCode(code), why) // always nil
}

// Abort closes the connection whatever it does. It may be called by any goroutine.
func (c *Conn) Abort() { c.close(codeNo, "") }

// count counts a refusal.
func (c *Conn) count(reason string) { c.server.refusals[reason].Inc() }

// reject counts the refusal of a request or of the connection, and tells of it.
func (c *Conn) reject(status int, reason string) {
	c.count(reason)
	if c.server.rejected != nil {
		c.server.rejected(c.conn, status, reason)
	}
}

// panicked is what a handler panicked with.
type panicked struct {
	value any
	stack []byte
}

// String returns the value with the stack of the handler's goroutine.
func (p *panicked) String() string {
	return fmt.Sprintf("%v\n\nstream's goroutine:\n%s", p.value, p.stack)
}
