package cluster

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/rest"

	"penstock.dev/penstock/k8s/api"
)

// serverOf answers in place of an API server.
type serverOf func(r *http.Request) (status int, body string)

func (t serverOf) RoundTrip(r *http.Request) (*http.Response, error) {
	status, body := t(r)
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

// TestOutage: however long the API server was away, what everything depends on is
// watched again soon after it is back; and a kind that is not installed is asked for
// seldom.
func TestOutage(t *testing.T) {
	const (
		away   = `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"ServiceUnavailable","code":503}`
		busy   = `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"TooManyRequests","code":429}`
		absent = `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","details":{},"code":404}`
	)
	unpaced(t)
	for _, test := range []struct {
		name   string
		status int
		body   string
		within time.Duration
		most   int64 // requests a minute, after the first ones
	}{
		{"unavailable", 503, away, 7 * time.Second, 40},
		{"too many requests", 429, busy, 7 * time.Second, 40},
		{"not installed", 404, absent, time.Minute, 20},
	} {
		for away := 10 * time.Second; away < 5*time.Minute; away += 20 * time.Second { // how long it waits is by chance
			synctest.Test(t, func(t *testing.T) {
				var requests atomic.Int64
				var back, watched atomic.Bool
				c, err := newClients(&rest.Config{Host: "http://api.example", Transport: serverOf(func(r *http.Request) (int, string) {
					requests.Add(1)
					switch {
					case !back.Load():
						return test.status, test.body
					case r.URL.Query().Get("watch") == "":
						return 200, `{"kind":"PluginList","apiVersion":"penstock.dev/v1alpha1","metadata":{"resourceVersion":"7"},"items":[]}`
					}
					watched.Store(true)
					return 200, ""
				})})
				if err != nil {
					t.Fatal(err)
				}
				ctx, stop := context.WithCancel(t.Context())
				w := &watcher{clients: c, log: zap.NewNop()}
				follow(ctx, w, watchedPlugins, &api.Plugin{}, newStore(trimmed[*api.Plugin], func() {}))
				time.Sleep(away)
				if n := requests.Load(); n == 0 || n > 20+test.most*int64(away/time.Second)/60 {
					t.Errorf("%s: %d requests in %v; want 20 and %d a minute at most", test.name, n, away, test.most)
				}
				back.Store(true)
				time.Sleep(test.within)
				synctest.Wait()
				if !watched.Load() {
					t.Errorf("%s: not watched %v after the end of %v", test.name, test.within, away)
				}
				stop()
				w.group.Wait()
			})
		}
	}
}

// unpaced has client-go's errors handled without pauses, which are of the time of day.
func unpaced(t *testing.T) {
	handlers := utilruntime.ErrorHandlers
	utilruntime.ErrorHandlers = nil
	t.Cleanup(func() { utilruntime.ErrorHandlers = handlers })
}

// TestSilentAPIServer: a request that is taken and never answered does not keep a kind from
// being read once the others are.
func TestSilentAPIServer(t *testing.T) {
	unpaced(t)
	for _, verb := range []string{"list", "watch"} {
		synctest.Test(t, func(t *testing.T) {
			var silent, watched atomic.Bool
			silent.Store(true)
			c, err := newClients(&rest.Config{Host: "http://api.example", Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				watches := r.URL.Query().Get("watch") != ""
				if watches == (verb == "watch") && silent.Load() {
					<-r.Context().Done()
					return nil, r.Context().Err()
				}
				return serverOf(func(*http.Request) (int, string) {
					if watches && r.URL.Query().Get("sendInitialEvents") == "" {
						watched.Store(true)
						return 200, ""
					}
					if watches { // this server is too old for it
						return 422, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":422}`
					}
					return 200, `{"kind":"PluginList","apiVersion":"penstock.dev/v1alpha1","metadata":{"resourceVersion":"7"},"items":[]}`
				}).RoundTrip(r)
			})})
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			w := &watcher{clients: c, log: zap.NewNop()}
			follow(ctx, w, watchedPlugins, &api.Plugin{}, newStore(trimmed[*api.Plugin], func() {}))
			time.Sleep(time.Second) // a request is under way, which stays unanswered
			silent.Store(false)
			time.Sleep(answerWithin - 2*time.Second)
			if watched.Load() {
				t.Errorf("%s: nothing was silent", verb)
			}
			time.Sleep(10 * time.Second)
			synctest.Wait()
			if !watched.Load() {
				t.Errorf("%s: not watched %v after the API server answers again", verb, answerWithin+8*time.Second)
			}
			stop()
			w.group.Wait()
		})
	}
}

// roundTrip is an API server's end of the line.
type roundTrip func(*http.Request) (*http.Response, error)

func (t roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }

var watchedPlugins = watched{gv: api.GroupVersion, resource: "plugins", empty: list[api.PluginList]}

// TestForgetfulAPIServer: one that always says that what it is asked for is too old is
// not asked again and again, and what it has is read all the same.
func TestForgetfulAPIServer(t *testing.T) {
	var requests, watches atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Query().Get("watch") != "" {
			watches.Add(1)
			w.WriteHeader(http.StatusGone)
			_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","code":410}`))
			return
		}
		_, _ = w.Write([]byte(`{"kind":"PluginList","apiVersion":"penstock.dev/v1alpha1","metadata":{"resourceVersion":"7"},"items":[]}`))
	}))
	defer s.Close()
	c, err := newClients(&rest.Config{Host: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	w := &watcher{clients: c, log: zap.NewNop()}
	made := newStore(trimmed[*api.Plugin], func() {})
	follow(t.Context(), w, watchedPlugins, &api.Plugin{}, made)
	time.Sleep(3 * time.Second)
	if n := requests.Load(); n > 30 || watches.Load() == 0 {
		t.Errorf("%d requests in 3 s, %d of them watches", n, watches.Load())
	}
}
