package cache

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/harness"
)

// originOf counts what it is asked for, by path. What it says names the path and how
// often that was asked for; /a/slow takes its time, /a/large is large.
type originOf struct {
	mu    sync.Mutex
	asked map[string]int
}

func (o *originOf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	o.asked[r.URL.Path]++
	n := o.asked[r.URL.Path]
	o.mu.Unlock()
	if r.URL.Path == "/a/slow" {
		time.Sleep(4500 * time.Millisecond) // less than what drains may take
	}
	w.Header().Set("Cache-Control", "max-age=600")
	w.Header().Set("Surrogate-Key", "tag"+strings.ReplaceAll(r.URL.Path, "/", "-"))
	_, _ = fmt.Fprintf(w, "%s %d", r.URL.Path, n)
	if strings.HasPrefix(r.URL.Path, "/a/large") {
		_, _ = io.WriteString(w, strings.Repeat("large ", 100_000))
	}
}

// count returns how often a path was asked for.
func (o *originOf) count(path string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.asked[path]
}

// oneEach is a client that makes a connection for each request.
var oneEach = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// shopAsk asks for shop.example by a connection of its own, and returns the body's first
// words and what the cache did.
func shopAsk(method, url string) (text, did string, err error) {
	q, err := http.NewRequest(method, url, nil)
	if err != nil {
		return "", "", err
	}
	q.Host = "shop.example"
	r, err := oneEach.Do(q)
	if err != nil {
		return "", "", err
	}
	defer r.Body.Close()
	all, err := io.ReadAll(r.Body)
	if err == nil && r.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %s", r.Status)
	}
	return string(all[:min(len(all), 20)]), strings.TrimPrefix(r.Header.Get("Cache-Status"), "Penstock; "), err
}

