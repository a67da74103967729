package testbed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is one process of the testbed: a part of the control plane or a node.
// Its methods are for tests that want to see what the others do without it.
type Process struct {
	// Name is etcd, kube-apiserver, kube-controller-manager, kube-scheduler or a node's.
	Name  string
	args  []string
	flags uintptr
	after func(pid int) error

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{}
}

// start runs the process; its output goes to log/Name.log.
func (p *Process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	log, err := os.OpenFile(p.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(p.args[0], p.args[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: p.flags}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	p.cmd, p.done = cmd, done
	if p.after != nil {
		return p.after(cmd.Process.Pid)
	}
	return nil
}

func (p *Process) log() string { return dir("log", p.Name+".log") }

// Kill ends the process with SIGKILL and waits for its end. A node takes its Pods
// with it.
func (p *Process) Kill() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return nil
	}
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.done
	p.cmd = nil
	return nil
}

// Restart starts a process that was killed, with what it had on disk.
func (p *Process) Restart() error {
	if err := p.Kill(); err != nil {
		return err
	}
	return p.start()
}

// Freeze stops the process with SIGSTOP, so that its peers see silence; of a node
// only the agent.
func (p *Process) Freeze() error {
	p.mu.Lock()
	cmd := p.cmd
	p.mu.Unlock()
	if cmd == nil {
		return os.ErrProcessDone
	}
	pid := cmd.Process.Pid
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	return waitFor(context.Background(), p.Name+" is frozen", time.Second, func() error { return stopped(pid) })
}

// stopped returns an error if a thread of a process runs yet: threads stop one by one
// after the signal.
func stopped(pid int) error {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil {
		return err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // the thread is gone
		}
		if state := string(text[bytes.LastIndexByte(text, ')')+1:]); !strings.HasPrefix(state, " T") {
			return fmt.Errorf("%s:%.2s", file, state)
		}
	}
	return nil
}

// Thaw lets a frozen process go on.
func (p *Process) Thaw() error { return p.signal(syscall.SIGCONT) }

func (p *Process) signal(s os.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return os.ErrProcessDone
	}
	return p.cmd.Process.Signal(s)
}

// ended tells whether the process has ended by itself, and its last words.
func (p *Process) ended() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.done:
		text, _ := os.ReadFile(p.log())
		lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
		return fmt.Errorf("%s ended, %v: %s", p.Name, p.cmd.ProcessState, bytes.Join(lines[max(0, len(lines)-15):], []byte("\n")))
	default:
		return nil
	}
}

// waitFor asks ready until it says yes, the processes end or the time is over.
func waitFor(ctx context.Context, what string, limit time.Duration, ready func() error, processes ...*Process) error {
	for end := time.Now().Add(limit); ; time.Sleep(50 * time.Millisecond) {
		err := ready()
		if err == nil {
			return nil
		}
		for _, p := range processes {
			if ended := p.ended(); ended != nil {
				return ended
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s: not in %v: %w", what, limit, err)
		}
	}
}
