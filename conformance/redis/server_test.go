package redis

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/harness"
)

// server is a redis-server of the system's packages, on loopback.
type server struct {
	t    *testing.T
	port int
	args []string
	cmd  *exec.Cmd
	out  *strings.Builder
}

// newServer starts one; args are more of its options.
func newServer(t *testing.T, args ...string) *server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Fatalf("%v: run make redis first", err)
	}
	s := &server{t: t, port: harness.FreePort(t), args: args}
	s.start()
	t.Cleanup(s.stop)
	return s
}

func (s *server) start() {
	s.t.Helper()
	port := strconv.Itoa(s.port)
	args := []string{"--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", s.t.TempDir()}
	if len(s.args) > 0 && s.args[0] == "--tls-port" {
		args = append(args, "--port", "0", "--tls-port", port)
		args = append(args, s.args[1:]...)
	} else {
		args = append(append(args, "--port", port), s.args...)
	}
	s.out = &strings.Builder{}
	s.cmd = exec.Command("redis-server", args...)
	s.cmd.Stdout, s.cmd.Stderr = s.out, s.out
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) {
			s.stop()
			s.t.Fatalf("redis-server does not listen:\n%s", s.out)
		}
	}
}

// stop ends the process; a second call does nothing.
func (s *server) stop() {
	if s.cmd.ProcessState == nil {
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
		_ = s.cmd.Wait()
	}
}

// keys returns every key, seen without the proxy.
func (s *server) keys() []string {
	s.t.Helper()
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.port))
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("KEYS *\r\n")); err != nil {
		s.t.Fatal(err)
	}
	lines := bufio.NewScanner(c)
	lines.Scan()
	n, err := strconv.Atoi(strings.TrimPrefix(lines.Text(), "*"))
	if err != nil {
		s.t.Fatal(err)
	}
	var all []string
	for range n {
		lines.Scan() // its length
		lines.Scan()
		all = append(all, lines.Text())
	}
	return all
}

// certificate writes a certificate for name, which vouches for itself, and its
// key; it returns their paths and the certificate.
func certificate(t *testing.T, name string) (certFile, keyFile, text string) {
	t.Helper()
	crt, key := harness.Pair(t, name)
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, b := range map[string][]byte{certFile: crt, keyFile: key} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile, string(crt)
}
