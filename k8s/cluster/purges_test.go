package cluster

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap/zaptest"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/telemetry"
	"penstock.dev/penstock/k8s/api"
	"penstock.dev/penstock/k8s/translate"
)

const purgeID = "n/p/u"

// purging is a ready proxy that has carried out nothing yet.
func purging(name string) PurgingProxy {
	return PurgingProxy{Name: name, Ready: true, Purges: map[string]Purge{"n/other/u": {Removed: 7}}}
}

func (p PurgingProxy) did(removed int64, fault string) PurgingProxy {
	p.Purges = map[string]Purge{purgeID: {removed, fault}}
	return p
}

func (p PurgingProxy) starting() PurgingProxy { p.Ready = false; return p }

func purgeObject(proxies ...api.CachePurgeProxy) *api.CachePurge {
	return &api.CachePurge{
		ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "p", UID: "u", Generation: 1, ResourceVersion: "1"},
		Status:     api.CachePurgeStatus{Proxies: proxies},
	}
}

func wantedPurge() *api.CachePurgeStatus {
	return &api.CachePurgeStatus{ObservedGeneration: 1, Conditions: []metav1.Condition{{Type: api.ConditionAccepted, Status: metav1.ConditionTrue, Reason: "Accepted", ObservedGeneration: 1}}}
}

func TestPurgeStatus(t *testing.T) {
	said := func(name, state string, removed int64, at time.Time) api.CachePurgeProxy {
		return api.CachePurgeProxy{Name: name, State: state, Removed: removed, Time: metav1.NewTime(at)}
	}
	tests := map[string]struct {
		before  []api.CachePurgeProxy
		proxies []PurgingProxy
		want    string // of each proxy: name, state, removed, and * for a new time
		removed int64
		status  string // of Completed: status, reason and message
	}{
		"no proxy":         {nil, nil, "", 0, "False Pending 0 of 0 ready proxies have done it"},
		"none is ready":    {nil, []PurgingProxy{purging("a").starting()}, "", 0, "False Pending 0 of 0 ready proxies have done it"},
		"none has yet":     {nil, []PurgingProxy{purging("b"), purging("a")}, "a Pending 0 *, b Pending 0 *", 0, "False Pending 0 of 2 ready proxies have done it"},
		"one of two":       {nil, []PurgingProxy{purging("a").did(3, ""), purging("b")}, "a Done 3 *, b Pending 0 *", 3, "False Pending 1 of 2 ready proxies have done it"},
		"all":              {nil, []PurgingProxy{purging("a").did(3, ""), purging("b").did(0, "")}, "a Done 3 *, b Done 0 *", 3, "True Completed 2 of 2 ready proxies have done it"},
		"one failed":       {nil, []PurgingProxy{purging("a").did(3, ""), purging("b").did(0, "disk")}, "a Done 3 *, b Failed 0 *", 3, "False Failed b: disk"},
		"a starting one":   {nil, []PurgingProxy{purging("a").did(3, ""), purging("b").starting()}, "a Done 3 *", 3, "True Completed 1 of 1 ready proxies have done it"},
		"a stopping one":   {nil, []PurgingProxy{purging("a").did(3, ""), purging("b").did(2, "").starting()}, "a Done 3 *, b Done 2 *", 5, "True Completed 1 of 1 ready proxies have done it"},
		"it failed and is": {nil, []PurgingProxy{purging("a").did(3, ""), purging("b").did(0, "x").starting()}, "a Done 3 *, b Failed 0 *", 3, "True Completed 1 of 1 ready proxies have done it"},
		"one that did is gone": {
			[]api.CachePurgeProxy{said("a", "Done", 3, before), said("b", "Pending", 0, before), said("c", "Pending", 0, before)}, []PurgingProxy{purging("b")},
			"a Done 3, b Pending 0", 3, "False Pending 0 of 1 ready proxies have done it",
		},
		"one does it now":              {[]api.CachePurgeProxy{said("a", "Pending", 0, before)}, []PurgingProxy{purging("a").did(0, "")}, "a Done 0 *", 0, "True Completed 1 of 1 ready proxies have done it"},
		"it is there twice, one lacks": {nil, []PurgingProxy{purging("a"), purging("a").did(2, "")}, "a Pending 0 *", 0, "False Pending 1 of 2 ready proxies have done it"},
		"it begins anew":               {[]api.CachePurgeProxy{said("a", "Done", 3, before)}, []PurgingProxy{purging("a")}, "a Pending 0 *", 0, "False Pending 0 of 1 ready proxies have done it"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			mine := wantedPurge()
			done := purgeStatus(mine, purgeObject(tt.before...), tt.proxies, true, metav1.NewTime(later))
			var got []string
			for _, p := range mine.Proxies {
				text := fmt.Sprintf("%s %s %d", p.Name, p.State, p.Removed)
				if p.Time.Time.Equal(later) {
					text += " *"
				}
				got = append(got, text)
			}
			c := mine.Conditions[1]
			status := fmt.Sprintf("%s %s %s", c.Status, c.Reason, c.Message)
			if strings.Join(got, ", ") != tt.want || mine.Removed != tt.removed || status != tt.status || done != (c.Status == metav1.ConditionTrue) || c.Type != "Completed" || c.ObservedGeneration != 1 {
				t.Errorf("got %v, %d, %s, %v", got, mine.Removed, status, done)
			}
			// A control that has only begun to lead may not know all proxies yet.
			begun := wantedPurge()
			if purgeStatus(begun, purgeObject(tt.before...), tt.proxies, false, metav1.NewTime(later)) || begun.Conditions[1].Status != metav1.ConditionFalse || done && begun.Conditions[1].Reason != "Pending" || !cmp.Equal(begun.Proxies, mine.Proxies) {
				t.Errorf("while proxies look for it: got %+v", begun)
			}
		})
	}
}