// TestHandover: a new process takes over under traffic. It serves what the one before had
// on disk, while that still drains; but nothing that was purged or invalidated at any
// time meanwhile, whichever of the two was asked to. All of it is there when the new one
// has been killed.
func TestHandover(t *testing.T) {
	const objects = 600
	origin := &originOf{asked: map[string]int{}}
	o := harness.Options{
		Files: map[string]string{"gateway.yaml": harness.GatewayFor(1), "a.yaml": harness.Service("a", "- cache", harness.Upstream(t, origin.ServeHTTP))},
		Args:  []string{"--cache-disk", "256Mi", "--cache-dir", t.TempDir()},
	}
	p := harness.StartReplaceable(t, o)
	paths := []string{"/a/large1", "/a/large2"}
	for i := range objects {
		paths = append(paths, fmt.Sprintf("/a/%d", i))
	}
	first := map[string]string{}
	for _, path := range paths {
		text, did, err := shopAsk("GET", p.URL+path)
		if err != nil || !strings.HasSuffix(did, "stored") {
			t.Fatalf("%s: %s, %v", path, did, err)
		}
		first[path] = text
	}
	p.Eventually("all is on disk", func() bool { s := stats(t, p); return s.Disk.Objects == len(paths) && !s.Waiting })

	var failed, served atomic.Int64
	var group sync.WaitGroup
	stop := make(chan struct{})
	end := sync.OnceFunc(func() {
		close(stop)
		group.Wait()
	})
	t.Cleanup(end)
	for i := range 2 { // what others ask for meanwhile
		group.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				served.Add(1)
				if _, _, err := shopAsk("GET", fmt.Sprintf("%s/a/busy%d-%d", p.URL, i, n%200)); err != nil && failed.Add(1) < 5 {
					t.Errorf("a request failed: %v", err)
				}
			}
		})
	}
	slow := make(chan error, 1)
	go func() {
		_, _, err := shopAsk("GET", p.URL+"/a/slow")
		slow <- err
	}()
	p.Eventually("a slow one is under way", func() bool { return origin.count("/a/slow") == 1 })

	// From before the hand-over until the folder is adopted, one after the other goes.
	gone := map[string]string{}
	go1 := func(path, how string) {
		var err error
		switch how {
		case "tag":
			if text := purge(t, p, "namespace=default&tag=tag"+strings.ReplaceAll(path, "/", "-")); !strings.HasPrefix(text, `{"removed":`) {
				err = fmt.Errorf("answered %s", text)
			}
		case "url":
			if text := purge(t, p, "namespace=default&url=http://shop.example"+path); !strings.HasPrefix(text, `{"removed":`) {
				err = fmt.Errorf("answered %s", text)
			}
		default:
			_, _, err = shopAsk("POST", p.URL+path)
		}
		if err != nil {
			t.Errorf("%s of %s: %v", how, path, err)
		}
		gone[path] = how
	}
	go1("/a/0", "tag")
	before := p.PID()
	if err := syscall.Kill(before, syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	adopted := func() bool { return strings.Contains(p.Log(), "cached responses on disk adopted") }
	for i, end := 1, time.Now().Add(30*time.Second); !adopted(); i++ {
		if time.Now().After(end) {
			t.Fatal("the folder was not adopted")
		}
		if i < objects/2 {
			go1(fmt.Sprintf("/a/%d", i), []string{"tag", "url", "post"}[i%3])
		}
		_ = stats(t, p) // whichever of the two answers
		time.Sleep(3 * time.Millisecond)
	}
	if !strings.Contains(p.Log(), "another process has the cached responses on disk") {
		t.Error("the new process does not say that it waits for the folder")
	}
	if state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", before)); err != nil || strings.Contains(string(state), ") Z ") {
		t.Error("the process before had ended already: what drains held the folder")
	}
	go1(fmt.Sprintf("/a/%d", objects-1), "tag")
	if err := <-slow; err != nil {
		t.Errorf("what was in flight failed: %v", err)
	}
	p.WaitEnd(before)
	end()
	if failed.Load() > 0 || served.Load() < 100 {
		t.Errorf("%d of %d requests failed", failed.Load(), served.Load())
	}
	if p.PID() == before || strings.Count(p.Log(), "cached responses on disk adopted") != 1 {
		t.Errorf("process %d, before %d: %s", p.PID(), before, p.Log())
	}

	kept := func(at *harness.Proxy, when string) {
		t.Helper()
		for _, path := range paths {
			if gone[path] != "" {
				continue
			}
			text, did, err := shopAsk("GET", at.URL+path)
			if err != nil || !strings.HasPrefix(did, "hit") || text != first[path] || origin.count(path) != 1 {
				t.Errorf("%s, %s: %s, %q, %v; asked for %d times", when, path, did, text, err, origin.count(path))
			}
		}
	}
	kept(p, "adopted")
	for path, how := range gone {
		if text, did, err := shopAsk("GET", p.URL+path); err != nil || strings.HasPrefix(did, "hit") || text == first[path] {
			t.Errorf("%s, removed by %s: %s, %q, %v", path, how, did, text, err)
		}
	}
	t.Logf("%d of %d were removed, %d requests of others", len(gone), objects, served.Load())
	p.Eventually("all is on disk", func() bool { return stats(t, p).QueuedBytes == 0 })
	if err := syscall.Kill(p.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p.WaitEnd(p.PID())
	again := harness.Start(t, o)
	again.Eventually("the folder is read", func() bool { s := stats(t, again); return !s.Loading && !s.Waiting })
	kept(again, "after it was killed")
	for path := range gone {
		if text, did, err := shopAsk("GET", again.URL+path); err != nil || text == first[path] {
			t.Errorf("%s is back: %s, %q, %v", path, did, text, err)
		}
	}
}

// cacheStats is what the admin address says of the cache.
type cacheStats struct {
	Disk             struct{ Objects int }
	QueuedBytes      int
	Waiting, Loading bool
}

func stats(t *testing.T, p *harness.Proxy) (s cacheStats) {
	t.Helper()
	r, err := http.Get(p.Admin + "/cache/stats")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if err := json.NewDecoder(r.Body).Decode(&s); err != nil {
		t.Fatal(err)
	}
	return s
}
