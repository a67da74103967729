package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"golang.org/x/sys/unix"

	"penstock.dev/penstock/core/sandbox/meter"
)

// runCompiler runs the child process within its limits; it fills dir.
func (e *Engine) runCompiler(ctx context.Context, wasm []byte, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, wallFactor*e.o.CompileTimeout)
	defer cancel()
	args := append(e.o.Compiler[1:len(e.o.Compiler):len(e.o.Compiler)], "--dir", dir, "--memory", strconv.FormatInt(e.o.CompileMemory, 10), "--cpu", e.o.CompileTimeout.String())
	c := exec.CommandContext(ctx, e.o.Compiler[0], args...)
	c.Env = e.compilerEnv()
	c.Stdin = bytes.NewReader(wasm)
	tail := &tailWriter{}
	c.Stderr = tail
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = 5 * time.Second
	err := c.Run()
	switch {
	case err == nil:
		return nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded), killedBy(err, syscall.SIGXCPU):
		return &CompileError{Reason: fmt.Sprintf("not done after %v", e.o.CompileTimeout)}
	case ctx.Err() != nil:
		return ctx.Err()
	case tail.has("out of memory") || tail.has("cannot allocate memory"):
		return &CompileError{Reason: fmt.Sprintf("needs more than %d MiB", e.o.CompileMemory>>20)}
	}
	return &CompileError{Reason: fmt.Sprintf("%v: %s", err, tail.String())}
}

// compilerEnv is the compiler's environment. The module may be hostile, and this
// process' own environment hold secrets.
func (e *Engine) compilerEnv() []string {
	env := append([]string{"GOMAXPROCS=1", "GOTRACEBACK=none"}, e.o.CompilerEnv...)
	for _, name := range []string{"PATH", "HOME", "TMPDIR"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// wallFactor times its limit in CPU time is how long a compile may take by the
// clock: it runs behind everything else.
const wallFactor = 5

func killedBy(err error, signal syscall.Signal) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == signal
}

// tailWriter keeps the first KiB, where the cause is.
type tailWriter struct{ b []byte }

func (t *tailWriter) Write(p []byte) (int, error) {
	if room := 1024 - len(t.b); room > 0 {
		t.b = append(t.b, p[:min(room, len(p))]...)
	}
	return len(p), nil
}

func (t *tailWriter) has(s string) bool { return strings.Contains(string(t.b), s) }

// String returns the first line.
func (t *tailWriter) String() string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(t.b)), "\n")
	return line
}

// Compile is the compiler process: it reads a module from in and compiles it
// into the empty folder dir. It knows nothing of the compile cache, and has no
// key to it: the module is hostile. memory bounds what the process may use, in
// bytes, and cpu its CPU time, in whole seconds; 0 for no bound. It lowers the
// priority of its whole process group, so that it is for a process that does
// nothing else.
func Compile(dir string, memory int64, cpu time.Duration, in io.Reader) error {
	if err := Confine(memory, cpu); err != nil {
		return err
	}
	wasm, err := io.ReadAll(io.LimitReader(in, MaxModuleBytes+1))
	if err != nil {
		return err
	}
	metered, err := meter.Instrument(wasm, meter.Options{})
	if err != nil {
		return err
	}
	return compileInto(dir, metered)
}

// Confine bounds what this process may use, memory in bytes and cpu in whole seconds of
// CPU time; 0 for no bound. It lowers the priority of its whole process group. It is for a
// process that does one thing for another one, and for untrusted content.
func Confine(memory int64, cpu time.Duration) error {
	if cpu > 0 {
		seconds := uint64((cpu + time.Second - 1) / time.Second)
		if err := unix.Setrlimit(unix.RLIMIT_CPU, &unix.Rlimit{Cur: seconds, Max: seconds + 1}); err != nil {
			return fmt.Errorf("limit CPU time: %w", err)
		}
	}
	if memory > 0 {
		limit := &unix.Rlimit{Cur: uint64(memory), Max: uint64(memory)}
		if err := unix.Setrlimit(unix.RLIMIT_DATA, limit); err != nil {
			return fmt.Errorf("limit memory: %w", err)
		}
		debug.SetMemoryLimit(memory * 3 / 4)
	}
	// The group, which is this process (runCompiler): PRIO_PROCESS would be this
	// thread, and the compiler runs on another one.
	if err := unix.Setpriority(unix.PRIO_PGRP, 0, priority); err != nil && !lower() {
		return fmt.Errorf("lower priority: %w", err)
	}
	return nil
}

// priority is what compiles run at: below all that serves.
const priority = 10

// lower reports whether this process runs at that priority or below, as one does whose
// parent does: it may not raise itself.
func lower() bool {
	const zero = 20 // the kernel returns 20 less the priority
	p, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	return err == nil && zero-p >= priority
}

// compileInto fills dir with the engine's file of the module's code, under the name
// that it looks for when it is given the module's outline.
func compileInto(dir string, metered []byte) error {
	outline, err := meter.Outline(metered)
	if err != nil {
		return err
	}
	code, err := compileOne(filepath.Join(dir, "whole"), metered)
	if err != nil {
		return err
	}
	name, err := compileOne(dir, outline)
	if err != nil {
		return err
	}
	if err := os.Rename(code, name); err != nil {
		return err
	}
	return os.RemoveAll(filepath.Join(dir, "whole"))
}

// compileOne compiles a module, and returns the path of the file that the engine
// made in dir.
func compileOne(dir string, wasm []byte) (file string, err error) {
	ctx := context.Background()
	cache, err := wazero.NewCompilationCacheWithDir(dir)
	if err != nil {
		return "", err
	}
	r := wazero.NewRuntimeWithConfig(ctx, runtimeConfig(cache))
	defer r.Close(ctx)
	if _, err := r.CompileModule(ctx, wasm); err != nil {
		return "", fmt.Errorf("%w: %w", meter.ErrModule, err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "wazero-*", "*"))
	if err == nil && len(files) != 1 {
		err = fmt.Errorf("the engine left %d files in %s, want 1", len(files), dir)
	}
	if err != nil {
		return "", err
	}
	return files[0], nil
}

// runtimeConfig is what both processes compile with: what differs would miss
// the cache.
func runtimeConfig(cache wazero.CompilationCache) wazero.RuntimeConfig {
	return wazero.NewRuntimeConfigCompiler().
		WithCoreFeatures(api.CoreFeaturesV2).
		WithCompilationCache(cache).
		WithDebugInfoEnabled(false)
}
