package proxywasm

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/hosts/capability"
)

// TestCacheObjects: what goes in comes out, with how long it lives and whether it is
// stale, to filters with the same state alone.
func TestCacheObjects(t *testing.T) {
	calls := strings.Join([]string{
		foreign("cache_get", "k"), foreign("cache_put", putting(60, "k", "value", "t1", "t2")), foreign("cache_get", "k"),
		foreign("cache_purge", "\x00"+listed("t1", "t2", "t3")), foreign("cache_purge", "\x01"+listed("t1")),
	}, "; ")
	s := cacheScene(t, sceneOptions{change: func(c *config.Filter) { c.VMID = "shared" }}, "configure: "+calls)
	want := []string{`1 ""`, `0 ""`, `0 "\x00\xdc\x05\x00\x00\x00\x00\x00\x00value"`, `0 "\x03\x00\x00\x00"`, `0 "\x01\x00\x00\x00"`}
	if got := results(s.trace.take()); !slices.Equal(got, want) {
		t.Errorf("got %q; want %q", got, want)
	}
	if got, want := s.cache.take(), []string{`put ns k 1m0s ["t1" "t2"]`, `purge ns ["t1" "t2" "t3"] false`, `purge ns ["t1"] true`}; !slices.Equal(got, want) {
		t.Errorf("got %q; want %q", got, want)
	}
	s.cache.stale = true
	for name, test := range map[string]struct{ namespace, vmID, want string }{
		"the same state":    {"ns", "shared", `0 "\x01\xdc\x05\x00\x00\x00\x00\x00\x00value"`},
		"another state":     {"ns", "other", `1 ""`},
		"a state of no one": {"ns", "", `1 ""`},
		"another namespace": {"away", "shared", `1 ""`},
	} {
		s.trace.take()
		cacheScene(t, sceneOptions{with: s, change: func(c *config.Filter) {
			c.Namespace, c.VMID, c.Owner.Namespace, c.Owner.Name = test.namespace, test.vmID, test.namespace, "reader"
		}}, "configure: "+foreign("cache_get", "k")+"; "+foreign("cache_purge", "\x00"+listed("t1")))
		if got := results(s.trace.take()); len(got) != 2 || got[0] != test.want {
			t.Errorf("%s: got %q; want %q", name, got, test.want)
		}
		if got, want := s.cache.take(), []string{"purge " + test.namespace + ` ["t1"] false`}; !slices.Equal(got, want) {
			t.Errorf("%s: got %q; want %q", name, got, want)
		}
	}
	cacheScene(t, sceneOptions{with: s, change: func(c *config.Filter) { c.VMID = "shared" }}, "configure: "+foreign("cache_delete", "k")+"; "+foreign("cache_get", "k"))
	if got, want := results(s.trace.take()), []string{`0 ""`, `1 ""`}; !slices.Equal(got, want) {
		t.Errorf("got %q; want %q", got, want)
	}
}

// TestCacheCallsThatAreRefused: without the right, without a cache, without room.
func TestCacheCallsThatAreRefused(t *testing.T) {
	all := strings.Join([]string{
		foreign("cache_steer", steering(1, 0, nil, nil)), foreign("cache_get", "k"), foreign("cache_put", putting(60, "k", "v")),
		foreign("cache_delete", "k"), foreign("cache_purge", "\x00"+listed("t")),
	}, "; ")
	full := errors.New("full")
	tests := map[string]struct {
		grant  []string
		none   bool
		refuse error
		want   []string
		log    string
	}{
		"no right":      {[]string{capability.KV, capability.Consumer}, false, nil, []string{`10 ""`, `10 ""`, `10 ""`, `10 ""`, `10 ""`}, "was not granted"},
		"no cache":      {[]string{capability.Cache}, true, nil, []string{`12 ""`, `12 ""`, `12 ""`, `12 ""`, `12 ""`}, ""},
		"no room":       {[]string{capability.Cache}, false, full, []string{`0 ""`, `1 ""`, `10 ""`, `0 ""`, `10 ""`}, "was not stored in the cache: full"},
		"all that must": {[]string{capability.Cache}, false, nil, []string{`0 ""`, `1 ""`, `0 ""`, `0 ""`, `0 "\x01\x00\x00\x00"`}, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o := sceneOptions{grant: test.grant, script: "request_headers: " + all + "; " + all}
			if !test.none {
				o.cache = newShelves()
				o.cache.refuse = test.refuse
			}
			s := newScene(t, o)
			e := s.exchange(config.Reject)
			e.request("")
			steered := e.x.Steer != nil
			e.Done()
			lines := s.trace.take()
			got := results(lines)
			if len(got) != 10 || !slices.Equal(got[:5], test.want) {
				t.Errorf("got %q; want %q", got, test.want)
			}
			if want := test.want[0] == `0 ""`; steered != want {
				t.Errorf("steered: %v", steered)
			}
			if n := strings.Count(strings.Join(lines, "\n"), test.log); test.log != "" && n != 1 {
				t.Errorf("%d lines of log; want one with %q", n, test.log)
			}
			if s.cache != nil && test.grant[0] != capability.Cache && len(s.cache.take()) > 0 {
				t.Error("the cache was asked")
			}
		})
	}
}

