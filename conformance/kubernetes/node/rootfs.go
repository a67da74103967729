package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// launch is what a container's first process needs to become the container. It
// travels by pipe, on file descriptor 3.
type launch struct {
	Root     string // an empty folder: where the root file system is mounted while it is built
	ReadOnly bool
	Program  string
	Files    map[string]string // texts of the root file system
	Binds    []bind
	Dir      string
	Argv     []string
	Env      []string
	User     int64
	Group    int64
	Groups   []int
	Bounding []uintptr // capabilities that may be had
	Caps     []uintptr // those that root has
	NoNew    bool      // no new privileges
}

// bind is a file or folder of the node that the container sees.
type bind struct {
	From, To string
	ReadOnly bool
}

// Container is the first process of a container, in mount and PID namespaces of its
// own: it builds the root file system, gives up what it does not need and becomes
// the program. It returns only with an error, which it also tells the agent: on
// file descriptor 4, which closes when the program has begun.
func Container() error {
	syscall.CloseOnExec(4)
	err := become()
	_, _ = os.NewFile(4, "begun").WriteString(err.Error())
	return err
}

func become() error {
	runtime.LockOSThread() // credentials belong to a thread; exec keeps this one's
	pipe := os.NewFile(3, "launch")
	var l launch
	if err := json.NewDecoder(pipe).Decode(&l); err != nil {
		return fmt.Errorf("launch: %w", err)
	}
	_ = pipe.Close()
	if err := l.build(); err != nil {
		return fmt.Errorf("root file system: %w", err)
	}
	if err := os.Chdir(l.Dir); err != nil {
		return err
	}
	path, err := lookup(l.Argv[0], l.Env)
	if err != nil {
		return err
	}
	if err := l.drop(); err != nil {
		return fmt.Errorf("privileges: %w", err)
	}
	return fmt.Errorf("exec %s: %w", path, syscall.Exec(path, l.Argv, l.Env))
}

func (l *launch) build() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", l.Root, "tmpfs", 0, "mode=755"); err != nil {
		return err
	}
	for _, d := range []string{"bin", "dev", "etc", "proc", "tmp", "run", "var", "root"} {
		if err := os.Mkdir(filepath.Join(l.Root, d), 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod(filepath.Join(l.Root, "tmp"), 0o777|os.ModeSticky); err != nil {
		return err
	}
	for name, text := range l.Files {
		if err := os.WriteFile(filepath.Join(l.Root, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := unix.Mount("proc", filepath.Join(l.Root, "proc"), "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("/proc: %w", err)
	}
	if err := l.devices(); err != nil {
		return fmt.Errorf("/dev: %w", err)
	}
	binds := append([]bind{{From: l.Program, To: "/bin/" + filepath.Base(l.Program), ReadOnly: true}}, l.Binds...)
	for _, b := range binds {
		if err := l.bind(b); err != nil {
			return fmt.Errorf("%s: %w", b.To, err)
		}
	}
	return l.pivot()
}

func (l *launch) devices() error {
	dev := filepath.Join(l.Root, "dev")
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		if err := l.bind(bind{From: "/dev/" + name, To: "/dev/" + name}); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	for name, to := range map[string]string{"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"} {
		if err := os.Symlink(to, filepath.Join(dev, name)); err != nil {
			return err
		}
	}
	shm := filepath.Join(dev, "shm")
	if err := os.Mkdir(shm, 0o755); err != nil {
		return err
	}
	return unix.Mount("tmpfs", shm, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=1777,size=64m")
}

func (l *launch) bind(b bind) error {
	to := filepath.Join(l.Root, b.To)
	info, err := os.Stat(b.From)
	if err != nil {
		return err
	}
	if info.IsDir() {
		err = os.MkdirAll(to, 0o755)
	} else if err = os.MkdirAll(filepath.Dir(to), 0o755); err == nil {
		var f *os.File
		if f, err = os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o644); err == nil {
			err = f.Close()
		}
	}
	if err != nil {
		return err
	}
	if err := unix.Mount(b.From, to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	if !b.ReadOnly {
		return nil
	}
	return readOnly(to)
}

// readOnly makes a bind mount read-only. Flags that a mount of the outer user
// namespace has are locked and must be said again.
func readOnly(path string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return err
	}
	flags := uintptr(unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY)
	for st, ms := range map[int64]uintptr{unix.ST_NOSUID: unix.MS_NOSUID, unix.ST_NODEV: unix.MS_NODEV, unix.ST_NOEXEC: unix.MS_NOEXEC, unix.ST_NOATIME: unix.MS_NOATIME, unix.ST_NODIRATIME: unix.MS_NODIRATIME, unix.ST_RELATIME: unix.MS_RELATIME} {
		if fs.Flags&st != 0 {
			flags |= ms
		}
	}
	return unix.Mount("", path, "", flags, "")
}

// pivot makes the new root the only one.
func (l *launch) pivot() error {
	if err := os.Chdir(l.Root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("let go of the old root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if l.ReadOnly {
		return readOnly("/")
	}
	return nil
}

// drop gives up capabilities and becomes the container's user.
func (l *launch) drop() error {
	keep := map[uintptr]bool{}
	for _, c := range l.Bounding {
		keep[c] = true
	}
	for c := range uintptr(unix.CAP_LAST_CAP + 1) {
		if !keep[c] {
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
				return err
			}
		}
	}
	if l.Groups != nil { // a user namespace of one user has no say over groups
		if err := setgroups(l.Groups); err != nil {
			return fmt.Errorf("groups: %w", err)
		}
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESGID, uintptr(l.Group), uintptr(l.Group), uintptr(l.Group)); e != 0 {
		return fmt.Errorf("group %d: %w", l.Group, e)
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(l.User), uintptr(l.User), uintptr(l.User)); e != 0 {
		return fmt.Errorf("user %d: %w", l.User, e)
	}
	if l.NoNew {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return err
		}
	}
	if l.User != 0 {
		return nil // the kernel cleared all capabilities
	}
	var data [2]unix.CapUserData
	for _, c := range l.Caps {
		data[c/32].Effective |= 1 << (c % 32)
	}
	for i := range data {
		data[i].Permitted = data[i].Effective
	}
	return unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data[0])
}

// setgroups is of this thread only, unlike syscall.Setgroups.
func setgroups(groups []int) error {
	list := make([]uint32, len(groups)+1)
	for i, g := range groups {
		list[i] = uint32(g)
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&list[0])), 0); e != 0 {
		return e
	}
	return nil
}

func lookup(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, e := range env {
		if path, ok := strings.CutPrefix(e, "PATH="); ok {
			for d := range strings.SplitSeq(path, ":") {
				if info, err := os.Stat(filepath.Join(d, name)); err == nil && !info.IsDir() {
					return filepath.Join(d, name), nil
				}
			}
		}
	}
	return "", fmt.Errorf("%s: not in PATH", name)
}
