package proxywasm

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/hosts/capability"
)

// shelves is a CacheObjects in a map, which notes what it is asked.
type shelves struct {
	mu     sync.Mutex
	values map[[3]string]string
	noted  []string
	refuse error
	stale  bool
}

func newShelves() *shelves { return &shelves{values: map[[3]string]string{}} }

func (s *shelves) note(format string, args ...any) {
	s.noted = append(s.noted, fmt.Sprintf(format, args...))
}

// take returns what was noted since the last time.
func (s *shelves) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	noted := s.noted
	s.noted = nil
	return noted
}

func (s *shelves) Object(dst []byte, namespace, id string, key []byte) ([]byte, time.Duration, bool, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	value, ok := s.values[[3]string{namespace, id, string(key)}]
	return append(dst, value...), 1500 * time.Millisecond, s.stale, ok
}

func (s *shelves) PutObject(namespace, id string, key, value []byte, ttl time.Duration, tags [][]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse != nil {
		return s.refuse
	}
	s.values[[3]string{namespace, id, string(key)}] = string(value)
	s.note("put %s %s %v %q", namespace, key, ttl, tags)
	return nil
}

func (s *shelves) DeleteObject(namespace, id string, key []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.values, [3]string{namespace, id, string(key)})
	s.note("delete %s %s", namespace, key)
}

func (s *shelves) PurgeTags(namespace string, tags [][]byte, soft bool) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note("purge %s %q %v", namespace, tags, soft)
	return len(tags), s.refuse
}

// listed writes a list as the functions take it.
func listed(texts ...string) string {
	b := []byte{byte(len(texts))}
	for _, t := range texts {
		b = append(binary.LittleEndian.AppendUint16(b, uint16(len(t))), t...)
	}
	return string(b)
}

func steering(flags byte, seconds uint32, parts, tags []string) string {
	b := binary.LittleEndian.AppendUint32([]byte{flags}, seconds)
	return string(b) + listed(parts...) + listed(tags...)
}

func putting(seconds uint32, key, value string, tags ...string) string {
	b := binary.LittleEndian.AppendUint32(nil, seconds)
	b = append(binary.LittleEndian.AppendUint16(b, uint16(len(key))), key...)
	return string(b) + listed(tags...) + value
}

// foreign is a line of a script that calls a function of ours.
func foreign(name, args string) string {
	quoted := strings.NewReplacer(`\"`, `\x22`, ";", `\x3b`).Replace(fmt.Sprintf("%+q", args))
	quoted = strings.ReplaceAll(quoted, " ", `\x20`)
	return `call_foreign_function "penstock.` + name + `" ` + quoted + ` &&`
}

func cacheScene(t testing.TB, o sceneOptions, lines ...string) *scene {
	t.Helper()
	o.script = strings.Join(lines, "\n")
	if o.grant == nil {
		o.grant = []string{capability.Cache}
	}
	if o.cache == nil {
		o.cache = newShelves()
	}
	return newScene(t, o)
}

// results are the calls' results in a guest's lines.
func results(lines []string) (got []string) {
	for _, line := range lines {
		if rest, ok := strings.CutPrefix(line, "  call_foreign_function "); ok {
			got = append(got, rest)
		}
	}
	return got
}

func bytesOf(texts ...string) (list [][]byte) {
	for _, t := range texts {
		list = append(list, []byte(t))
	}
	return list
}

