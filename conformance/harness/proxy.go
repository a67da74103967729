package harness

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// root returns the repository's folder, which is above every test's.
func root(t testing.TB) string {
	t.Helper()
	dir, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	for filepath.Base(dir) != "conformance" {
		if dir == filepath.Dir(dir) {
			t.Fatal("the test is not below conformance/")
		}
		dir = filepath.Dir(dir)
	}
	return filepath.Dir(dir)
}

// Binary returns the path of bin/penstock, which `make build` makes.
func Binary(t testing.TB) string {
	t.Helper()
	path := filepath.Join(root(t), "bin/penstock")
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: run make plugins first", err)
	}
	return path
}

// BundledPlugins returns the OCI layout that `make plugins` makes.
func BundledPlugins(t testing.TB) string {
	t.Helper()
	return filepath.Join(root(t), "build/plugins")
}

// BundledModule returns the path of a bundled plugin's module, which `make
// plugins` makes.
func BundledModule(t testing.TB, name string) string {
	t.Helper()
	return filepath.Join(root(t), "build", name+".wasm")
}

// Options of a Proxy.
type Options struct {
	Files         map[string]string // name -> YAML; ${PORT} is the proxy's port
	Images        []string          // OCI layouts
	State         string            // state folder; default a new one
	LocalRegistry string
	Args          []string
	Line          func(text string) // gets each line that the process writes
}

// Proxy is a running binary.
type Proxy struct {
	Port       int
	URL, Admin string
	Dir        string // the folder of YAML files
	State      string
	Process    *os.Process

	t       testing.TB
	mu      sync.Mutex
	lines   []string
	exited  chan struct{}
	err     error
	pidFile string // empty: the process is never replaced
}

// Start runs the binary and waits until it is ready.
func Start(t testing.TB, o Options) *Proxy {
	t.Helper()
	p := Launch(t, o)
	p.WaitReady()
	return p
}

// Launch runs the binary and does not wait.
func Launch(t testing.TB, o Options) *Proxy {
	t.Helper()
	p := &Proxy{t: t, Port: FreePort(t), Dir: t.TempDir(), State: o.State, exited: make(chan struct{})}
	if p.State == "" {
		p.State = t.TempDir()
		shareCompiled(t, p.State)
	}
	admin := FreePort(t)
	p.URL, p.Admin = fmt.Sprintf("http://127.0.0.1:%d", p.Port), fmt.Sprintf("http://127.0.0.1:%d", admin)
	for name, text := range o.Files {
		p.Write(name, text)
	}
	args := []string{"run", "--config", p.Dir, "--bind", "127.0.0.1", "--admin", "127.0.0.1:" + strconv.Itoa(admin), "--state", p.State}
	for _, dir := range o.Images {
		args = append(args, "--images", dir)
	}
	if o.LocalRegistry != "" {
		args = append(args, "--local-registry", o.LocalRegistry)
	}
	cmd := exec.Command(Binary(t), append(args, o.Args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.Process = cmd.Process
	go func() {
		p.read(out, o.Line)
		p.err = cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(p.Stop)
	return p
}

// shareCompiled gives a new state folder the compile cache of penstock plugin test, so that a
// module is compiled once, and not for each proxy.
func shareCompiled(t testing.TB, state string) {
	t.Helper()
	dir, err := os.UserCacheDir()
	if err != nil {
		return
	}
	dir = filepath.Join(dir, "penstock", "compiled")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(dir + ".key")
	if errors.Is(err, fs.ErrNotExist) {
		key, err = newKey(dir + ".key")
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Symlink(dir, filepath.Join(state, "compiled")), os.WriteFile(filepath.Join(state, "compiled.key"), key, 0o600)); err != nil {
		t.Fatal(err)
	}
}

// newKey makes the key of a compile cache, or returns the one that another process has made
// meanwhile.
func newKey(path string) ([]byte, error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	_, err = f.Write(key)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return os.ReadFile(path)
}

func (p *Proxy) read(r io.Reader, line func(string)) {
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		p.mu.Lock()
		p.lines = append(p.lines, s.Text())
		p.mu.Unlock()
		if line != nil {
			line(s.Text())
		}
	}
}

// Log returns what the process has written so far.
func (p *Proxy) Log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

// Write makes or replaces a file of the folder, atomically.
func (p *Proxy) Write(name, text string) {
	p.t.Helper()
	text = strings.ReplaceAll(text, "${PORT}", strconv.Itoa(p.Port))
	tmp := filepath.Join(p.Dir, ".new")
	if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Rename(tmp, filepath.Join(p.Dir, name)); err != nil {
		p.t.Fatal(err)
	}
}

// Stop sends SIGTERM and waits; a second call does nothing.
func (p *Proxy) Stop() {
	_ = p.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(40 * time.Second):
		_ = p.Process.Kill()
		p.t.Error("the proxy did not stop within 40 s")
		<-p.exited
	}
	if p.t.Failed() {
		log := p.Log()
		p.t.Logf("the end of the proxy's log:\n%s", log[max(0, len(log)-8000):])
	}
}

// Exit waits for the process to end by itself and returns its exit code.
func (p *Proxy) Exit() int {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(20 * time.Second):
		p.t.Fatal("the proxy is still running")
	}
	if e, ok := p.err.(*exec.ExitError); ok {
		return e.ExitCode()
	}
	return 0
}