// TestPurgeStatusIsBounded: whatever proxies say, and however many there are.
func TestPurgeStatusIsBounded(t *testing.T) {
	var proxies []PurgingProxy
	for i := range 300 {
		proxies = append(proxies, purging(fmt.Sprintf("p%03d", i)).did(1, ""))
	}
	mine := wantedPurge()
	if !purgeStatus(mine, purgeObject(), proxies, true, metav1.NewTime(later)) || len(mine.Proxies) != maxPurgeProxies || mine.Removed != 300 {
		t.Errorf("got %d proxies, %d removed", len(mine.Proxies), mine.Removed)
	}
	proxies[0] = proxies[0].did(0, strings.Repeat("ä", 5000)+"\xff")
	mine = wantedPurge()
	purgeStatus(mine, purgeObject(), proxies, true, metav1.NewTime(later))
	if m := mine.Proxies[0].Message; len(m) > maxPurgeMessage || !strings.HasPrefix(m, "ä") || len(mine.Conditions[1].Message) > maxPurgeMessage {
		t.Errorf("a message of %d bytes", len(m))
	}
	refused := &api.CachePurgeStatus{Conditions: []metav1.Condition{{Type: api.ConditionAccepted, Status: metav1.ConditionFalse, Reason: "Invalid"}}}
	if purgeStatus(refused, purgeObject(), proxies, true, metav1.NewTime(later)) || len(refused.Proxies) > 0 || refused.Conditions[1].Reason != "Invalid" {
		t.Errorf("one that is refused: got %+v", refused)
	}
}

// purgeServer keeps the status of one CachePurge as an API server does.
type purgeServer struct {
	mu   sync.Mutex
	now  *api.CachePurge
	puts int
	path string
}

func (s *purgeServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var o api.CachePurge
	if err := json.NewDecoder(r.Body).Decode(&o); err != nil || r.Method != http.MethodPut {
		http.Error(w, "no", http.StatusBadRequest)
		return
	}
	s.puts++
	s.path = r.URL.Path
	o.ResourceVersion = fmt.Sprint(s.puts + 1)
	s.now = &o
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(&o)
}

// TestPurgesAreWritten: what is new is, not more often than the pace, but that it is
// completed at once; after that nothing is, whoever says what.
func TestPurgesAreWritten(t *testing.T) {
	server := &purgeServer{}
	s := httptest.NewServer(server)
	defer s.Close()
	c, err := newClients(&rest.Config{Host: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	stores := newStores(&watcher{log: zaptest.NewLogger(t)}, "ours", func() {}, func(config.Object) {})
	proxies, found := []PurgingProxy{purging("a"), purging("b"), purging("c")}, true
	w := newWriter(Options{ControllerName: "ours", Log: zaptest.NewLogger(t), Metrics: telemetry.New(), Purged: func() ([]PurgingProxy, bool) { return proxies, found }}, c, stores)
	defer w.queue.ShutDown()
	o := config.Object{Kind: "CachePurge", Namespace: "n", Name: "p"}
	if err := stores.purges.Add(purgeObject()); err != nil {
		t.Fatal(err)
	}
	do := func() int {
		t.Helper()
		if err := w.purge(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		server.mu.Lock()
		defer server.mu.Unlock()
		if server.now != nil { // the watch
			if err := stores.purges.Update(server.now.DeepCopy()); err != nil {
				t.Fatal(err)
			}
		}
		return server.puts
	}
	if n := do(); n != 0 {
		t.Errorf("not translated yet: written %d times", n)
	}
	w.repurge()
	if got := queued(w); len(got) != 0 {
		t.Errorf("who does not lead compares %v", got)
	}
	w.leads.Store(true)
	w.wanted = &translate.Result{Status: config.OverlayOf(map[config.Object]any{o: wantedPurge()})}
	if n := do(); n != 1 || server.path != "/apis/penstock.dev/v1alpha1/namespaces/n/cachepurges/p/status" {
		t.Errorf("first: written %d times, at %s", n, server.path)
	}
	if n := do(); n != 1 {
		t.Errorf("nothing new: written %d times", n)
	}
	w.repurge()
	if got := queued(w); !cmp.Equal(got, []string{"p"}) {
		t.Errorf("compared are %v", got)
	}
	for i := range 20 {
		proxies[0] = purging("a").did(int64(i), "")
		do()
	}
	if n := do(); n != purgeBurst {
		t.Errorf("20 changes at once: written %d times; want %d", n, purgeBurst)
	}
	proxies = []PurgingProxy{purging("a").did(5, ""), purging("b").did(6, ""), purging("c").did(7, "")}
	found = false
	if do(); completed(server.now) {
		t.Error("completed, though there may be other proxies")
	}
	if again, _ := w.queue.Get(); again != o { // a second later, though nobody says anything meanwhile
		t.Errorf("compared again is %v", again)
	}
	w.queue.Done(o)
	found = true
	if n := do(); n != purgeBurst+1 || server.now.Status.Removed != 18 || !completed(server.now) || server.now.Status.ObservedGeneration != 1 {
		t.Errorf("completed: written %d times, %+v", n, server.now.Status)
	}
	proxies = append(proxies, purging("d"))
	if n := do(); n != purgeBurst+1 {
		t.Errorf("it is completed, and written again")
	}
	w.repurge()
	if got := queued(w); len(got) != 0 {
		t.Errorf("it is completed, and compared: %v", got)
	}
}
