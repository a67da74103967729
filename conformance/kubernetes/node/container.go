package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// container is one container of a Pod, through all its restarts.
type container struct {
	pod  *pod
	spec *corev1.Container
	kind containerKind

	// Guarded by pod.mu.
	state, last corev1.ContainerState
	restarts    int32
	ready       bool
	started     bool
	id          string
	process     *process
	stopping    bool
	log         *logFile

	stop chan struct{} // closed when stopping
}

type containerKind int

const (
	ordinary containerKind = iota
	initial                // runs to its end before the next
	sidecar                // an init container that goes on
)

func newContainer(p *pod, spec *corev1.Container, isInit bool) *container {
	c := &container{pod: p, spec: spec, stop: make(chan struct{})}
	switch {
	case isInit && spec.RestartPolicy != nil && *spec.RestartPolicy == corev1.ContainerRestartPolicyAlways:
		c.kind = sidecar
	case isInit:
		c.kind = initial
	}
	c.state.Waiting = &corev1.ContainerStateWaiting{Reason: "PodInitializing"}
	return c
}

// restartable tells whether a container that ended with code starts again.
func (c *container) restartable(code int32) bool {
	switch policy := c.pod.object().Spec.RestartPolicy; {
	case c.kind == sidecar:
		return true
	case c.kind == initial:
		return code != 0 && policy != corev1.RestartPolicyNever
	case policy == corev1.RestartPolicyAlways:
		return true
	case policy == corev1.RestartPolicyOnFailure:
		return code != 0
	}
	return false
}

// run starts the container again and again until it has done its work or was
// stopped. It returns its last exit code.
func (c *container) run(ctx context.Context) int32 {
	backoff := time.Duration(0)
	for {
		began := time.Now()
		code, err := c.once(ctx)
		if err != nil {
			c.wait(reasonOf(err), err.Error())
			if !c.pause(300 * time.Millisecond) {
				return 128
			}
			continue
		}
		c.pod.mu.Lock()
		stopping := c.stopping
		c.pod.mu.Unlock()
		if stopping || !c.restartable(code) {
			return code
		}
		first := c.pod.agent.config.Backoff
		switch {
		case time.Since(began) > 60*first:
			backoff = 0
		case backoff == 0:
			backoff = first
		default:
			backoff = min(2*backoff, 30*first)
		}
		if c.lastRestarts() > 0 { // the first restart is at once
			c.wait("CrashLoopBackOff", fmt.Sprintf("back-off %v restarting failed container", backoff))
			if !c.pause(backoff) {
				return code
			}
		}
		c.pod.mu.Lock()
		c.restarts++
		c.pod.mu.Unlock()
	}
}

func (c *container) lastRestarts() int32 {
	c.pod.mu.Lock()
	defer c.pod.mu.Unlock()
	return c.restarts
}

// pause waits, and tells whether the container may go on.
func (c *container) pause(d time.Duration) bool {
	select {
	case <-c.stop:
		return false
	case <-time.After(d):
		return true
	}
}

// configError is a fault of the Pod's text or of what it refers to.
type configError struct{ error }

func reasonOf(err error) string {
	var config configError
	switch {
	case errors.Is(err, errNoImage):
		return "ErrImagePull"
	case errors.As(err, &config):
		return "CreateContainerConfigError"
	}
	return "RunContainerError"
}

// once starts the container and waits for its end.
func (c *container) once(ctx context.Context) (code int32, err error) {
	l, err := c.launch(ctx)
	if err != nil {
		return 0, err
	}
	log, err := openLog(filepath.Join(c.pod.dir, "logs", fmt.Sprintf("%s.%d.log", c.spec.Name, c.lastRestarts())))
	if err != nil {
		return 0, err
	}
	out, errw := &stream{log: log}, &stream{log: log}
	c.pod.mu.Lock()
	if c.stopping {
		c.pod.mu.Unlock()
		log.close()
		return 128, nil
	}
	process, err := c.pod.sandbox.startProcess(l, out, errw)
	if err != nil {
		c.pod.mu.Unlock()
		log.close()
		return 0, err
	}
	began := metav1.Now()
	c.process, c.log = process, log
	c.id = fmt.Sprintf("testbed://%s-%s-%d", c.pod.uid, c.spec.Name, c.restarts)
	if c.state.Terminated != nil {
		c.last = c.state
	}
	c.state = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: began}}
	c.started, c.ready = c.spec.StartupProbe == nil, c.spec.StartupProbe == nil && c.spec.ReadinessProbe == nil
	c.pod.mu.Unlock()
	c.pod.report()

	probing, done := context.WithCancel(ctx)
	probes := c.startProbes(probing)
	<-process.done
	done()
	probes.Wait()
	out.flush()
	errw.flush()
	log.close()

	ended := &corev1.ContainerStateTerminated{ExitCode: process.code, Signal: process.sig, StartedAt: began, FinishedAt: metav1.Now(), ContainerID: c.id, Reason: "Completed"}
	if process.code != 0 {
		ended.Reason = "Error"
	}
	c.pod.mu.Lock()
	c.state = corev1.ContainerState{Terminated: ended}
	c.ready, c.started = false, false
	c.pod.mu.Unlock()
	c.pod.report()
	return process.code, nil
}

