package h2

import (
	"errors"
	"net"
	"sync"
	"time"

	"golang.org/x/net/http2/hpack"

	"penstock.dev/penstock/core/codec/fields"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/bucket"
	"penstock.dev/penstock/core/internal/bufpool"
)

// mux is one end of a connection: what client and server have in common.
type mux struct {
	role role
	nc   net.Conn
	p    *config.ProxyParameters
	pool *bufpool.Pool

	// For the connection's own goroutine, which reads.
	in      reader
	lim     fields.Limits
	dec     *hpack.Decoder
	hd      fields.Section
	block   block
	trailer section
	greeted bool      // the peer's first SETTINGS came
	frames  uint      // that were read
	began   time.Time // of what HeaderTimeout is for: the preface, a header block

	running sync.WaitGroup // streams' goroutines, and those that write or tell

	mu      sync.Mutex
	streams map[uint32]*flow // those that frames may be for
	last    uint32           // highest id that a stream was made of
	control bucket.Bucket
	ignored ignored
	ended   bool      // no stream may send any more
	dead    bool      // nothing can be written
	readBy  time.Time // armed deadline; zero: not known
	writer
	peer       peer
	window     int // what we may send
	recvWindow int // what the peer may send
	wholeRecv  int // recvWindow when nothing is unread
	owed       int // what was taken of that, and not yet told
}

// role is what client and server do differently. c.mu is held where it says so.
type role interface {
	// opens finds out what a header block is for; mu is held. section does what
	// it asks for, once it was read whole.
	opens(b *block) error
	section(b *block) error
	// setting takes a setting that only one side has a use for, settled comes
	// after the last of a frame; pong takes the answer to a ping; goAway and
	// rst take frames. mu is held.
	setting(id uint16, value uint32) error
	settled()
	pong(data []byte)
	goAway(last uint32, code code) error
	rst(s *flow, code code) error
	// prioritize says how urgent a stream is, which may be idle or closed; mu is held.
	prioritize(id uint32, urgency uint8) error
	// await looks before each read whether to go on; due says when it must look
	// again, and what it means if that time has come. mu is held.
	await(now time.Time) error
	due(now time.Time) (time.Time, error)
	// lost is told that s, which was open, ends early, for err. mu is held.
	lost(s *flow, err error)
	// mistake answers a stream error of the peer's.
	mistake(e streamError) error
}

// peer is the other side's settings.
type peer struct {
	initialWindow int
	maxFrame      int
	shrink        bool // our (empty) header table is to be announced
}

// section is a header or trailer section that is being read, with its bytes.
type section struct {
	fields exchange.Header
	arena  exchange.Arena
}

// init readies c; recvWindow is what the peer may send.
func (c *mux) init(r role, nc net.Conn, p *config.ProxyParameters, pool *bufpool.Pool, recvWindow int) {
	now := time.Now()
	c.role, c.nc, c.p, c.pool = r, nc, p, pool
	c.lim = fields.Limits{Line: p.RequestLineBytes, Bytes: p.HeaderBytes, Fields: p.HeaderFields}
	c.streams = map[uint32]*flow{}
	c.began = now
	c.control = bucket.New(controlBurst, controlPerSecond, now)
	c.peer = peer{initialWindow: defaultWindow, maxFrame: leastFrameSize}
	c.window, c.recvWindow, c.wholeRecv = defaultWindow, recvWindow, recvWindow
	c.in.init(c)
	c.written.L = &c.mu
	c.dec = hpack.NewDecoder(4096, func(f hpack.HeaderField) {
		if !c.hd.Take(f.Name, f.Value) {
			c.dec.SetEmitEnabled(false) // the rest is for the table alone
		}
	})
	c.dec.SetMaxStringLength(2 * c.maxBlock()) // never reached: Huffman codes have five bits at least
}

// read handles frames until the connection is to end, and says why.
func (c *mux) read() error {
	for {
		f, err := c.in.next()
		if err != nil {
			return err
		}
		if err = c.handle(&f); err == nil {
			continue
		}
		var one streamError
		if !errors.As(err, &one) {
			return err
		}
		if err = c.role.mistake(one); err != nil {
			return err
		}
	}
}

// ready readies for a read that may wait: what was gathered is sent, and the
// deadline armed. Its errors end the connection.
func (c *mux) ready() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		return errGone
	}
	now := time.Now()
	if err := c.role.await(now); err != nil {
		return err
	}
	due, err := c.role.due(now)
	if !now.Before(due) {
		return err
	}
	if c.readBy.IsZero() || due.Before(c.readBy) {
		c.readBy = due
		c.nc.SetReadDeadline(due)
	}
	c.flushLater()
	return nil
}

// disarm says that the armed deadline has passed.
func (c *mux) disarm() {
	c.mu.Lock()
	c.readBy = time.Time{}
	c.mu.Unlock()
}

// poke makes the reader look again. c.mu is held.
func (c *mux) poke() {
	c.readBy = time.Time{}
	c.nc.SetReadDeadline(time.Unix(1, 0))
}

// reset ends a stream from here, if it is still there: err is what its
// goroutines see. c.mu is held; the caller flushes.
func (c *mux) reset(s *flow, code code, err error) {
	if s.gone {
		return
	}
	c.ignored.add(s.id)
	if !c.ended {
		c.out = appendRST(c.room(32), s.id, code)
	}
	c.drop(s, err)
}

// drop forgets a stream that was reset, by whomever. c.mu is held.
func (c *mux) drop(s *flow, err error) {
	if s.gone {
		return
	}
	c.settle(s)
	s.gone = true
	delete(c.streams, s.id)
	c.role.lost(s, err)
	s.sendWait.wake()
}

// giveUp ends all streams: nothing of theirs can be sent any more. c.mu is held.
func (c *mux) giveUp(err error) {
	c.ended = true
	for _, s := range c.streams {
		c.drop(s, err)
	}
}
