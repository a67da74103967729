package sandbox

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/core/config"
)

func tenants(e *Engine, change func(*config.Totals)) {
	t := config.DefaultTotals()
	t.Policies = map[string]string{"memory": "small", "cpuShare": "small"}
	change(t)
	e.SetTotals(map[string]*config.Totals{"ns": t})
}

func inTenant(name string) func(*PoolOptions) { return func(o *PoolOptions) { o.Tenant = name } }

func TestMemoryOfANamespaceIsBounded(t *testing.T) {
	e := engine(t, nil)
	tenants(e, func(c *config.Totals) { c.MemoryBytes = 5 << 16 })
	first, err := pool(t, e, greedy, inTenant("ns"))
	if err != nil {
		t.Fatal(err)
	}
	least := int64(first.module.least)
	other, err := pool(t, e, greedy, inTenant("other"))
	if err != nil {
		t.Fatal(err)
	}
	// The guest grows until memory.grow fails; its own limit is 4 MiB.
	i, err := first.Acquire()
	if err != nil {
		t.Fatal(err)
	}
	most := int64(0)
	first.o.Died = func(i *Instance) { most = e.Tenant("ns").memory.Load() }
	if err := i.Call(i.Func("f"), &Budget{Call: Steps(time.Second)}, nil); err == nil {
		t.Fatal("want the trap after the last growth")
	}
	i.Unlock()
	if most != 5<<16 || e.Tenant("ns").memory.Load() != 0 {
		t.Errorf("the guest had %d bytes, %d are left; want %d and 0", most, e.Tenant("ns").memory.Load(), 5<<16)
	}
	if err := call(t, other, Budget{Call: Steps(time.Second)}); err == nil || e.Tenant("other").memory.Load() > 0 && other.memory.Load() == 0 {
		t.Error("another namespace's memory is not its own")
	}
	// No room for a new instance: the error says who, how much and the fix.
	tenants(e, func(c *config.Totals) { c.MemoryBytes = least - 1 })
	_, err = pool(t, e, idle, inTenant("ns"))
	want := "the namespace has reached a total: memory: an instance starts with 64 KiB, and the instances of namespace ns have 0 KiB of 63 by PluginPolicy small (spec.limits.totals.memory): run fewer or smaller filters, or raise it"
	if !errors.Is(err, ErrTotal) || err.Error() != want {
		t.Errorf("got %v; want %s", err, want)
	}
	if _, err := pool(t, e, idle, nil); err != nil {
		t.Errorf("without a tenant: got %v", err)
	}
	if n := e.Tenant("ns").memory.Load(); n != 0 {
		t.Errorf("%d bytes are still taken", n)
	}
}

func TestAStartThatRunsOutOfTheNamespacesMemoryCanPass(t *testing.T) {
	e := engine(t, nil)
	tenants(e, func(c *config.Totals) { c.MemoryBytes = 3 << 16 })
	_, err := pool(t, e, greedy, func(o *PoolOptions) {
		o.Tenant = "ns"
		o.Init = func(i *Instance) error { return i.Call(i.Func("f"), &Budget{Call: Steps(time.Second)}, nil) }
	})
	if !errors.Is(err, ErrTotal) || !strings.Contains(err.Error(), "trap") {
		t.Errorf("got %v; want ErrTotal and the trap", err)
	}
}

func TestCPUOfANamespaceIsBounded(t *testing.T) {
	e := engine(t, nil)
	tenants(e, func(c *config.Totals) { c.CPUPercent = 1 }) // 10 ms a second, 100 ms saved
	p, err := pool(t, e, endless, inTenant("ns"))
	if err != nil {
		t.Fatal(err)
	}
	tenant := e.Tenant("ns")
	if err := tenant.Pace(nil, 0); err != nil {
		t.Fatalf("at the start: %v", err)
	}
	if err := call(t, p, Budget{Call: Steps(150 * time.Millisecond)}); err == nil {
		t.Fatal("the loop ended")
	}
	err = tenant.Pace(nil, time.Second)
	want := "the namespace has reached a total: cpuShare: the filters of namespace ns have spent their 1 % of a core by PluginPolicy small (spec.limits.totals.cpuShare): make them cheaper, or raise it"
	if !errors.Is(err, ErrTotal) || err.Error() != want {
		t.Errorf("got %v; want %s", err, want)
	}
	if err := e.Tenant("other").Pace(nil, 0); err != nil {
		t.Errorf("another namespace: %v", err)
	}
	// Raised, it waits for what is still owed and goes on.
	tenants(e, func(c *config.Totals) { c.CPUPercent = 100 })
	if err := tenant.Pace(nil, 2*time.Second); err != nil {
		t.Errorf("got %v; want it to wait for its share", err)
	}
	(&Instance{pool: p}).Pace(nil)
}

// TestATenantInUseIsNotForgotten: totals that are set just when a pool is made
// bound what it takes.
func TestATenantInUseIsNotForgotten(t *testing.T) {
	e := engine(t, nil)
	m, err := e.Load(t.Context(), idle)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				e.SetTotals(nil)
			}
		}
	}()
	for range 1000 {
		p, err := m.NewPool(t.Context(), PoolOptions{Tenant: "ns", MemoryBytes: 1 << 20, Lazy: true, Import: func(Import) HostFunc { return nil }})
		if err != nil {
			t.Fatal(err)
		}
		lost := e.Tenant("ns") != p.tenant
		p.Close(t.Context())
		if lost {
			t.Error("the tenant of a pool was forgotten")
			break
		}
	}
	close(stop)
	<-stopped
}

// TestAMemoryThatCannotBeHad: it is an error, and no end of the process.
func TestAMemoryThatCannotBeHad(t *testing.T) {
	hidden := bytes.Replace(idle, section(5, 1, 0, 1), section(5, append([]byte{1, 0}, u(60000)...)...), 1)
	exports := append(append([]byte{2}, name("f")...), 0, 2)
	exports = append(append(exports, name("memory")...), 2, 0)
	hidden = bytes.Replace(hidden, section(7, exports...), section(7, append(append([]byte{1}, name("f")...), 0, 2)...), 1)
	e := engine(t, nil)
	if _, err := pool(t, e, hidden, inTenant("ns")); !errors.Is(err, errNoMemory) {
		t.Errorf("a memory that is not exported: got %v", err)
	}
	// The machine has no room: so much cannot be mapped.
	_, err := pool(t, e, idle, func(o *PoolOptions) { o.Tenant, o.MemoryBytes = "ns", 1<<60 })
	if !errors.Is(err, ErrMapping) {
		t.Errorf("got %v; want ErrMapping", err)
	}
	if n := e.Tenant("ns").memory.Load(); n != 0 {
		t.Errorf("%d bytes are still taken", n)
	}
}
