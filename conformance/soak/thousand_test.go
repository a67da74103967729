package soak

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/harness"
)

// configured is a Proxy-Wasm module that puts its configuration into X-Version
// of the response, and what it was built with into X-Build.
func configured(build string) []byte {
	const (
		first, second, value = 16, 32, 48 // places of texts in memory
		at, size             = 8, 12      // of the configuration's address and size
		allocated            = 4096
		load                 = 0x28
		call, drop           = 0x10, 0x1a
		configuration        = 7 // the buffer's number
	)
	i32, code, data := harness.I32, harness.Code, harness.Data
	loaded := func(at int) []byte { return append(i32(at), load, 2, 0) }
	response := code( // it keeps nothing of one filter that another one sees
		i32(configuration), i32(0), i32(100), i32(at), i32(size), []byte{call, 1, drop},
		i32(2), i32(first), i32(len("x-version")), loaded(at), loaded(size), []byte{call, 0, drop},
		i32(2), i32(second), i32(len("x-build")), i32(value), i32(len(build)), []byte{call, 0, drop},
		i32(0))
	return harness.Module{
		1: harness.Vector([]byte{0x60, 0, 0}, []byte{0x60, 1, 0x7f, 1, 0x7f}, []byte{0x60, 5, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 1, 0x7f},
			[]byte{0x60, 3, 0x7f, 0x7f, 0x7f, 1, 0x7f}),
		2: harness.Vector(harness.Import("proxy_add_header_map_value", 2), harness.Import("proxy_get_buffer_bytes", 2)),
		3: harness.Vector([]byte{0}, []byte{1}, []byte{3}),
		5: {1, 0, 1},
		7: harness.Vector(harness.Export("proxy_abi_version_0_2_1", 0, 2), harness.Export("malloc", 0, 3), harness.Export("proxy_on_response_headers", 0, 4),
			harness.Export("memory", 2, 0)),
		10: harness.Vector(harness.Body(), code(i32(allocated)), response),
		11: harness.Vector(data(first, "x-version"), data(second, "x-build"), data(value, build)),
	}.Bytes()
}

// TestThousandSwaps swaps digests and configurations, in turn, of a Service with
// instances of its own and of one that may share them, while requests run: none
// may fail, and a thousand swaps leave memory where a hundred did. Without
// PENSTOCK_SOAK it makes 30 swaps.
func TestThousandSwaps(t *testing.T) {
	swaps := 30
	if os.Getenv("PENSTOCK_SOAK") != "" {
		swaps = 1000
	}
	upstream := harness.Upstream(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) })
	layout, dir := t.TempDir(), t.TempDir()
	shared := filepath.Join(dir, "shared.json")
	if err := os.WriteFile(shared, []byte(`{"multiConfig": true}`), 0o600); err != nil {
		t.Fatal(err)
	}
	build := func(n int) {
		t.Helper()
		for image, args := range map[string][]string{"own": nil, "shared": {"--manifest", shared}} {
			file := filepath.Join(dir, image)
			if err := os.WriteFile(file, configured(fmt.Sprint(image, n)), 0o600); err != nil {
				t.Fatal(err)
			}
			harness.Pack(t, layout, fmt.Sprint(image, n), file, args...)
		}
	}
	services := []string{"own", "shared"}
	service := func(name string, build, config int) string {
		return harness.Service(name, fmt.Sprintf("- {name: x, image: \"test.example/plugins/%s%d:1\", config: c%d}", name, build, config), upstream)
	}
	build(0)
	p := harness.Start(t, harness.Options{
		Files: map[string]string{
			"gateway.yaml": strings.Replace(harness.GatewayFor(1), "capabilities: [consumer]", "limits: {totals: {compilesPerHour: 10000}}", 1),
			"plain.yaml":   harness.Service("plain", "", upstream),
			"own.yaml":     service("own", 0, 0),
			"shared.yaml":  service("shared", 0, 0),
			"other.yaml":   harness.Service("other", "- {name: x, image: \"test.example/plugins/shared0:1\", config: c}", upstream),
		},
		Images: []string{layout},
		Args:   []string{"--access-log", "off", "--log-level", "error"},
	})
	// swapped asks until that is what answers.
	swapped := func(name string, build, config int) {
		t.Helper()
		want := fmt.Sprintf("%s%d c%d", name, build, config)
		p.Eventually(want+" answers", func() bool {
			r, err := http.Get(p.URL + "/" + name)
			if err != nil {
				return false
			}
			r.Body.Close()
			return r.Header.Get("X-Build")+" "+r.Header.Get("X-Version") == want
		})
	}
	for _, name := range services {
		swapped(name, 0, 0)
	}
	p.Eventually("the other one runs", func() bool { return p.Chain("Service/default/other").State == "Running" })
	stop := make(chan struct{})
	var group sync.WaitGroup
	loads := map[string]*swapLoad{}
	for _, name := range []string{"plain", "own", "shared", "other"} {
		loads[name] = &swapLoad{url: p.URL + "/" + name, stop: stop, seen: map[string]bool{}}
		group.Go(loads[name].run)
	}
	began := time.Now()
	var memory, hundreds, series []int
	digest := 0
	for done := 0; done < swaps; {
		if done/len(services)%2 == 0 {
			digest++
			build(digest)
		}
		for _, name := range services {
			p.Write(name+".yaml", service(name, digest, done))
		}
		for _, name := range services {
			swapped(name, digest, done)
		}
		memory = append(memory, p.Resident())
		if done += len(services); done%100 == 0 {
			// The least of some, since a collection may be due at any one.
			hundreds = append(hundreds, slices.Min(memory[len(memory)-20:]))
			series = append(series, strings.Count(p.Metrics(), "\n"))
		}
	}
	took := time.Since(began)
	close(stop)
	group.Wait()
	if seen := loads["other"].seen; len(seen) != 1 || !seen["c"] {
		t.Errorf("the other one answers with configurations %v; want its own alone", seen)
	}
	for name, l := range loads {
		t.Logf("%s: %d requests, %d failed, %d configurations seen", name, l.sent.Load(), l.failed.Load(), len(l.seen))
		if l.failed.Load() != 0 || l.sent.Load() < int64(swaps) {
			t.Errorf("%s: %d of %d requests failed; want none of many", name, l.failed.Load(), l.sent.Load())
		}
	}
	t.Logf("%d swaps, %d of them of the digest, in %v; resident memory in MiB: first %d, last %d; after each hundred %v; lines of /metrics %v",
		swaps, swaps/2, took.Round(time.Second), memory[0], memory[len(memory)-1], hundreds, series)
	if n := len(hundreds); n > 1 {
		if hundreds[n-1] > hundreds[0]+8 {
			t.Errorf("resident memory grows from hundred to hundred: %v MiB", hundreds)
		}
		if series[n-1] > series[0]+10 {
			t.Errorf("series of what is gone are left: %v", series)
		}
	}
}
