package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// StartReplaceable is Start of a process that Replace may replace by a new one,
// with 5 s for what is in flight.
func StartReplaceable(t testing.TB, o Options) *Proxy {
	t.Helper()
	file := filepath.Join(t.TempDir(), "pid")
	o.Args = append([]string{"--pid-file", file, "--drain", "5s"}, o.Args...)
	p := Start(t, o)
	p.pidFile = file
	p.Eventually("the file is there", func() bool { _, err := os.Stat(file); return err == nil })
	if pid := p.PID(); pid != p.Process.Pid {
		t.Fatalf("the file says %d; want %d", pid, p.Process.Pid)
	}
	t.Cleanup(func() { // Stop knows the first process only
		if pid := p.PID(); pid != p.Process.Pid {
			_ = syscall.Kill(pid, syscall.SIGTERM)
		}
	})
	return p
}

// PID returns the number of the process that serves.
func (p *Proxy) PID() int {
	p.t.Helper()
	if p.pidFile == "" {
		return p.Process.Pid
	}
	text, err := os.ReadFile(p.pidFile)
	if err != nil {
		p.t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}

// Replace has a new process take over, and returns the number of the one before.
func (p *Proxy) Replace() (before int) {
	p.t.Helper()
	before = p.PID()
	if err := syscall.Kill(before, syscall.SIGUSR2); err != nil {
		p.t.Fatal(err)
	}
	p.Eventually("another process serves", func() bool { return p.PID() != before })
	return before
}

// WaitEnd waits until a process that was replaced has ended.
func (p *Proxy) WaitEnd(pid int) {
	p.t.Helper()
	p.Eventually("the process before ends", func() bool {
		state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || strings.Contains(string(state), ") Z ")
	})
}

// Resident returns the resident memory of the process that serves, in MiB.
func (p *Proxy) Resident() (mib int) {
	p.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		p.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	if _, err := fmt.Sscan(rest, &mib); err != nil {
		p.t.Fatal(err)
	}
	return mib >> 10
}
