package cache

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/harness"
)

// chapter is the quick start as README's chapter on the cache has it: its files with
// other ports, its Service as a process.
func chapter(t *testing.T, args ...string) *harness.Proxy {
	t.Helper()
	port := harness.FreePort(t)
	bin := filepath.Join(t.TempDir(), "upstream")
	build := exec.Command("go", "build", "-o", bin, "./examples/quickstart/upstream")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	upstream := exec.Command(bin, "-listen", fmt.Sprintf("127.0.0.1:%d", port))
	if err := upstream.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = upstream.Process.Kill()
		_ = upstream.Wait()
	})
	files := map[string]string{}
	for _, name := range []string{"gateway.yaml", "catalog.yaml"} {
		text, err := os.ReadFile("../../examples/quickstart/config/" + name)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = strings.NewReplacer("port: 8080", "port: ${PORT}", "9000", fmt.Sprint(port)).Replace(string(text))
	}
	p := harness.Start(t, harness.Options{Files: files, Args: args})
	p.Eventually("the Service answers", func() bool {
		r, err := http.Post(p.URL+"/catalog/mend", "", nil)
		if err == nil {
			r.Body.Close()
		}
		return err == nil && r.StatusCode == http.StatusOK
	})
	return p
}

// get returns status, Cache-Status and body.
func get(t *testing.T, url string) (status int, did, body string) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, strings.TrimPrefix(r.Header.Get("Cache-Status"), "Penstock; "), string(b)
}

func post(t *testing.T, url string) {
	t.Helper()
	r, err := http.Post(url, "", nil)
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("%v %v", r, err)
	}
	r.Body.Close()
}

func TestChapter(t *testing.T) {
	p := chapter(t)
	url := p.URL + "/catalog/17"
	_, did, first := get(t, url)
	if did != "fwd=uri-miss; fwd-status=200; stored" {
		t.Errorf("first: %s", did)
	}
	if _, did, body := get(t, url); !strings.HasPrefix(did, "hit; ttl=") || body != first {
		t.Errorf("second: %s, %q; want the stored %q", did, body, first)
	}
	out, err := exec.Command(harness.Binary(t), "cache", "purge", "--admin", strings.TrimPrefix(p.Admin, "http://"), "-n", "default", "--tag", "page-17").CombinedOutput()
	if err != nil || strings.Join(strings.Fields(string(out)), "") != `{"removed":1}` {
		t.Errorf("purge: %s, %v", out, err)
	}
	_, did, second := get(t, url)
	if did != "fwd=uri-miss; fwd-status=200; stored" || second == first {
		t.Errorf("after the purge: %s, %q", did, second)
	}
	post(t, p.URL+"/catalog/break")
	p.Eventually("it is stale", func() bool {
		_, did, _ := get(t, url)
		return !strings.HasPrefix(did, "hit")
	})
	time.Sleep(1100 * time.Millisecond) // for as long a Service that failed is left alone
	if status, did, body := get(t, url); status != http.StatusOK || body != second || !strings.HasPrefix(did, "fwd=stale; fwd-status=503") || !strings.Contains(did, "detail=origin-failed") {
		t.Errorf("while the Service fails: %d %s %q; want what is stale", status, did, body)
	}
	post(t, p.URL+"/catalog/mend")
	p.Eventually("it is made anew", func() bool {
		_, _, body := get(t, url)
		return body != second
	})
}

// TestRestart shows that what is on disk serves after a restart.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	args := []string{"--cache-disk", "256Mi", "--cache-dir", dir}
	p := chapter(t, args...)
	_, _, first := get(t, p.URL+"/catalog/17")
	files := map[string]string{}
	entries, err := os.ReadDir(p.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(p.Dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = strings.ReplaceAll(string(text), fmt.Sprintf("port: %d", p.Port), "port: ${PORT}")
	}
	p.Stop()
	q := harness.Start(t, harness.Options{Files: files, Args: args})
	r, err := http.NewRequest("GET", q.URL+"/catalog/17", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = strings.TrimPrefix(p.URL, "http://") // the port is part of the key
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	if did := answer.Header.Get("Cache-Status"); !strings.HasPrefix(did, "Penstock; hit") || string(body) != first {
		t.Errorf("after a restart: %s, %q; want the stored %q", did, body, first)
	}
}
