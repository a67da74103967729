package cluster

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"go.uber.org/zap"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/telemetry"
	"penstock.dev/penstock/k8s/translate"
)

func routeObject(name, version string) *gatewayv1.HTTPRoute {
	return &gatewayv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name, ResourceVersion: version}}
}

func routeName(name string) config.Object {
	return config.Object{Kind: "HTTPRoute", Namespace: "n", Name: name}
}

// queued empties the queue.
func queued(w *writer) (names []string) {
	for w.queue.Len() > 0 {
		o, _ := w.queue.Get()
		w.queue.Done(o)
		names = append(names, o.Name)
	}
	slices.Sort(names)
	return names
}

// TestOnlyWhatIsSaidAnewIsCompared: a result that follows on another has compared what
// it says anew, also of results between them that were never published.
func TestOnlyWhatIsSaidAnewIsCompared(t *testing.T) {
	stores := newStores(&watcher{log: zap.NewNop()}, "ours", func() {}, func(config.Object) {})
	all := map[config.Object]any{}
	for i := range 4 {
		name := fmt.Sprint("r", i)
		if err := stores.http.Add(routeObject(name, "1")); err != nil {
			t.Fatal(err)
		}
		all[routeName(name)] = &gatewayv1.RouteStatus{}
	}
	w := newWriter(Options{Log: zap.NewNop(), Metrics: telemetry.New()}, nil, stores)
	defer w.queue.ShutDown()
	w.leads.Store(true)
	n := uint64(0)
	result := func(changed ...string) *translate.Result {
		n++
		r := &translate.Result{Number: n}
		for _, name := range changed {
			r.Changed = append(r.Changed, routeName(name))
			all[routeName(name)] = &gatewayv1.RouteStatus{}
			if name == "r3" {
				delete(all, routeName(name))
			}
		}
		r.Status = config.OverlayOf(maps.Clone(all))
		w.announce(r)
		return r
	}
	tests := []struct {
		name string
		do   func()
		want []string
	}{
		{"the first", func() { w.publish(result(), "") }, []string{"r0", "r1", "r2", "r3"}},
		{"one follows", func() { w.publish(result("r1"), "") }, []string{"r1"}},
		{"nothing new", func() { r := result("r1"); r.Changed = []config.Object{}; w.publish(r, ""); w.publish(r, "") }, []string{"r1"}},
		{"one between is left out", func() { result("r0"); w.publish(result("r2"), "") }, []string{"r0", "r2"}},
		{"an older one comes first", func() {
			older, newer := result("r0"), result("r1")
			w.publish(older, "")
			if got := queued(w); !slices.Equal(got, []string{"r0"}) {
				t.Errorf("the older one: %v", got)
			}
			w.publish(newer, "")
		}, []string{"r1"}},
		{"an object that is gone", func() { w.seen[routeName("r3")] = written{}; w.publish(result("r3"), "") }, nil},
		{"it is not served", func() { w.publish(result("r1"), "no") }, []string{"r0", "r1", "r2"}},
		{"a whole one that is not published", func() { result(); w.publish(result("r1"), "no") }, []string{"r0", "r1", "r2"}},
	}
	for _, tt := range tests {
		tt.do()
		if got := queued(w); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %v; want %v", tt.name, got, tt.want)
		}
	}
	if len(w.seen) != 0 {
		t.Errorf("%d objects are remembered that are gone", len(w.seen))
	}
}

// TestWhatChangedIsNoted: a store tells of each object, by which Changes finds it as it
// is now.
func TestWhatChangedIsNoted(t *testing.T) {
	told, whole := map[config.Object]bool{}, 0
	s := newStores(&watcher{log: zap.NewNop()}, "ours", func() { whole++ }, func(o config.Object) { told[o] = true })
	slice := func(service, version string) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "e", ResourceVersion: version, Labels: map[string]string{discoveryv1.LabelServiceName: service}}}
	}
	for _, err := range []error{
		s.http.Add(routeObject("a", "1")), s.http.Add(routeObject("b", "1")), s.http.Update(routeObject("b", "2")), s.http.Delete(routeObject("a", "1")),
		s.slices.Add(slice("s", "1")), s.slices.Update(slice("other", "2")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if whole != 0 {
		t.Errorf("%d times all may be another", whole)
	}
	c := s.changes(told)
	if len(c.HTTPRoutes) != 2 || c.HTTPRoutes["n/a"] != nil || c.HTTPRoutes["n/b"].ResourceVersion != "2" {
		t.Errorf("routes %v", c.HTTPRoutes)
	}
	if list, ok := c.EndpointSlices["n/s"]; !ok || len(list) != 0 || len(c.EndpointSlices["n/other"]) != 1 {
		t.Errorf("endpoints %v", c.EndpointSlices)
	}
	if err := s.namespaces.Replace(nil, ""); err != nil || whole != 1 {
		t.Errorf("%v; %d times all may be another; want 1", err, whole)
	}
}
