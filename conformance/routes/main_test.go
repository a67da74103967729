package routes

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// isolated is set where the tests run in a network of their own: to the suite's
// backend, which was built before.
const isolated = "PENSTOCK_ROUTES_ECHO"

const echoModule = "sigs.k8s.io/gateway-api/conformance/echo-basic"

// TestMain runs the tests in a network namespace: the suite's Gateways listen on ports
// 80, 443 and 8080, and its backends on 3000.
func TestMain(m *testing.M) {
	if os.Getenv(isolated) != "" {
		if err := loopbackUp(); err != nil {
			fmt.Fprintln(os.Stderr, "loopback:", err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	dir, err := os.MkdirTemp("", "echo-basic")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	echo := filepath.Join(dir, "echo-basic")
	if out, err := exec.Command("go", "build", "-o", echo, echoModule).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build %s: %v\n%s", echoModule, err, out)
		os.Exit(1)
	}
	code := alone(echo)
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// alone runs this program again in a network of its own.
func alone(echo string) int {
	self := exec.Command("/proc/self/exe", os.Args[1:]...)
	self.Env = append(os.Environ(), isolated+"="+echo)
	self.Stdin, self.Stdout, self.Stderr = os.Stdin, os.Stdout, os.Stderr
	self.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	err := self.Run()
	var ended *exec.ExitError
	switch {
	case errors.As(err, &ended):
		return ended.ExitCode()
	case err != nil:
		fmt.Fprintln(os.Stderr, "a network namespace:", err)
		return 1
	}
	return 0
}

// loopbackUp switches the loopback interface of this namespace on.
func loopbackUp() error {
	out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}