// WaitReady waits until /readyz says so.
func (p *Proxy) WaitReady() {
	p.t.Helper()
	p.Eventually("the proxy is ready", func() bool {
		select {
		case <-p.exited:
			p.t.Fatalf("the proxy ended: %v\n%s", p.err, p.Log())
		default:
		}
		r, err := http.Get(p.Admin + "/readyz")
		if err != nil {
			return false
		}
		r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
}

// patience is long, since a large plugin is compiled beside other tests.
const patience = 2 * time.Minute

// Eventually tries for so long.
func (p *Proxy) Eventually(what string, ok func() bool) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for !ok() {
		select {
		case <-ctx.Done():
			p.t.Fatalf("not within %v: %s\n%s", patience, what, p.Log())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Logged waits until the log has text. A line can be written after the answer
// that it is about.
func (p *Proxy) Logged(text string) {
	p.t.Helper()
	p.Eventually("in the log: "+text, func() bool { return strings.Contains(p.Log(), text) })
}

// Metrics returns the text of /metrics.
func (p *Proxy) Metrics() string {
	p.t.Helper()
	return string(p.admin("/metrics"))
}

// AdminText returns what the admin address answers for a path.
func (p *Proxy) AdminText(path string) string {
	p.t.Helper()
	return string(p.admin(path))
}

// Filter is what /chains says of one filter.
type Filter struct {
	Name, Digest, State, Reason, Message string
	Since                                time.Time
	Origin                               struct{ Object, Part, Plugin, Version string }

	Calls, Steps, Starts, Instances, MemoryBytes int64
	Seconds                                      float64
	Failures                                     map[string]int64
	Shared                                       string
}

// Chain is what /chains says of one part.
type Chain struct {
	Target, Part, State, Reason, Message string
	Filters                              []Filter
}

// Chains returns /chains.
func (p *Proxy) Chains() []Chain {
	p.t.Helper()
	var reply struct{ Chains []Chain }
	if err := json.Unmarshal(p.admin("/chains"), &reply); err != nil {
		p.t.Fatal(err)
	}
	return reply.Chains
}

// Chain returns the report of an object's part; zero if there is none.
func (p *Proxy) Chain(target string) Chain {
	for _, c := range p.Chains() {
		if c.Target == target {
			return c
		}
	}
	return Chain{}
}

func (p *Proxy) admin(path string) []byte {
	p.t.Helper()
	r, err := http.Get(p.Admin + path)
	if err != nil {
		p.t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return body
}
