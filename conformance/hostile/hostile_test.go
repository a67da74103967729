// Package hostile has guests, upstreams, folders and ports that misbehave: the
// exchange gets a clear answer, the process and its neighbours go on.
package hostile

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/harness"
)

func get(t *testing.T, url string) (int, string, error) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	return r.StatusCode, string(body), err
}

// TestBadInput: each broken Service breaks itself only.
func TestBadInput(t *testing.T) {
	upstream := harness.Upstream(t, harness.Echo)
	layout := t.TempDir()
	junk := filepath.Join(t.TempDir(), "junk")
	if err := os.WriteFile(junk, []byte("this is no module"), 0o600); err != nil {
		t.Fatal(err)
	}
	harness.Pack(t, layout, "junk", junk)
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("\x00asm\x01\x00\x00\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	harness.Pack(t, layout, "noabi", empty)
	tests := map[string]struct{ annotation, reason string }{
		"text":     {"- use: [", "InvalidAnnotation"},
		"unknown":  {"- use: nothing-of-that-name", "UnknownPlugin"},
		"key":      {"- image: penstock.dev/plugins/transform:1\n  confg: {}", "InvalidAnnotation"},
		"policy":   {"- image: elsewhere.example/plugin:1", "RefusedByPolicy"},
		"missing":  {"- image: test.example/plugins/none:1", "ImageUnavailable"},
		"junk":     {"- image: test.example/plugins/junk:1", "InvalidModule"},
		"noabi":    {"- image: test.example/plugins/noabi:1", "UnknownABI"},
		"refused":  {"- image: penstock.dev/plugins/transform:1\n  config: {response: {status: 99}}", "InvalidConfig"},
		"guarded":  {"- use: cache\n- use: key-auth\n  config: {keys: [{key: k, consumer: c}]}", "InvalidConfig"},
		"secret":   {"- image: penstock.dev/plugins/key-auth:1\n  configFrom: [{secretKeyRef: {name: none, key: keys}}]", "SecretMissing"},
		"skipping": {"- image: penstock.dev/plugins/key-auth:1\n  onError: skip\n  config: {keys: [{key: 12345678-a, consumer: c}]}", "InvalidConfig"},
	}
	files := map[string]string{"gateway.yaml": harness.GatewayFor(1), "good.yaml": harness.Service("good", "", upstream)}
	for name, test := range tests {
		files[name+".yaml"] = harness.Service(name, test.annotation, upstream)
	}
	p := harness.Start(t, harness.Options{Files: files, Images: []string{harness.BundledPlugins(t), layout}})
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			status, body, err := get(t, p.URL+"/"+name)
			if status != 503 || err != nil {
				t.Errorf("got %d, %v; want 503", status, err)
			}
			if c := p.Chain("Service/default/" + name); c.Reason != test.reason || c.Message == "" {
				t.Errorf("got %+v; want reason %s", c, test.reason)
			}
			if !strings.Contains(body, "default/"+name) || !strings.Contains(body, test.reason) {
				t.Errorf("the answer names not object and reason: %q", body)
			}
			if status, _, _ := get(t, p.URL+"/good"); status != 200 {
				t.Errorf("the neighbour answers %d", status)
			}
		})
	}
}

// TestChangesWhileRunning: a mistake keeps the last good chain, a correction is live.
func TestChangesWhileRunning(t *testing.T) {
	upstream := harness.Upstream(t, harness.Echo)
	transform := func(value string) string {
		return "- image: penstock.dev/plugins/transform:1\n  config: {response: {headers: {set: {X-Version: \"" + value + "\"}}}}"
	}
	p := harness.Start(t, harness.Options{
		Files:  map[string]string{"gateway.yaml": harness.GatewayFor(1), "a.yaml": harness.Service("a", transform("1"), upstream)},
		Images: []string{harness.BundledPlugins(t)},
	})
	version := func() string {
		r, err := http.Get(p.URL + "/a")
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		return fmt.Sprint(r.StatusCode, " ", r.Header.Get("X-Version"))
	}
	p.Eventually("version 1", func() bool { return version() == "200 1" })
	p.Write("a.yaml", harness.Service("a", transform("2"), upstream))
	p.Eventually("version 2", func() bool { return version() == "200 2" })

	p.Write("a.yaml", harness.Service("a", "- use: [", upstream))
	p.Eventually("the mistake is told", func() bool { return p.Chain("Service/default/a").State == "LastGood" })
	if got := version(); got != "200 2" {
		t.Errorf("got %s; want the last good chain", got)
	}
	p.Write("a.yaml", "this is: [no yaml")
	p.Eventually("the file's mistake is told", func() bool { return strings.Contains(p.Log(), "a.yaml") })
	if got := version(); got != "200 2" {
		t.Errorf("got %s; want the last objects of the file", got)
	}
	p.Write("a.yaml", harness.Service("a", transform("3"), upstream))
	p.Eventually("version 3", func() bool { return version() == "200 3" })
}

