package author

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/harness"
)

// served is penstock plugin run under way.
type served struct {
	t    *testing.T
	c    *exec.Cmd
	url  string
	mu   sync.Mutex
	said strings.Builder
	read sync.WaitGroup
}

// newPlugin makes a folder by penstock plugin new.
func newPlugin(t *testing.T, dir, language string) {
	t.Helper()
	if out, err := exec.Command(harness.Binary(t), "plugin", "new", dir, "--lang", language).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// serve runs penstock plugin run.
func serve(t *testing.T, dir string, args ...string) *served {
	t.Helper()
	listen := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	s := &served{t: t, url: "http://" + listen, c: exec.Command(harness.Binary(t), append([]string{"plugin", "run", dir, "--listen", listen}, args...)...)}
	out, err := s.c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.c.Stderr = s.c.Stdout
	if err := s.c.Start(); err != nil {
		t.Fatal(err)
	}
	s.read.Go(func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			s.mu.Lock()
			s.said.WriteString(lines.Text() + "\n")
			s.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		_ = s.c.Process.Kill()
		s.read.Wait()
		_ = s.c.Wait()
		if t.Failed() {
			t.Logf("it said\n%s", s.output())
		}
	})
	return s
}

func (s *served) output() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.said.String()
}

// until waits until something is so.
func (s *served) until(what string, so func() bool) {
	s.t.Helper()
	for end := time.Now().Add(2 * time.Minute); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("never: %s", what)
		}
	}
}

// greets waits until the plugin answers with this greeting.
func (s *served) greets(want string) {
	s.t.Helper()
	s.until("X-Greeting: "+want, func() bool {
		r, err := http.Get(s.url)
		if err != nil {
			return false
		}
		r.Body.Close()
		return r.StatusCode == 200 && r.Header.Get("X-Greeting") == want
	})
}

// end sends SIGINT, and returns the exit code.
func (s *served) end() int {
	s.t.Helper()
	if err := s.c.Process.Signal(syscall.SIGINT); err != nil {
		s.t.Fatal(err)
	}
	s.read.Wait()
	_ = s.c.Wait()
	return s.c.ProcessState.ExitCode()
}

