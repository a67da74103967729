package redis

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/harness"
)

// limited serves Services with the bundled rate-limit, each with a config.
func limited(t *testing.T, s *server, configs map[string]string) *harness.Proxy {
	t.Helper()
	port := harness.Upstream(t, harness.Echo)
	files := map[string]string{"gateway.yaml": gateway(redisAt(s))}
	for name, config := range configs {
		files[name+".yaml"] = harness.Service(name, "- {use: rate-limit, vmId: shared, config: {"+config+"}}", port)
	}
	p := harness.Start(t, harness.Options{Files: files, Images: []string{harness.BundledPlugins(t)}})
	for name := range configs {
		p.Eventually(name+" runs", func() bool { return p.Chain("Service/default/"+name).State == "Running" })
	}
	return p
}

func status(t *testing.T, client *http.Client, url string) int {
	t.Helper()
	r, err := client.Get(url)
	if err != nil {
		t.Error(err)
		return 0
	}
	r.Body.Close()
	return r.StatusCode
}

// TestGlobalRate: three proxies with one Redis let through what the limit says, within
// 2 %, at ten times the load.
func TestGlobalRate(t *testing.T) {
	s := newServer(t)
	const limit, burst, load, seconds = 100, 50, 1000, 6
	config := fmt.Sprintf("limit: %d, window: 1s, burst: %d, by: [all], scope: global", limit, burst)
	var proxies []*harness.Proxy
	for range 3 {
		proxies = append(proxies, limited(t, s, map[string]string{"a": config}))
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	var allowed, denied, other atomic.Int64
	var group sync.WaitGroup
	gate := make(chan struct{}, 64)
	began := time.Now()
	sent := 0
	for ; time.Since(began) < seconds*time.Second; sent++ {
		if behind := time.Duration(sent)*time.Second/load - time.Since(began); behind > 0 {
			time.Sleep(behind)
		}
		url := proxies[sent%len(proxies)].URL + "/a"
		gate <- struct{}{}
		group.Go(func() {
			switch status(t, client, url) {
			case http.StatusOK:
				allowed.Add(1)
			case http.StatusTooManyRequests:
				denied.Add(1)
			default:
				other.Add(1)
			}
			<-gate
		})
	}
	took := time.Since(began)
	group.Wait()
	want := burst + limit*took.Seconds()
	t.Logf("%d requests in %v: %d passed, %d denied; the limit allows %.0f: %+.1f %%", sent, took, allowed.Load(), denied.Load(), want, 100*(float64(allowed.Load())/want-1))
	if other.Load() > 0 {
		t.Errorf("%d requests got another status", other.Load())
	}
	if math.Abs(float64(allowed.Load())/want-1) > 0.02 {
		t.Errorf("%d passed; want %.0f, within 2 %%", allowed.Load(), want)
	}
	if float64(sent) < 5*want {
		t.Errorf("only %d requests were sent: no load", sent)
	}
}

// TestGlobalRateWithoutRedis: each choice of what a request gets then, and all is well
// again once Redis is.
func TestGlobalRateWithoutRedis(t *testing.T) {
	s := newServer(t)
	one := "limit: 1, window: 1h, scope: global, by: [\"header:X-K\"], whenUnavailable: "
	p := limited(t, s, map[string]string{"deny": one + "deny", "allow": one + "allow", "proxy": one + "proxy", "window": "limit: 3, window: 1h, scope: global"})
	ask := func(service, key string) int {
		t.Helper()
		r, err := http.NewRequest(http.MethodGet, p.URL+"/"+service, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-K", key)
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode
	}
	twice := func(service, key string) string { return fmt.Sprint(ask(service, key), " ", ask(service, key)) }
	for _, service := range []string{"deny", "allow", "proxy"} {
		want(t, twice(service, "before "+service), "200 429")
	}
	want(t, twice("window", "")+" "+twice("window", ""), "200 200 200 429")
	if got := twice("deny", "before allow"); got != "429 429" {
		t.Errorf("got %s; want that filters with one vmId count together", got)
	}
	s.stop()
	for service, want := range map[string]string{"deny": "503 503", "allow": "200 200", "proxy": "200 429"} {
		if got := twice(service, "without "+service); got != want {
			t.Errorf("%s without Redis: got %s; want %s", service, got, want)
		}
	}
	s.start()
	p.Eventually("Redis is asked again", func() bool { return ask("deny", "after") == http.StatusOK })
	want(t, twice("deny", "after"), "429 429")
	for _, key := range s.keys() {
		if !strings.HasPrefix(key, "penstock:default:vm:shared:rate:") {
			t.Errorf("a key with another prefix: %q", key)
		}
	}
}