// wait says in the status why the container does not run.
func (c *container) wait(reason, message string) {
	c.pod.mu.Lock()
	if c.state.Terminated != nil {
		c.last = c.state
	}
	changed := c.state.Waiting == nil || c.state.Waiting.Reason != reason || c.state.Waiting.Message != message
	c.state = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
	c.pod.mu.Unlock()
	if changed {
		c.pod.agent.event(c.pod, corev1.EventTypeWarning, reason, fmt.Sprintf("container %s: %s", c.spec.Name, message))
		c.pod.report()
	}
}

// end runs the preStop hook, asks the container to end, and ends it when grace is
// over.
func (c *container) end(ctx context.Context, grace time.Duration) {
	c.pod.mu.Lock()
	process := c.process
	c.pod.mu.Unlock()
	if process == nil || !process.running() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	if c.spec.Lifecycle != nil && c.spec.Lifecycle.PreStop != nil {
		if err := c.hook(ctx, process, c.spec.Lifecycle.PreStop); err != nil {
			c.pod.agent.event(c.pod, corev1.EventTypeWarning, "FailedPreStopHook", err.Error())
		}
	}
	signal := syscall.SIGTERM
	process.signal(signal)
	select {
	case <-process.done:
	case <-ctx.Done():
		process.signal(syscall.SIGKILL)
		<-process.done
	}
}

func (c *container) hook(ctx context.Context, process *process, h *corev1.LifecycleHandler) error {
	switch {
	case h.Sleep != nil:
		select {
		case <-ctx.Done():
		case <-process.done:
		case <-time.After(time.Duration(h.Sleep.Seconds) * time.Second):
		}
		return nil
	case h.Exec != nil:
		return c.exec(ctx, h.Exec.Command)
	case h.HTTPGet != nil:
		return c.httpGet(ctx, h.HTTPGet)
	}
	return errors.New("this kind of hook is not supported")
}

// exec runs a command in the container; a failure holds its output.
func (c *container) exec(ctx context.Context, command []string) error {
	var out strings.Builder
	cmd, err := c.enter(ctx, command, func(cmd *exec.Cmd) { cmd.Stdout, cmd.Stderr = &out, &out })
	if err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, out.String())
	}
	return nil
}

// enter starts a command in the container, with its environment and user.
func (c *container) enter(ctx context.Context, command []string, set func(*exec.Cmd)) (*exec.Cmd, error) {
	c.pod.mu.Lock()
	process := c.process
	c.pod.mu.Unlock()
	if process == nil || !process.running() {
		return nil, fmt.Errorf("container %s does not run", c.spec.Name)
	}
	env, _, err := c.pod.environment(ctx, c.spec)
	if err != nil {
		return nil, err
	}
	who, err := c.credentials()
	if err != nil {
		return nil, err
	}
	return process.enter(c.pod.sandbox, func() *exec.Cmd {
		path, err := lookup(command[0], env)
		if err != nil {
			path = command[0]
		}
		cmd := exec.CommandContext(ctx, path)
		cmd.Args, cmd.Env, cmd.Dir = command, env, "/"
		if c.spec.WorkingDir != "" {
			cmd.Dir = c.spec.WorkingDir
		}
		if who.user != 0 {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(who.user), Gid: uint32(who.group), NoSetGroups: who.groups == nil}}
			for _, g := range who.groups {
				cmd.SysProcAttr.Credential.Groups = append(cmd.SysProcAttr.Credential.Groups, uint32(g))
			}
		}
		cmd.WaitDelay = time.Second
		set(cmd)
		return cmd
	})
}

// logPath returns the file of the current or the previous run's output.
func (c *container) logPath(previous bool) (string, error) {
	c.pod.mu.Lock()
	defer c.pod.mu.Unlock()
	n := c.restarts
	if c.log == nil {
		return "", fmt.Errorf("container %s has not started", c.spec.Name)
	}
	path := c.log.path
	if previous {
		if n == 0 {
			return "", fmt.Errorf("previous terminated container %q not found", c.spec.Name)
		}
		path = filepath.Join(filepath.Dir(path), fmt.Sprintf("%s.%d.log", c.spec.Name, n-1))
	}
	_, err := os.Stat(path)
	return path, err
}