// TestUpstreams: what an upstream does wrong is never made to look whole.
func TestUpstreams(t *testing.T) {
	raw := func(answer string) int {
		return harness.UpstreamTCP(t, func(c *net.TCPConn) {
			if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				io.WriteString(c, answer)
			}
		})
	}
	tests := map[string]struct {
		port   int
		status int // 0: the answer must break
		reason string
	}{
		"refuses":    {harness.FreePort(t), 502, "connect-refused"},
		"closes":     {raw(""), 502, "upstream-closed"},
		"garbage":    {raw("SSH-2.0-OpenSSH\r\n"), 502, "bad-response"},
		"truncated":  {raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"), 0, ""},
		"unfinished": {raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n"), 0, ""},
		"ambiguous":  {raw("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 502, "bad-response"},
		"two-sizes":  {raw("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"), 502, "bad-response"},
	}
	files := map[string]string{"gateway.yaml": harness.GatewayFor(1)}
	for name, test := range tests {
		files[name+".yaml"] = harness.Service(name, "", test.port)
	}
	p := harness.Start(t, harness.Options{Files: files})
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			status, body, err := get(t, p.URL+"/"+name)
			if test.status == 0 {
				if err == nil && status == 200 {
					t.Errorf("got a whole answer: %q", body)
				}
				return
			}
			if status != test.status || err != nil {
				t.Errorf("got %d, %v; want %d", status, err, test.status)
			}
			p.Eventually("the reason is in the access log", func() bool { return strings.Contains(p.Log(), test.reason) })
		})
	}
}

// TestStart: what cannot work ends at once with one clear line.
func TestStart(t *testing.T) {
	t.Run("an unreadable folder", func(t *testing.T) {
		p := harness.Launch(t, harness.Options{Args: []string{"--config", "/nowhere/at/all"}})
		if code := p.Exit(); code != 1 || !strings.Contains(p.Log(), "/nowhere/at/all") || strings.Count(p.Log(), "\n") > 0 {
			t.Errorf("got exit %d and %q; want 1 and one line", code, p.Log())
		}
	})
	t.Run("a port that is taken", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
		p := harness.Launch(t, harness.Options{Files: map[string]string{"gateway.yaml": strings.ReplaceAll(harness.GatewayFor(1), "${PORT}", port)}})
		if code := p.Exit(); code != 1 || !strings.Contains(p.Log(), port) || !strings.Contains(p.Log(), "in use") {
			t.Errorf("got exit %d and %q; want 1 and the port", code, p.Log())
		}
	})
}

// TestOneBrokenFile: everything else serves.
func TestOneBrokenFile(t *testing.T) {
	upstream := harness.Upstream(t, harness.Echo)
	p := harness.Start(t, harness.Options{Files: map[string]string{
		"gateway.yaml": harness.GatewayFor(1),
		"good.yaml":    harness.Service("good", "", upstream),
		"broken.yaml":  "kind: [",
		"field.yaml":   strings.Replace(harness.Service("field", "", upstream), "spec:\n  ports", "spec:\n  prots", 1),
	}})
	if status, _, err := get(t, p.URL+"/good"); status != 200 || err != nil {
		t.Errorf("got %d, %v; want 200", status, err)
	}
	for _, want := range []string{"broken.yaml", "field.yaml", "prots"} {
		p.Logged(want)
	}
}

// TestDrain: SIGTERM finishes what is in flight.
func TestDrain(t *testing.T) {
	started := make(chan struct{})
	upstream := harness.Upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		close(started)
		time.Sleep(time.Second)
		io.WriteString(w, "whole")
	})
	p := harness.Start(t, harness.Options{Files: map[string]string{"gateway.yaml": harness.GatewayFor(1), "a.yaml": harness.Service("a", "", upstream)}})
	got := make(chan string, 1)
	go func() {
		_, body, err := get(t, p.URL+"/a")
		got <- fmt.Sprint(body, err)
	}()
	<-started
	p.Stop()
	if text := <-got; text != "whole<nil>" {
		t.Errorf("got %q; want the whole answer", text)
	}
}
