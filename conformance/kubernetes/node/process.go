package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// process is a container's first process as the agent sees it.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
	code int32
	sig  int32
}

// startProcess starts a container in a sandbox and returns when its program has
// begun; its output goes to out and errw.
func (s *sandbox) startProcess(l *launch, out, errw io.Writer) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	defer w.Close()
	begun, tell, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer begun.Close()
	defer tell.Close()
	cmd := exec.Command(self, "container")
	cmd.Stdout, cmd.Stderr = out, errw
	cmd.ExtraFiles = []*os.File{r, tell}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS, Setsid: true}
	if err := s.within(cmd.Start); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	go func() {
		err := cmd.Wait()
		var exit *exec.ExitError
		switch {
		case errors.As(err, &exit):
			status := exit.Sys().(syscall.WaitStatus)
			if p.code = int32(status.ExitStatus()); status.Signaled() {
				p.sig = int32(status.Signal())
				p.code = 128 + p.sig
			}
		case err != nil:
			p.code = 128
		}
		close(p.done)
	}()
	if err := json.NewEncoder(w).Encode(l); err != nil {
		_ = cmd.Process.Kill()
		return nil, fmt.Errorf("launch: %w", err)
	}
	_ = tell.Close()
	fault, err := io.ReadAll(begun)
	if err == nil && len(fault) > 0 {
		err = errors.New(string(fault))
	}
	if err != nil {
		_ = cmd.Process.Kill()
		<-p.done
		return nil, err
	}
	return p, nil
}

// within runs start on a thread that is in the sandbox's namespaces; the thread
// ends with it.
func (s *sandbox) within(start func() error) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		for _, f := range []struct {
			file *os.File
			kind int
		}{{s.net, unix.CLONE_NEWNET}, {s.uts, unix.CLONE_NEWUTS}, {s.ipc, unix.CLONE_NEWIPC}} {
			if err := unix.Setns(int(f.file.Fd()), f.kind); err != nil {
				started <- fmt.Errorf("enter namespace: %w", err)
				return
			}
		}
		started <- start()
	}()
	return <-started
}

// enter starts cmd in all namespaces of the container, as if it were one of its
// own processes. cmd is made inside, so that its path is looked up there.
func (p *process) enter(s *sandbox, make func() *exec.Cmd) (*exec.Cmd, error) {
	var mnt, pid *os.File
	for name, f := range map[string]**os.File{"mnt": &mnt, "pid": &pid} {
		file, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", p.cmd.Process.Pid, name))
		if err != nil {
			return nil, err
		}
		defer file.Close()
		*f = file
	}
	var cmd *exec.Cmd
	err := s.within(func() error {
		// A thread that shares its root folder with others cannot change mounts.
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return err
		}
		if err := unix.Setns(int(pid.Fd()), unix.CLONE_NEWPID); err != nil {
			return err
		}
		if err := unix.Setns(int(mnt.Fd()), unix.CLONE_NEWNS); err != nil {
			return err
		}
		cmd = make()
		return cmd.Start()
	})
	return cmd, err
}

func (p *process) signal(s os.Signal) { _ = p.cmd.Process.Signal(s) }

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}