// TestCacheSteering: the last word of a filter holds, in addition to what filters before
// it have said, which is not changed.
func TestCacheSteering(t *testing.T) {
	before := &exchange.CacheSteer{Key: bytesOf("first"), Tags: bytesOf("t0"), TTL: time.Hour, Force: true}
	tests := map[string]struct {
		before *exchange.CacheSteer
		said   []string
		want   exchange.CacheSteer
	}{
		"all of it":         {nil, []string{steering(3, 60, []string{"a", ""}, []string{"t1", "t2"})}, exchange.CacheSteer{Bypass: true, Force: true, TTL: time.Minute, Key: bytesOf("a", ""), Tags: bytesOf("t1", "t2")}},
		"nothing":           {nil, []string{steering(0, 0, nil, nil)}, exchange.CacheSteer{}},
		"the last one":      {nil, []string{steering(1, 60, []string{"a"}, []string{"t1"}), steering(0, 0, []string{"b"}, nil)}, exchange.CacheSteer{Key: bytesOf("b")}},
		"beside another":    {before, []string{steering(0, 0, []string{"a"}, []string{"t1"})}, exchange.CacheSteer{Key: bytesOf("first", "a"), Tags: bytesOf("t0", "t1"), TTL: time.Hour, Force: true}},
		"twice beside it":   {before, []string{steering(1, 9, []string{"x"}, []string{"x"}), steering(0, 60, []string{"a"}, nil)}, exchange.CacheSteer{Key: bytesOf("first", "a"), Tags: bytesOf("t0"), TTL: time.Minute}},
		"a bypass stays":    {&exchange.CacheSteer{Bypass: true}, []string{steering(0, 0, nil, nil)}, exchange.CacheSteer{Bypass: true}},
		"a refused one":     {nil, []string{steering(0, 60, nil, nil), steering(4, 0, nil, nil)}, exchange.CacheSteer{TTL: time.Minute}},
		"a long one, twice": {nil, []string{steering(0, 0, []string{strings.Repeat("k", 1000)}, nil), steering(0, 0, []string{strings.Repeat("l", 1000)}, nil)}, exchange.CacheSteer{Key: bytesOf(strings.Repeat("l", 1000))}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var calls []string
			for _, s := range test.said {
				calls = append(calls, foreign("cache_steer", s))
			}
			s := cacheScene(t, sceneOptions{}, "request_headers: "+strings.Join(calls, "; "))
			for range 2 { // the second exchange finds what the first one said
				e := s.exchange(config.Reject)
				e.x.Steer = test.before
				if out := e.request(""); out != filter.Passed {
					t.Fatal(out, e.Err())
				}
				if e.x.Steer == nil || !reflect.DeepEqual(*e.x.Steer, test.want) {
					t.Errorf("got %+v; want %+v\n%s", e.x.Steer, test.want, strings.Join(s.trace.take(), "\n"))
				}
				e.Done()
			}
		})
	}
	if len(before.Key) != 1 || len(before.Tags) != 1 || !before.Force {
		t.Errorf("what another filter said was changed: %+v", before)
	}
}

// TestCacheSteeringHasItsTime: while the request's headers have not gone on, by the
// exchange's own callbacks or while it is parked there.
func TestCacheSteeringHasItsTime(t *testing.T) {
	steer := foreign("cache_steer", steering(1, 0, nil, nil))
	s := cacheScene(t, sceneOptions{}, "configure: "+steer, "request_headers: "+steer, "request_body: "+steer, "response_headers: "+steer, "response_body: "+steer, "done: "+steer, "log: "+steer)
	e := s.exchange(config.Reject)
	e.request("body")
	e.response("body")
	e.Done()
	got := results(s.until(t, "delete"))
	want := []string{`2 ""`, `0 ""`, `2 ""`, `2 ""`, `2 ""`, `2 ""`, `2 ""`}
	if !slices.Equal(slices.Compact(got[:1]), want[:1]) || got[1] != want[1] || slices.Contains(got[2:], `0 ""`) {
		t.Errorf("got %q; want %q", got, want)
	}

	s = cacheScene(t, sceneOptions{grant: []string{capability.Cache}}, "configure: set_tick_period_milliseconds 10", "request_headers: return 1", "tick: set_effective_context 2; "+steer+"; continue_stream 0")
	e = s.exchange(config.Reject)
	if out := e.request(""); out != filter.Passed || e.x.Steer == nil || !e.x.Steer.Bypass {
		t.Errorf("from a tick: %v, %+v", out, e.x.Steer)
	}
	e.Done()
}