func rewrite(t *testing.T, file, from, to string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), from) {
		t.Fatalf("%s: no %q", file, from)
	}
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(text), from, to)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestRun: a plugin is served in front of a URL, and again when its source or its
// configuration changes; what cannot be used is told, and the one before goes on; no
// request is lost.
func TestRun(t *testing.T) {
	parent := t.TempDir()
	newPlugin(t, filepath.Join(parent, "prices"), "go")
	dir, config := filepath.Join(parent, "prices"), filepath.Join(parent, "config.yaml")
	if err := os.WriteFile(config, []byte("greeting: first\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := serve(t, dir, "--to", fmt.Sprintf("http://127.0.0.1:%d/base", harness.Upstream(t, harness.Echo)), "--config", config)
	s.greets("first")

	stop, done := make(chan struct{}), make(chan map[string]int)
	go func() {
		got := map[string]int{}
		for {
			select {
			case <-stop:
				done <- got
				return
			default:
			}
			r, err := http.Get(s.url + "/path")
			if err != nil {
				got[err.Error()]++
				continue
			}
			r.Body.Close()
			got[r.Status]++
		}
	}()
	source := filepath.Join(dir, "main.go")
	rewrite(t, source, "s.plugin.config.Greeting)", `s.plugin.config.Greeting+" again")`)
	s.greets("first again")
	rewrite(t, source, "func main() {}", "func main() { broken")
	s.until("the broken source is told", func() bool {
		return strings.Contains(s.output(), "not live, the one before goes on: the plugin in "+dir+" does not build: go: exit status 1")
	})
	s.greets("first again")
	rewrite(t, source, "func main() { broken", "func main() {}")
	s.until("the mended source is told", func() bool { return strings.Contains(s.output(), "builds again; what runs is the same\n") })
	if err := os.Remove(filepath.Join(dir, "schema.json")); err != nil { // so that it is the plugin that refuses
		t.Fatal(err)
	}
	rewrite(t, config, "greeting: first", "greting: second")
	s.until("the refused configuration is told", func() bool {
		return strings.Contains(s.output(), "not live, the one before goes on: the plugin does not start: InvalidConfig: proxy_on_configure returned false: the plugin refused its configuration; its log says why: config.greting: ")
	})
	s.greets("first again")
	rewrite(t, config, "greting: second", "greeting: third")
	s.greets("third again")
	close(stop)
	if got := <-done; len(got) != 1 || got["200 OK"] == 0 {
		t.Errorf("got %v; want 200 only", got)
	}
	s.until("it was told three times that it is live", func() bool { return strings.Count(s.output(), "live on "+s.url) == 3 })
	if code := s.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestRunCalls: with --service a plugin calls what serves on this machine, by the name of a
// Service; without it, it is told that there is none.
func TestRunCalls(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "prices")
	newPlugin(t, dir, "go")
	rewrite(t, filepath.Join(dir, "plugin.json"), `"capabilities": []`, `"capabilities": ["http-call"]`)
	source := filepath.Join(dir, "main.go")
	rewrite(t, source, "import sdk ", "import (\n\t\"time\"\n\n\tsdk ")
	rewrite(t, source, `wasm-sdk/go"`, "wasm-sdk/go\"\n)")
	rewrite(t, source, "	return sdk.Continue\n}\n\n// ResponseHeaders", `	err := sdk.HTTPCall("check:8000", [][2]string{{":method", "GET"}, {":path", "/"}, {":authority", "check"}}, nil, nil, time.Second, func(r sdk.HTTPResponse) {
		s.plugin.config.Greeting = string(r.Body.All())
		if err := sdk.Resume(sdk.Request); err != nil {
			panic(err)
		}
	})
	if err != nil {
		s.plugin.config.Greeting = "there is none"
		return sdk.Continue
	}
	return sdk.Pause
}

// ResponseHeaders`)
	to := fmt.Sprintf("http://127.0.0.1:%d", harness.Upstream(t, harness.Echo))
	check := harness.Upstream(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "seen by ", r.Host) })
	s := serve(t, dir, "--to", to, "--service", fmt.Sprintf("check:8000=127.0.0.1:%d", check))
	s.greets("seen by check")
	s.end()
	s = serve(t, dir, "--to", to)
	s.greets("there is none")
	s.end()
}

// TestRunRefuses: what cannot be begun ends at once, with one line.
func TestRunRefuses(t *testing.T) {
	empty := t.TempDir()
	for want, args := range map[string][]string{
		"no plugin is here": {empty, "--to", "http://127.0.0.1:1"},
		`--to "ftp://a": want http://HOST[:PORT][/PATH]`: {empty, "--to", "ftp://a"},
		`--to "http://a?b": want`:                        {empty, "--to", "http://a?b"},
		`--listen "8080": want an address and a port`:    {empty, "--to", "http://127.0.0.1:1", "--listen", "8080"},
		`required flag(s) "to" not set`:                  {empty},
		`--service "check": want NAME=HOST:PORT`:         {empty, "--to", "http://127.0.0.1:1", "--service", "check"},
		`--service "check:0=127.0.0.1:1": want NAME=`:    {empty, "--to", "http://127.0.0.1:1", "--service", "check:0=127.0.0.1:1"},
		`a Service cannot be called "Check"`:             {empty, "--to", "http://127.0.0.1:1", "--service", "Check=127.0.0.1:1"},
		`there is a Service plugin already`:              {empty, "--to", "http://127.0.0.1:1", "--service", "plugin=127.0.0.1:1"},
	} {
		out, err := exec.Command(harness.Binary(t), append([]string{"plugin", "run"}, args...)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) || strings.Count(string(out), "\n") != 1 {
			t.Errorf("%q: got %s, %v; want %s", args, out, err, want)
		}
	}
}
