package cluster

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"k8s.io/client-go/rest"

	"penstock.dev/penstock/k8s/api"
)

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
	follow(t.Context(), w, watched{gv: api.GroupVersion, resource: "plugins", empty: list[api.PluginList]}, &api.Plugin{}, made)
	time.Sleep(3 * time.Second)
	if n := requests.Load(); n > 30 || watches.Load() == 0 {
		t.Errorf("%d requests in 3 s, %d of them watches", n, watches.Load())
	}
}
