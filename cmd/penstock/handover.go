package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"penstock.dev/penstock/core/listener"
)

// What a process tells the one that replaces it: how many listening sockets it has
// from descriptor 3 on, where to say that it is ready, and where the two tell each other
// what they remove from their caches.
const (
	envSockets = "PENSTOCK_SOCKETS"
	envReady   = "PENSTOCK_READY"
	envPeer    = "PENSTOCK_PEER"
)

// firstSocket is the first descriptor that is passed on (sd_listen_fds(3)).
const firstSocket = 3

// maxSockets bounds what the environment may claim.
const maxSockets = 10_000

// inherit takes over what the environment says: the sockets of the process before,
// or those of a supervisor (LISTEN_PID, LISTEN_FDS). ready is where to say that this
// process serves; nil: nobody asks.
func inherit(log *zap.Logger) (_ *listener.Inherited, ready *os.File, before net.Conn) {
	if fd := number(envReady); fd >= firstSocket {
		unix.CloseOnExec(fd)
		ready = os.NewFile(uintptr(fd), "ready")
	}
	if fd := number(envPeer); fd >= firstSocket {
		unix.CloseOnExec(fd)
		var err error
		if before, err = peerConn(fd); err != nil {
			log.Warn("the process before is not told what is removed from the cache", zap.Error(err))
		}
	}
	n := number(envSockets)
	if n == 0 && number("LISTEN_PID") == os.Getpid() {
		n = number("LISTEN_FDS")
	}
	for _, name := range []string{envSockets, envReady, envPeer, "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		_ = os.Unsetenv(name) // our own children get none; fails on malformed names only
	}
	i, err := listener.NewInherited(firstSocket, n, listener.NetBinder{})
	if err != nil {
		log.Warn("sockets that were passed in", zap.Error(err))
	}
	return i, ready, before
}

func number(env string) int {
	n, err := strconv.Atoi(os.Getenv(env))
	if err != nil || n < 0 || n > maxSockets && env != "LISTEN_PID" {
		return 0
	}
	return n
}

// self is the program and its arguments, found before the folder can change.
type self struct{ path string }

func findSelf() (self, error) {
	path, err := exec.LookPath(os.Args[0])
	if err == nil {
		path, err = filepath.Abs(path)
	}
	return self{path}, err
}

// readyIn is how long a new process may take until it serves.
const readyIn = 2 * time.Minute

// replace starts the program anew, with the same arguments, passes the listening
// sockets on, and its end of a connection between the two, and waits until the new
// process says that it serves. After an error there is no new process, and this one goes
// on.
func (s self) replace(ctx context.Context, sockets []syscall.Conn, peer *os.File) (pid int, err error) {
	ours, theirs, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer ours.Close()
	defer theirs.Close()
	files := []uintptr{0, 1, 2}
	defer func() {
		for _, fd := range files[firstSocket:] {
			_ = unix.Close(int(fd))
		}
	}()
	conns := append(append([]syscall.Conn{}, sockets...), theirs, peer)
	for _, c := range conns {
		fd, err := duplicate(c)
		if err != nil {
			return 0, err
		}
		files = append(files, uintptr(fd))
	}
	after := firstSocket + len(sockets)
	env := append(os.Environ(), fmt.Sprintf("%s=%d", envSockets, len(sockets)), fmt.Sprintf("%s=%d", envReady, after), fmt.Sprintf("%s=%d", envPeer, after+1))
	pid, err = syscall.ForkExec(s.path, os.Args, &syscall.ProcAttr{Env: env, Files: files})
	if err != nil {
		return 0, err
	}
	theirs.Close()
	peer.Close()
	for _, fd := range files[firstSocket:] {
		_ = unix.Close(int(fd))
	}
	files = files[:firstSocket]
	if err = waitReady(ctx, ours); err != nil {
		if p, perr := os.FindProcess(pid); perr == nil {
			_ = p.Kill() // it may have ended
			_, _ = p.Wait()
		}
	}
	return pid, err
}

// duplicate returns a descriptor of its own. The socket stays as it is, unlike with
// File, whose Fd makes it block.
func duplicate(c syscall.Conn) (fd int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	cerr := raw.Control(func(old uintptr) { fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, firstSocket) })
	return fd, errors.Join(cerr, err)
}

var errNotReady = errors.New("the new process ended, or did not serve in time")

func waitReady(ctx context.Context, from *os.File) error {
	ctx, cancel := context.WithTimeout(ctx, readyIn)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = from.SetReadDeadline(time.Now()) })
	defer stop()
	if _, err := io.ReadFull(from, make([]byte, 1)); err != nil {
		return errNotReady
	}
	return nil
}

// handOver replaces the process when it is told to, until ctx ends; once it has, it
// calls end, which drains this one.
func (p *proxyProcess) handOver(ctx context.Context, asked <-chan os.Signal, s self, end func()) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-asked:
		}
		p.log.Info("handing over to a new process", zap.String("program", s.path))
		sockets := p.listeners.Sockets()
		for _, ln := range p.servers.sockets {
			if c, ok := ln.(syscall.Conn); ok {
				sockets = append(sockets, c)
			}
		}
		pid, err := p.replace(ctx, s, sockets)
		if err != nil {
			p.log.Error("handing over failed: this process goes on", zap.Error(err))
			continue
		}
		p.listeners.HandedOver()
		p.handed = true // close reads it, after end
		p.log.Info("handed over", zap.Int("pid", pid))
		end()
		return
	}
}

// replace replaces the process: the two tell each other what they remove from their
// caches until one of them ends.
func (p *proxyProcess) replace(ctx context.Context, s self, sockets []syscall.Conn) (pid int, err error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return 0, err
	}
	defer theirs.Close()
	p.peers.talk(ours)
	return s.replace(ctx, sockets, theirs)
}

// readyLook is how often a new process looks whether it is ready.
const readyLook = 20 * time.Millisecond

// announce says once that the process serves: to the one before, and in the file of
// its number.
func (p *proxyProcess) announce(ctx context.Context, pidFile string) {
	t := time.NewTicker(readyLook)
	defer t.Stop()
	for !p.admin.Ready() {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
	p.inherited.Close()
	if pidFile != "" {
		if err := writePID(pidFile); err != nil {
			p.log.Error("--pid-file", zap.Error(err))
		}
	}
	if p.ready != nil {
		_, _ = p.ready.Write([]byte("1")) // the process before has given up if this fails
		p.ready.Close()
	}
}

// writePID replaces the file whole.
func writePID(name string) error {
	tmp := name + ".new"
	if err := os.WriteFile(tmp, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, name)
}

// listen binds an address of the process' own, or takes over the one of before.
func (p *proxyProcess) listen(address string) (net.Listener, error) {
	if a, err := net.ResolveTCPAddr("tcp", address); err == nil {
		names := []string{a.String()}
		if a.IP == nil || a.IP.IsUnspecified() { // where there is IPv6 the socket of 0.0.0.0 is that of [::]
			names = []string{fmt.Sprintf("[::]:%d", a.Port), fmt.Sprintf("0.0.0.0:%d", a.Port)}
		}
		for _, name := range names {
			if ln := p.inherited.Take(name); ln != nil {
				return ln, nil
			}
		}
	}
	return net.Listen("tcp", address)
}
