package sandbox

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/telemetry"
)

// TestCounts: a filter's numbers are those of its metrics; an old pool that ends
// takes nothing from those of its successor; after the last one there is none.
func TestCounts(t *testing.T) {
	m := telemetry.New()
	e, err := New(Options{Dir: t.TempDir() + "/compiled"}, zap.NewNop(), m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	metrics := func() string {
		w := httptest.NewRecorder()
		m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		return w.Body.String()
	}
	counts := func(p *Pool) Counts {
		c := p.Usage().Counts()
		p.Count(&c, false)
		return c
	}
	old, err := pool(t, e, idle, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c := counts(old); c.Starts != 1 || c.Instances != 1 || c.MemoryBytes != 1<<16 || c.Calls != 0 || c.Failures != nil || c.Shared != "" {
		t.Errorf("at first: got %+v", c)
	}
	p, err := pool(t, e, trapping, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(metrics(), `penstock_plugin_instances{filter="service/x",owner="Service/ns/svc"} 2`) {
		t.Error("two pools of one filter: want 2 instances")
	}
	old.Close(context.Background())
	for _, want := range []string{
		`penstock_plugin_instances{filter="service/x",owner="Service/ns/svc"} 1`,
		`penstock_plugin_memory_bytes{filter="service/x",owner="Service/ns/svc"} 65536`,
		`penstock_plugin_starts_total{filter="service/x",owner="Service/ns/svc"} 2`,
	} {
		if !strings.Contains(metrics(), want) {
			t.Errorf("the old pool is closed: got no %s", want)
		}
	}
	for range 2 {
		i, err := p.Acquire()
		if err != nil {
			t.Fatal(err)
		}
		b := Budget{Call: Steps(time.Millisecond), Usage: p.Usage()}
		if err := i.Call(i.Func("f"), &b, nil); err == nil {
			t.Error("no trap")
		}
		b.Settle()
		i.Unlock()
	}
	if c := counts(p); c.Calls != 2 || c.Seconds <= 0 || c.Failures[CauseTrap] != 2 || len(c.Failures) != 1 || c.Starts != 3 || c.Instances != 0 || c.MemoryBytes != 0 {
		t.Errorf("after two traps: got %+v", c)
	}
	var c Counts
	if p.Count(&c, true); c.Shared != "Service/ns/svc service/x" {
		t.Errorf("got %q", c.Shared)
	}
	p.Close(context.Background())
	if strings.Contains(metrics(), "Service/ns/svc") || len(e.accounts) > 0 {
		t.Errorf("series are left: %v\n%s", e.accounts, metrics())
	}
}