// TestAShadowPurgesNothing, and keeps its objects from others.
func TestAShadowPurgesNothing(t *testing.T) {
	s := cacheScene(t, sceneOptions{change: func(c *config.Filter) { c.Shadow, c.VMID = true, "shared" }},
		"configure: "+foreign("cache_put", putting(60, "k", "v"))+"; "+foreign("cache_purge", "\x00"+listed("t")))
	if got, want := results(s.trace.take()), []string{`0 ""`, `0 "\x00\x00\x00\x00"`}; !slices.Equal(got, want) {
		t.Errorf("got %q; want %q", got, want)
	}
	if got := s.cache.take(); len(got) != 1 || !strings.HasPrefix(got[0], "put ") {
		t.Errorf("got %q; want a put alone", got)
	}
	if _, ok := s.cache.values[[3]string{"ns", "ns\x00vm shared", "k"}]; ok {
		t.Error("its object is that of the real one's state")
	}
}

// TestCacheCallsCostSteps in proportion to what is copied.
func TestCacheCallsCostSteps(t *testing.T) {
	b := start(t, caller(), nil, capability.Cache)
	b.abi.o.Cache = newShelves()
	within(t, b, newExchange(), phaseRequestHeaders, func(h *hand) {
		cost := func(name, args string) int64 {
			p, n := h.put(100, "penstock."+name)
			q, m := h.put(2000, args)
			if status := h.call("proxy_call_foreign_function", p, n, q, m, 8, 12); status != statusOK {
				t.Errorf("%s: got %d", name, status)
			}
			return h.spent
		}
		small, large := cost("cache_put", putting(60, "k", "v")), cost("cache_put", putting(60, "k", strings.Repeat("v", 32<<10)))
		if more := large - small; small < stepsOfPut || more < 3*(32<<10-1)/bytesOfAStep {
			t.Errorf("a put costs %d steps, one of 32 KiB %d", small, large)
		}
		if got := cost("cache_get", "k"); got < stepsOfObject+2*(32<<10)/bytesOfAStep {
			t.Errorf("to get 32 KiB costs %d steps", got)
		}
		if got := cost("cache_purge", "\x00"+listed("t")); got < stepsOfPurge {
			t.Errorf("a purge costs %d steps", got)
		}
	})
}

func TestCacheCallsAllocateNothing(t *testing.T) {
	b := start(t, caller(), nil, capability.Cache)
	b.abi.o.Cache = newShelves()
	x := newExchange()
	within(t, b, x, phaseRequestHeaders, func(h *hand) {
		h.v.current, h.v.effective = h.s, h.s
		said := []byte(steering(0, 60, []string{"mobile"}, []string{"shop"}))
		if n := testing.AllocsPerRun(100, func() {
			if _, status := steerCache(h.v, said); status != statusOK {
				t.Error(status)
			}
		}); n != 0 {
			t.Errorf("%v allocations to steer; want 0", n)
		}
	})
}

// TestSteeringIsForgotten: an instance remembers a bounded number of what was said.
func TestSteeringIsForgotten(t *testing.T) {
	b := start(t, caller(), nil, capability.Cache)
	b.abi.o.Cache = newShelves()
	within(t, b, newExchange(), phaseRequestHeaders, func(h *hand) {
		h.v.current, h.v.effective = h.s, h.s
		for i := range 3 * maxSteers {
			if _, status := steerCache(h.v, []byte(steering(0, 0, []string{fmt.Sprint(i)}, nil))); status != statusOK {
				t.Error(status)
			}
		}
		if n := len(h.v.steers); n > maxSteers {
			t.Errorf("%d remembered; want at most %d", n, maxSteers)
		}
		if _, status := steerCache(h.v, []byte(steering(0, 0, []string{strings.Repeat("x", 1000)}, nil))); status != statusOK {
			t.Error(status)
		}
		for args := range h.v.steers {
			if len(args) > maxSteerBytes {
				t.Errorf("%d bytes are remembered", len(args))
			}
		}
	})
}