func TestCacheArguments(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n) }
	many := func(n int, s string) []string { return slices.Repeat([]string{s}, n) }
	tests := map[string]struct {
		name, args string
		status     uint32
	}{
		"steering with nothing":              {"cache_steer", "", statusBadArgument},
		"steering that ends early":           {"cache_steer", "\x00\x00\x00\x00\x00\x00", statusBadArgument},
		"steering that goes on":              {"cache_steer", steering(0, 0, nil, nil) + "x", statusBadArgument},
		"an unknown flag":                    {"cache_steer", steering(4, 0, nil, nil), statusBadArgument},
		"force without a time":               {"cache_steer", steering(2, 0, nil, nil), statusBadArgument},
		"the longest time":                   {"cache_steer", steering(2, 31_536_000, nil, nil), statusOK},
		"a longer time":                      {"cache_steer", steering(0, 31_536_001, nil, nil), statusBadArgument},
		"as many parts as may be":            {"cache_steer", steering(0, 0, many(16, long(1024)), nil), statusOK},
		"a part more":                        {"cache_steer", steering(0, 0, many(17, "x"), nil), statusBadArgument},
		"a part that is too long":            {"cache_steer", steering(0, 0, []string{long(1025)}, nil), statusBadArgument},
		"as many tags as may be":             {"cache_steer", steering(0, 0, nil, many(32, long(256))), statusOK},
		"a tag more":                         {"cache_steer", steering(0, 0, nil, many(33, "x")), statusBadArgument},
		"a tag that is too long":             {"cache_steer", steering(0, 0, nil, []string{long(257)}), statusBadArgument},
		"an empty tag":                       {"cache_steer", steering(0, 0, nil, []string{""}), statusBadArgument},
		"a tag that ends a line":             {"cache_steer", steering(0, 0, nil, []string{"a\nb"}), statusBadArgument},
		"a tag that is no text":              {"cache_steer", steering(0, 0, nil, []string{"a\xff"}), statusBadArgument},
		"a length beyond the end":            {"cache_steer", "\x00\x00\x00\x00\x00\x01\xff\x03x\x00", statusBadArgument},
		"no key to get":                      {"cache_get", "", statusBadArgument},
		"the longest key":                    {"cache_get", long(1024), statusNotFound},
		"a key to get that is too long":      {"cache_get", long(1025), statusBadArgument},
		"no key to delete":                   {"cache_delete", "", statusBadArgument},
		"a key to delete that is there not":  {"cache_delete", "k", statusOK},
		"a key to delete that is too long":   {"cache_delete", long(1025), statusBadArgument},
		"nothing to put":                     {"cache_put", "", statusBadArgument},
		"a put":                              {"cache_put", putting(60, "k", "v", "t"), statusOK},
		"a put of nothing":                   {"cache_put", putting(60, "k", ""), statusOK},
		"a put without a key":                {"cache_put", putting(60, "", "v"), statusBadArgument},
		"a put under the longest key":        {"cache_put", putting(60, long(1024), "v"), statusOK},
		"a put under a key too long":         {"cache_put", putting(60, long(1025), "v"), statusBadArgument},
		"a put without time":                 {"cache_put", putting(0, "k", "v"), statusBadArgument},
		"a put for the longest time":         {"cache_put", putting(2_592_000, "k", "v"), statusOK},
		"a put for a longer time":            {"cache_put", putting(2_592_001, "k", "v"), statusBadArgument},
		"a put of the largest value":         {"cache_put", putting(60, "k", long(1<<20)), statusOK},
		"a put of a larger value":            {"cache_put", putting(60, "k", long(1<<20+1)), statusBadArgument},
		"a put with too many tags":           {"cache_put", putting(60, "k", "v", many(33, "t")...), statusBadArgument},
		"a put with an empty tag":            {"cache_put", putting(60, "k", "v", ""), statusBadArgument},
		"a put that ends in its tags":        {"cache_put", "\x3c\x00\x00\x00\x01\x00k\x02\x01\x00t", statusBadArgument},
		"a purge of nothing":                 {"cache_purge", "\x00" + listed(), statusBadArgument},
		"a purge without a list":             {"cache_purge", "\x00", statusBadArgument},
		"a purge":                            {"cache_purge", "\x01" + listed("a", "b"), statusOK},
		"a purge with an unknown flag":       {"cache_purge", "\x02" + listed("a"), statusBadArgument},
		"a purge of too many":                {"cache_purge", "\x00" + listed(many(33, "t")...), statusBadArgument},
		"a purge that goes on":               {"cache_purge", "\x00" + listed("a") + "x", statusBadArgument},
		"a purge of a tag that ends a line":  {"cache_purge", "\x00" + listed("a\r\n"), statusBadArgument},
		"a purge whose tag is all too short": {"cache_purge", "\x00\x01\x05\x00a", statusBadArgument},
	}
	b := start(t, caller(), nil, capability.Cache)
	if b.err != nil {
		t.Fatal(b.err)
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b.abi.o.Cache = newShelves()
			x := newExchange()
			within(t, b, x, phaseRequestHeaders, func(h *hand) {
				h.v.current, h.v.effective = h.s, h.s
				if _, got := b.abi.foreigns["penstock."+test.name](h.v, []byte(test.args)); got != test.status {
					t.Errorf("got %d; want %d", got, test.status)
				}
			})
			if steered := x.Steer != nil; steered != (test.name == "cache_steer" && test.status == statusOK) {
				t.Errorf("steered: %v", steered)
			}
		})
	}
}

// FuzzCacheArguments: what is taken as steering is what the same lists are written as.
func FuzzCacheArguments(f *testing.F) {
	f.Add([]byte(steering(3, 60, []string{"a", ""}, []string{"t"})))
	f.Add([]byte(steering(0, 0, nil, nil)))
	f.Add([]byte("\x00\x00\x00\x00\x00\x01\xff\xff"))
	f.Fuzz(func(t *testing.T, args []byte) {
		c := parseSteer(args)
		if c == nil {
			return
		}
		var flags byte
		if c.Bypass {
			flags |= steerBypass
		}
		if c.Force {
			flags |= steerForce
		}
		var parts, tags []string
		for _, p := range c.Key {
			parts = append(parts, string(p))
		}
		for _, g := range c.Tags {
			tags = append(tags, string(g))
		}
		if again := steering(flags, uint32(c.TTL/time.Second), parts, tags); again != string(args) {
			t.Fatalf("%q was read as %q", args, again)
		}
		if len(parts) > capability.MaxCacheParts || len(tags) > capability.MaxCacheTags || c.TTL > capability.MaxCacheTTL {
			t.Fatalf("beyond its bounds: %+v", c)
		}
	})
}
