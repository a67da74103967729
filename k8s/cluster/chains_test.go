package cluster

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/telemetry"
	"penstock.dev/penstock/k8s/api"
	"penstock.dev/penstock/k8s/translate"
)

// chainServer keeps one ChainStatus as an API server does, and counts what is asked.
type chainServer struct {
	mu    sync.Mutex
	now   *api.ChainStatus
	count map[string]int
}

func (s *chainServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count[r.Method]++
	if r.Method == http.MethodDelete {
		s.now = nil
		_ = json.NewEncoder(w).Encode(&metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusSuccess})
		return
	}
	var o api.ChainStatus
	if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	o.UID, o.ResourceVersion = "u", time.Now().Format(time.RFC3339Nano)
	s.now = &o
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(&o)
}

// TestChainStatusPace: the first states are written at once, then one in ten seconds;
// what is as it was is not written; what nobody wants any more goes.
func TestChainStatusPace(t *testing.T) {
	server := &chainServer{count: map[string]int{}}
	s := httptest.NewServer(server)
	defer s.Close()
	c, err := newClients(&rest.Config{Host: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	stores := &stores{byKind: map[string]finder{}}
	stores.chainStatus = newStore[*api.ChainStatus](nil, func() {})
	stores.byKind["ChainStatus"] = stores.chainStatus
	state := "Ready"
	w := newWriter(Options{ControllerName: "ours", Log: zaptest.NewLogger(t), Metrics: telemetry.New(), Running: func() []Proxy {
		return []Proxy{{Ready: true, Current: true, Parts: map[string]Part{"h": {State: "Running", Filters: []Filter{{Name: "service/a", State: state, Since: before}}}}}}
	}}, c, stores)
	w.leads.Store(true)
	o := config.Object{Kind: "ChainStatus", Namespace: "n", Name: "service-a"}
	want := &api.ChainStatus{
		ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "service-a"}, Target: api.ChainTarget{Kind: "Service", Name: "a"},
		Status: api.ChainStatusState{Controllers: []api.ChainController{{ControllerName: "ours", Filters: []api.ChainFilter{{Name: "service/a"}}}}},
	}
	w.wanted = &translate.Result{Status: config.OverlayOf(map[config.Object]any{o: want}), ChainParts: map[config.Object][]string{o: {"h"}}}
	writes := func() (made, put int) {
		server.mu.Lock()
		defer server.mu.Unlock()
		if server.now != nil { // the watch
			if err := stores.chainStatus.Add(server.now.DeepCopy()); err != nil {
				t.Fatal(err)
			}
		}
		return server.count[http.MethodPost], server.count[http.MethodPut]
	}
	do := func() {
		t.Helper()
		if err := w.chain(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	do()
	if made, put := writes(); made != 1 || put != 1 {
		t.Fatalf("first: made %d, written %d times; want once each", made, put)
	}
	for range 5 {
		do()
	}
	if made, put := writes(); made != 1 || put != 1 {
		t.Errorf("nothing new: made %d, written %d times", made, put)
	}
	for i := range 20 {
		state = []string{"Compiling", "Ready"}[i%2]
		do()
		writes()
	}
	if made, put := writes(); made != 1 || put != chainBurst {
		t.Errorf("20 changes at once: made %d, written %d times; want %d", made, put, chainBurst)
	}
	// Who waits takes no place of others: the next one is due in ten seconds, whatever was asked meanwhile.
	if wait := w.paces[o].Reserve().Delay(); wait > chainEvery || wait < chainEvery/2 {
		t.Errorf("the next write is due in %v; want about %v", wait, chainEvery)
	}
	w.wanted = &translate.Result{Status: config.OverlayOf(map[config.Object]any{})}
	do()
	if server.count[http.MethodDelete] != 1 || server.now != nil {
		t.Errorf("nobody wants it: deleted %d times", server.count[http.MethodDelete])
	}
}
