package httpwasm

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/harness"
)

// TestMany: a guest of the standard Go toolchain, with bodies, limits and
// failures of every kind.
func TestMany(t *testing.T) {
	layout := t.TempDir()
	harness.Pack(t, layout, "many", harness.Guest(t, "guests/many"))
	echo := harness.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Long") != "" {
			_, _ = w.Write([]byte("HTTP/1.1 200 OK"))
		}
		harness.Echo(w, r)
	})
	slow := harness.Upstream(t, func(w http.ResponseWriter, r *http.Request) { time.Sleep(3 * time.Second) })
	files := map[string]string{"gateway.yaml": harness.GatewayFor(1)}
	for name, port := range map[string]int{"many": echo, "down": harness.FreePort(t), "slow": slow} {
		files[name+".yaml"] = harness.Service(name, "- image: test.example/plugins/many:1\n  name: many\n  config: the configuration\n  limits: {cpuTime: 200ms, cpuTimeExchange: 1s}", port)
	}
	p := harness.Start(t, harness.Options{Files: files, Images: []string{layout}})
	for _, name := range []string{"many", "down", "slow"} {
		p.Eventually(name+" runs", func() bool { return p.Chain("Service/default/"+name).State == "Running" })
	}
	ask := func(t *testing.T, what, body string) (*http.Response, string) {
		t.Helper()
		return do(t, "POST", p.URL+"/many", body, http.Header{"X-Do": {what}})
	}

	t.Run("bodies", func(t *testing.T) {
		for _, size := range []int{0, 1, 1000, 100_000, 1 << 20} {
			body := strings.Repeat("ab", size/2) + strings.Repeat("c", size%2)
			for what, want := range map[string]string{"upper-request": strings.ToUpper(body), "upper-response": strings.ToUpper(body), "": body} {
				r, got := ask(t, what, body)
				if got != want || r.StatusCode != 200 || r.Header.Get("X-Was") != what || r.Header.Get("X-Got-X-Config") != "the configuration" {
					t.Errorf("%s: %d bytes: got %d, %d bytes, %.20q; was %q", what, size, r.StatusCode, len(got), got, r.Header.Get("X-Was"))
				}
			}
		}
	})
	t.Run("limits", func(t *testing.T) {
		body := strings.Repeat("x", 1<<20+1)
		for range 5 {
			for what, want := range map[string]int{"upper-request": 413, "upper-response": 502, "": 200} {
				if r, _ := ask(t, what, body); r.StatusCode != want {
					t.Errorf("%q: got %d; want %d", what, r.StatusCode, want)
				}
			}
		}
	})
	t.Run("answer, status and trailer", func(t *testing.T) {
		if r, body := ask(t, "answer", "x"); r.StatusCode != 403 || body != "denied\n" || r.Header.Get("X-Why") != "because" || r.Header.Get("X-Was") != "" {
			t.Errorf("got %d, %q, %v", r.StatusCode, body, r.Header)
		}
		if r, _ := ask(t, "status", "x"); r.StatusCode != 418 {
			t.Errorf("got %d; want 418", r.StatusCode)
		}
		if r, body := ask(t, "trailer", "text"); body != "text" || r.Trailer.Get("X-Last") != "of all" {
			t.Errorf("got %q, trailer %v", body, r.Trailer)
		}
	})
	t.Run("traps", func(t *testing.T) {
		for _, what := range []string{"trap", "trap-response"} {
			if r, body := ask(t, what, "x"); r.StatusCode != 500 || strings.Contains(body+fmt.Sprint(r.Header), "secret") {
				t.Errorf("%s: got %d, %q; want 500 and no word of why", what, r.StatusCode, body)
			}
			if r, _ := ask(t, "status", "x"); r.StatusCode != 418 {
				t.Errorf("after %s: got %d; want a new instance", what, r.StatusCode)
			}
		}
	})
	t.Run("an upstream that is down", func(t *testing.T) {
		if r, _ := do(t, "GET", p.URL+"/down", "", nil); r.StatusCode != 502 || r.Header.Get("X-Is-Error") != "yes" {
			t.Errorf("got %d, %v; want 502, and the guest told", r.StatusCode, r.Header)
		}
	})
	t.Run("another method", func(t *testing.T) { // the client's framing follows what the client asked
		for what, want := range map[[2]string]string{{"HEAD", "GET"}: "HTTP/1.1 200 OK\r\n", {"GET", "HEAD"}: "HTTP/1.1 502 Bad Gateway\r\n"} {
			c, err := net.Dial("tcp", strings.TrimPrefix(p.URL, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			fmt.Fprintf(c, "%s /many HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Do: %s\r\nX-Long: 1\r\n\r\n", what[0], what[1])
			got, err := io.ReadAll(c)
			c.Close()
			if head, body, _ := strings.Cut(string(got), "\r\n\r\n"); err != nil || !strings.HasPrefix(head, want) || what[0] == "HEAD" && body != "" {
				t.Errorf("%s sent as %s: got %q, %v", what[0], what[1], got, err)
			}
		}
	})
	t.Run("more exchanges than instances", func(t *testing.T) {
		var mu sync.Mutex
		statuses := map[int]int{}
		var group sync.WaitGroup
		for range 36 {
			group.Go(func() {
				r, _ := do(t, "GET", p.URL+"/slow", "", nil)
				mu.Lock()
				defer mu.Unlock()
				statuses[r.StatusCode]++
				if r.StatusCode == 503 && r.Header.Get("Retry-After") == "" {
					t.Error("no Retry-After")
				}
			})
		}
		group.Wait()
		if statuses[200] != 32 || statuses[503] != 4 {
			t.Errorf("got %v; want 32 times 200, 4 times 503", statuses)
		}
	})
}
