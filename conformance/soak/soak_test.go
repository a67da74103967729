// Package soak runs load while the configuration is rewritten every second.
package soak

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/harness"
)

// TestSoak sends requests to healthy Services while routes, a plugin's config,
// its digest and a broken annotation come and go: none may fail, and the
// resident memory stays flat. PENSTOCK_SOAK is how long, default 10 seconds.
func TestSoak(t *testing.T) {
	length, err := time.ParseDuration(os.Getenv("PENSTOCK_SOAK"))
	if err != nil {
		length = 10 * time.Second
	}
	upstream := harness.Upstream(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") })
	layout := t.TempDir()
	pack(t, layout, "v:1", "build/transform.wasm")
	p := harness.Start(t, harness.Options{
		Files: map[string]string{
			"gateway.yaml": harness.GatewayFor(1),
			"plain.yaml":   harness.Service("plain", "", upstream),
			"plugin.yaml":  harness.Service("plugin", transform("test.example/plugins/v:1", 0), upstream),
		},
		Images: []string{harness.BundledPlugins(t), layout},
		Args:   []string{"--access-log", "off"},
	})
	p.Eventually("the plugin runs", func() bool { return p.Chain("Service/default/plugin").State == "Running" })

	stop := make(chan struct{})
	var sent, failed atomic.Int64
	var group sync.WaitGroup
	for _, path := range []string{"/plain", "/plugin", "/plain", "/plugin"} {
		group.Go(func() { load(p.URL+path, stop, &sent, &failed, t) })
	}
	var memory []int
	end := time.Now().Add(length)
	for i := 1; time.Now().Before(end); i++ {
		time.Sleep(time.Second)
		change(t, p, layout, upstream, i)
		memory = append(memory, p.Resident())
	}
	close(stop)
	group.Wait()
	t.Logf("%d requests, %d failed; resident memory in MiB: first %d, middle %d, last %d, most %d",
		sent.Load(), failed.Load(), memory[0], memory[len(memory)/2], memory[len(memory)-1], most(memory))
	if failed.Load() != 0 || sent.Load() < int64(length/time.Second) {
		t.Errorf("%d of %d requests failed; want none", failed.Load(), sent.Load())
	}
	// Flat: the last third needs hardly more than the middle one did.
	third := len(memory) / 3
	if third > 30 && most(memory[2*third:]) > most(memory[third:2*third])*11/10+8 {
		t.Errorf("resident memory grows: %v", memory)
	}
}

func transform(image string, version int) string {
	return fmt.Sprintf("- image: %s\n  config: {response: {headers: {set: {X-Version: v%d}}}}", image, version)
}

// change rewrites one thing.
func change(t *testing.T, p *harness.Proxy, layout string, upstream, i int) {
	switch i % 5 {
	case 0: // another digest: the same module with other bytes around it
		name := fmt.Sprintf("v:%d", i)
		pack(t, layout, name, "build/transform.wasm")
		p.Write("plugin.yaml", harness.Service("plugin", transform("test.example/plugins/"+name, i), upstream))
	case 1: // another config
		p.Write("plugin.yaml", harness.Service("plugin", transform("test.example/plugins/v:1", i), upstream))
	case 2: // a mistake in the same annotation
		p.Write("plugin.yaml", harness.Service("plugin", "- image: test.example/plugins/v:1\n  cnofig: {}", upstream))
	case 3: // more routes
		p.Write("more.yaml", harness.Service("more"+strconv.Itoa(i), "", upstream))
	case 4: // a neighbour that is broken
		p.Write("broken.yaml", harness.Service("broken", "- use: ["+strconv.Itoa(i), upstream))
	}
}

// pack puts the module with a custom section that names the image, so that
// each has a digest of its own.
func pack(t *testing.T, layout, name, module string) {
	t.Helper()
	text, err := os.ReadFile("../../" + module)
	if err != nil {
		t.Fatal(err)
	}
	section := append([]byte{4}, "soak"+name...)
	packModule(t, layout, name, append(append(text, 0, byte(len(section))), section...))
}

func load(url string, stop <-chan struct{}, sent, failed *atomic.Int64, t *testing.T) {
	client := &http.Client{Transport: &http.Transport{}, Timeout: 20 * time.Second}
	defer client.CloseIdleConnections()
	for {
		select {
		case <-stop:
			return
		default:
		}
		sent.Add(1)
		r, err := client.Get(url)
		if err != nil {
			if failed.Add(1) < 10 {
				t.Log(url, err)
			}
			continue
		}
		body, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil || r.StatusCode != 200 || !bytes.Equal(body, []byte("hello")) || strings.HasSuffix(url, "plugin") && r.Header.Get("X-Version") == "" {
			if failed.Add(1) < 10 {
				t.Log(url, r.StatusCode, err, string(body))
			}
		}
	}
}

func most(list []int) int {
	m := 0
	for _, v := range list {
		m = max(m, v)
	}
	return m
}
