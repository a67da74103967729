package main

import (
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"penstock.dev/penstock/core/cache"
)

const (
	// peerWait bounds how long another process may take to remove what was removed here.
	peerWait = 5 * time.Second
	// peerQueue is how much may be under way to it.
	peerQueue = 1024
)

// peers are the processes that answer the same clients as this one: the one before it,
// until that has drained, and the one that takes over, from its start on. What one
// removes from its cache, the others remove.
type peers struct {
	cache *cache.Cache
	log   *zap.Logger

	group sync.WaitGroup // one goroutine for each

	mu     sync.Mutex
	all    []*peer // that have said that they listen
	conns  []net.Conn
	closed bool
}

// peer is one of them.
type peer struct {
	of   *peers
	conn net.Conn
	out  chan peerMessage // of capacity peerQueue
	gone chan struct{}    // closed when it is

	mu   sync.Mutex
	next uint64
	wait map[uint64]chan error // for what was said of messages, by number
}

// peerMessage is what peers say to each other, as a gob: that they listen, what was
// removed, and what became of it.
type peerMessage struct {
	Listens bool
	Removal cache.Removal
	ID      uint64 // of a purge, which is answered
	Answer  bool
	Error   string
}

var errPeer = errors.New("the process that hands over, or takes over, did not follow in time: it may still serve what was removed")

// tell has the peers remove something, and waits until they have if it is a purge.
func (p *peers) tell(r cache.Removal) error { return p.tellBut(nil, r) }

func (p *peers) tellBut(from *peer, r cache.Removal) error {
	p.mu.Lock()
	all := slices.Clone(p.all)
	p.mu.Unlock()
	var errs []error
	for _, other := range all {
		if other != from {
			errs = append(errs, other.tell(r))
		}
	}
	return errors.Join(errs...)
}

// tell has one peer remove something. One that has gone serves nothing any more.
func (e *peer) tell(r cache.Removal) error {
	m := peerMessage{Removal: cache.Removal{Purge: r.Purge, Key: bytes.Clone(r.Key)}}
	var answer chan error
	if r.Purge != nil {
		answer = make(chan error, 1)
		e.mu.Lock()
		e.next++
		m.ID = e.next
		e.wait[m.ID] = answer
		e.mu.Unlock()
		defer func() {
			e.mu.Lock()
			delete(e.wait, m.ID)
			e.mu.Unlock()
		}()
	}
	late := time.NewTimer(peerWait)
	defer late.Stop()
	select {
	case e.out <- m:
	case <-e.gone:
		return nil
	case <-late.C:
		e.of.log.Warn("a removed response may still be served", zap.Error(errPeer))
		return errPeer
	}
	if answer == nil {
		return nil
	}
	select {
	case err := <-answer:
		return err
	case <-e.gone:
		return nil
	case <-late.C:
		return errPeer
	}
}

// talk talks to a peer on conn, which it takes over, until that ends or close.
func (p *peers) talk(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		conn.Close()
		return
	}
	p.conns = append(p.conns, conn)
	p.group.Go(func() { p.listen(conn) })
}

// close ends all talk.
func (p *peers) close() {
	p.mu.Lock()
	p.closed = true
	for _, conn := range p.conns {
		conn.Close()
	}
	p.mu.Unlock()
	p.group.Wait()
}

// listen does what a peer says until it ends.
func (p *peers) listen(conn net.Conn) {
	e := &peer{of: p, conn: conn, out: make(chan peerMessage, peerQueue), gone: make(chan struct{}), wait: map[uint64]chan error{}}
	e.out <- peerMessage{Listens: true}
	var group sync.WaitGroup
	group.Go(e.write)
	for in := gob.NewDecoder(conn); ; {
		var m peerMessage
		if in.Decode(&m) != nil { // it has ended, or this process does
			break
		}
		e.heard(m)
	}
	p.mu.Lock()
	p.all = slices.DeleteFunc(p.all, func(o *peer) bool { return o == e })
	p.conns = slices.DeleteFunc(p.conns, func(o net.Conn) bool { return o == conn })
	p.mu.Unlock()
	close(e.gone)
	conn.Close()
	group.Wait()
}

// write sends what is to be said.
func (e *peer) write() {
	for to := gob.NewEncoder(e.conn); ; {
		select {
		case <-e.gone:
			return
		case m := <-e.out:
			if to.Encode(m) != nil {
				e.conn.Close() // so that who reads ends
				return
			}
		}
	}
}

// heard does what a message is about.
func (e *peer) heard(m peerMessage) {
	switch {
	case m.Listens:
		e.of.mu.Lock()
		e.of.all = append(e.of.all, e)
		e.of.mu.Unlock()
	case m.Answer:
		e.mu.Lock()
		answer := e.wait[m.ID]
		e.mu.Unlock()
		var err error
		if m.Error != "" {
			err = fmt.Errorf("the process that hands over, or takes over: %s", m.Error)
		}
		select {
		case answer <- err:
		default: // nobody waits any more
		}
	default:
		err := errors.Join(e.of.cache.Follow(m.Removal), e.of.tellBut(e, m.Removal))
		if m.ID == 0 {
			return
		}
		a := peerMessage{ID: m.ID, Answer: true}
		if err != nil {
			a.Error = err.Error()
		}
		select {
		case e.out <- a:
		default: // it does not read: it has ended, or does not wait for this any more
		}
	}
}

// socketPair returns two ends of a connection: one for here, one to pass on.
func socketPair() (ours net.Conn, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	theirs = os.NewFile(uintptr(fds[1]), "peer")
	if ours, err = peerConn(fds[0]); err != nil {
		theirs.Close()
	}
	return ours, theirs, err
}

// peerConn makes a connection of a descriptor, which it takes over.
func peerConn(fd int) (net.Conn, error) {
	f := os.NewFile(uintptr(fd), "peer")
	defer f.Close()
	return net.FileConn(f)
}
