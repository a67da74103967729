package testbed

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// inside is the environment variable that tells a process that Enter started it;
// its value is the folder for the testbed's files.
const inside = "PENSTOCK_TESTBED_DIR"

// parent is the environment variable with the number of the process outside.
const parent = "PENSTOCK_TESTBED_PARENT"

// Enter runs the calling program again, with the same arguments, in user, network,
// mount, PID, IPC and UTS namespaces of its own, and exits with its exit code.
// In that second process Enter returns. It must be called first in main or
// TestMain, and exits with a message where the kernel does not allow it.
//
// The second process is PID 1 of its namespace: when it or the first process
// ends, the kernel ends all that it started, and all that was mounted, routed or
// written below the testbed's folder is gone.
//
// Each of ports is an address of the machine to listen on; the second process gets
// the listeners, and so can let clients in that are outside of its namespaces.
func Enter(ports ...string) []net.Listener {
	if os.Getenv(inside) != "" && os.Getpid() != 1 {
		return nil // a process that the second one has started
	}
	if os.Getenv(inside) != "" {
		listeners, err := prepare(len(ports))
		if err != nil {
			fmt.Fprintln(os.Stderr, "testbed:", err)
			os.Exit(1)
		}
		return listeners
	}
	code, err := enter(ports)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testbed:", err)
		code = 1
	}
	os.Exit(code)
	return nil
}

func enter(ports []string) (code int, err error) {
	runtime.LockOSThread() // the parent in the sense of Pdeathsig is a thread
	dir, err := os.MkdirTemp("", "penstock-testbed-")
	if err != nil {
		return 0, err
	}
	defer os.Remove(dir) // empty: what is in it is on a file system that only the second process sees
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	uids, gids, groups := mappings()
	cmd := exec.Command(self)
	cmd.Args = os.Args
	cmd.Env = append(os.Environ(), inside+"="+dir, parent+"="+strconv.Itoa(os.Getpid()))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
		UidMappings: uids, GidMappings: gids, GidMappingsEnableSetgroups: groups,
		Pdeathsig: syscall.SIGKILL,
	}
	for _, addr := range ports {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return 0, err
		}
		f, err := l.(*net.TCPListener).File()
		if err != nil {
			return 0, err
		}
		_ = l.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("new namespaces: %w (in a container it needs the privilege to make user namespaces)", err)
	}
	done := make(chan struct{})
	go func() {
		for {
			select {
			case s := <-signals:
				_ = cmd.Process.Signal(s)
			case <-done:
				return
			}
		}
	}()
	err = cmd.Wait()
	close(done)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if exit.ExitCode() < 0 {
			return 1, fmt.Errorf("ended by %v", exit)
		}
		return exit.ExitCode(), nil
	}
	return 0, err
}

// mappings returns what the new user namespace maps. Root maps every user that it
// has, so that containers can run as a user of their own; anybody else can only
// be root of it.
func mappings() (uids, gids []syscall.SysProcIDMap, setgroups bool) {
	if os.Geteuid() != 0 {
		return []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}, []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}, false
	}
	return identity("/proc/self/uid_map"), identity("/proc/self/gid_map"), true
}

func identity(file string) []syscall.SysProcIDMap {
	size := 1
	if text, err := os.ReadFile(file); err == nil {
		for line := range strings.Lines(string(text)) {
			var first, outer, count int
			if n, _ := fmt.Sscan(line, &first, &outer, &count); n == 3 && first == 0 {
				size = min(count, 1<<16)
			}
		}
	}
	return []syscall.SysProcIDMap{{Size: size}}
}

// prepare makes the new namespaces fit to live in, and takes over the listeners.
func prepare(listeners int) ([]net.Listener, error) {
	if err := settle(os.Getenv(inside)); err != nil {
		return nil, err
	}
	all := make([]net.Listener, listeners)
	for i := range all {
		f := os.NewFile(uintptr(3+i), "listener")
		l, err := net.FileListener(f)
		if err != nil {
			return nil, err
		}
		_ = f.Close()
		all[i] = l
	}
	return all, nil
}

func settle(dir string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w (a container that masks parts of /proc does not allow it)", err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount %s: %w", dir, err)
	}
	if err := unix.Sethostname([]byte("control-plane")); err != nil {
		return fmt.Errorf("set hostname: %w", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0)
}

// dir returns the folder for the testbed's files.
func dir(parts ...string) string {
	return filepath.Join(append([]string{os.Getenv(inside)}, parts...)...)
}
