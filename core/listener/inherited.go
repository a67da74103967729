package listener

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"

	"penstock.dev/penstock/core/config"
)

// Inherited is listening sockets that another process opened: one that this one
// replaces, or a supervisor. It is a Binder of addresses that are among them. Its
// methods are safe for use by several goroutines.
type Inherited struct {
	next Binder

	mu      sync.Mutex
	open    map[string]net.Listener   // by address
	packets map[string]net.PacketConn // by address
}

// NewInherited takes over the sockets of the descriptors first to first+n-1. next
// binds other addresses. Descriptors that are no listening sockets are closed, and
// named in the error; the rest serves.
func NewInherited(first, n int, next Binder) (*Inherited, error) {
	i := &Inherited{next: next, open: map[string]net.Listener{}, packets: map[string]net.PacketConn{}}
	var errs []error
	for fd := first; fd < first+n; fd++ {
		f := os.NewFile(uintptr(fd), fmt.Sprintf("inherited socket %d", fd))
		ln, err := net.FileListener(f)
		if err != nil {
			var pc net.PacketConn
			if pc, err = net.FilePacketConn(f); err == nil {
				i.packets[pc.LocalAddr().String()] = pc
				f.Close()
				continue
			}
		}
		f.Close() // ln has its own
		if err != nil {
			errs = append(errs, fmt.Errorf("descriptor %d: %w", fd, err))
			continue
		}
		key := ln.Addr().String()
		if i.open[key] != nil {
			ln.Close()
			continue
		}
		i.open[key] = ln
	}
	return i, errors.Join(errs...)
}

// Bind implements Binder.
func (i *Inherited) Bind(s config.Socket) (net.Listener, error) {
	if ln := i.Take(s.Address.String()); ln != nil {
		return ln, nil
	}
	return i.next.Bind(s)
}

// BindPacket implements PacketBinder.
func (i *Inherited) BindPacket(s config.Socket) (net.PacketConn, error) {
	i.mu.Lock()
	pc := i.packets[s.Address.String()]
	delete(i.packets, s.Address.String())
	i.mu.Unlock()
	if pc != nil {
		return pc, nil
	}
	if b, ok := i.next.(PacketBinder); ok {
		return b.BindPacket(s)
	}
	return NetBinder{}.BindPacket(s)
}

// Take returns the socket of an address, nil if there is none; it is the caller's.
func (i *Inherited) Take(address string) net.Listener {
	i.mu.Lock()
	defer i.mu.Unlock()
	ln := i.open[address]
	delete(i.open, address)
	return ln
}

// Close closes the sockets that nobody took: clients would wait on them.
func (i *Inherited) Close() {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, ln := range i.open {
		ln.Close()
	}
	clear(i.open)
	for _, pc := range i.packets {
		pc.Close()
	}
	clear(i.packets)
}

// Sockets returns the sockets that are open, but those of QUIC, for another process
// to inherit. They stay the Listeners'.
func (l *Listeners) Sockets() []syscall.Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []syscall.Conn
	for _, s := range l.sockets {
		if c, ok := s.ln.(syscall.Conn); ok {
			all = append(all, c)
		}
	}
	for _, s := range l.flows {
		all = append(all, s.pc)
	}
	return all
}

// HandedOver says that another process has the sockets. Flows of datagrams end: a
// socket that two processes read would give each some of them.
func (l *Listeners) HandedOver() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, s := range l.flows {
		delete(l.flows, key)
		s.close()
	}
}

var (
	_ Binder       = (*Inherited)(nil)
	_ PacketBinder = (*Inherited)(nil)
)
