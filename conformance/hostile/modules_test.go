package hostile

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"penstock.dev/penstock/conformance/harness"
)

// Short names for what modules are made of.
type module = harness.Module

var leb, name, vector, body, export = harness.LEB, harness.Name, harness.Vector, harness.Body, harness.Export

// plain is a Proxy-Wasm module that does nothing: function 0 is the marker,
// function 1 the allocator.
func plain() module {
	return module{
		1:  vector([]byte{0x60, 0, 0}, []byte{0x60, 1, 0x7f, 1, 0x7f}),
		3:  vector([]byte{0}, []byte{1}),
		5:  {1, 0, 1},
		7:  vector(export("proxy_abi_version_0_2_1", 0, 0), export("malloc", 0, 1), export("memory", 2, 0)),
		10: vector(body(), body(0x41, 0x80, 0x08)),
	}
}

// TestModules: what cannot run is refused, with a reason, before it sees a
// request; what merely looks odd runs. The neighbour serves throughout.
func TestModules(t *testing.T) {
	spin := body(0x03, 0x40, 0x0c, 0, 0x0b)
	started := func(code []byte) module { // function 0 is the start function
		return plain().With(10, vector(code, body(0x41, 0x80, 0x08))).With(8, []byte{0})
	}
	deep := bytes.Repeat([]byte{0x02, 0x40}, 200_000)
	deep = append(deep, bytes.Repeat([]byte{0x0b}, 200_000)...)
	locals := append(append([]byte{1}, leb(1_000_000)...), 0x7f, 0x0b)
	whole := plain().Bytes()
	tests := map[string]struct {
		module []byte
		reason string // empty: it runs
		text   string
	}{
		"plain":                        {whole, "", ""},
		"no-wasm":                      {[]byte("#!/bin/sh\n"), "InvalidModule", ""},
		"empty":                        {nil, "InvalidModule", ""},
		"cut-short":                    {whole[:len(whole)-3], "InvalidModule", ""},
		"component":                    {[]byte("\x00asm\x0d\x00\x01\x00"), "InvalidModule", ""},
		"no-marker":                    {plain().With(7, vector(export("malloc", 0, 1), export("memory", 2, 0))).Bytes(), "UnknownABI", "proxy_abi_version"},
		"no-allocator":                 {plain().With(7, vector(export("proxy_abi_version_0_2_1", 0, 0), export("memory", 2, 0))).Bytes(), "InvalidModule", "malloc"},
		"no-memory":                    {plain().With(5, []byte{0}).With(7, vector(export("proxy_abi_version_0_2_1", 0, 0), export("malloc", 0, 1))).Bytes(), "InvalidModule", "memory"},
		"allocator-of-another-type":    {plain().With(7, vector(export("proxy_abi_version_0_2_1", 0, 0), export("malloc", 0, 0), export("memory", 2, 0))).Bytes(), "InvalidModule", "malloc"},
		"memory-of-4-gib":              {plain().With(5, append([]byte{1, 0}, leb(65536)...)).Bytes(), "InvalidModule", ""},
		"memory-above-its-limit":       {plain().With(5, append([]byte{1, 0}, leb(4096)...)).Bytes(), "InvalidModule", ""},
		"shared-memory":                {plain().With(5, []byte{1, 3, 1, 1}).Bytes(), "InvalidModule", ""},
		"table-of-4-billion":           {plain().With(4, append([]byte{1, 0x70, 0}, leb(1<<32-1)...)).Bytes(), "InvalidModule", "table"},
		"start-spins":                  {started(spin).Bytes(), "InvalidModule", "CPU"},
		"start-traps":                  {started(body(0)).Bytes(), "InvalidModule", "unreachable"},
		"start-recurses":               {started(body(0x10, 0)).Bytes(), "InvalidModule", "stack"},
		"start-grows-memory":           {started(body(0x03, 0x40, 0x41, 1, 0x40, 0, 0x1a, 0x0c, 0, 0x0b)).Bytes(), "InvalidModule", "CPU"},
		"initialize-spins":             {plain().With(10, vector(spin, body(0x41, 0x80, 0x08))).With(7, vector(export("proxy_abi_version_0_2_1", 0, 0), export("_initialize", 0, 0), export("malloc", 0, 1), export("memory", 2, 0))).Bytes(), "InvalidModule", "CPU"},
		"allocator-outside-of-memory":  {plain().With(10, vector(body(), body(0x41, 0x7f))).Bytes(), "", ""},
		"a-call-to-nobody":             {plain().With(10, vector(body(0x10, 99), body(0x41, 0x80, 0x08))).Bytes(), "InvalidModule", ""},
		"a-body-of-another-type":       {plain().With(10, vector(body(0x41, 1), body(0x41, 0x80, 0x08))).Bytes(), "InvalidModule", ""},
		"an-unknown-instruction":       {plain().With(10, vector(body(0xff), body(0x41, 0x80, 0x08))).Bytes(), "InvalidModule", ""},
		"more-bodies-than-functions":   {plain().With(10, vector(body(), body(0x41, 0x80, 0x08), body())).Bytes(), "InvalidModule", ""},
		"a-lying-function-count":       {plain().With(3, append(leb(1<<31), 0, 1)).Bytes(), "InvalidModule", ""},
		"a-lying-section-size":         {append([]byte("\x00asm\x01\x00\x00\x00\x01"), leb(1<<31)...), "InvalidModule", ""},
		"a-million-locals":             {plain().With(10, vector(append(leb(len(locals)), locals...), body(0x41, 0x80, 0x08))).Bytes(), "InvalidModule", ""},
		"blocks-200-000-deep":          {plain().With(10, vector(body(deep...), body(0x41, 0x80, 0x08))).Bytes(), "any", ""},
		"data-outside-of-memory":       {plain().With(11, append([]byte{1, 0, 0x41, 0xff, 0xff, 0xff, 0xff, 0x07, 0x0b}, name("data")...)).Bytes(), "InvalidModule", ""},
		"an-unknown-import":            {plain().With(2, vector(append(append(name("env"), name("nobody_knows")...), 0, 0))).With(7, vector(export("proxy_abi_version_0_2_1", 0, 1), export("malloc", 0, 2), export("memory", 2, 0))).Bytes(), "", ""},
		"an-imported-memory":           {plain().With(2, vector(append(append(name("env"), name("memory")...), 2, 0, 1))).With(5, []byte{0}).Bytes(), "InvalidModule", ""},
		"an-imported-table":            {plain().With(2, vector(append(append(name("env"), name("t")...), 1, 0x70, 0, 1))).Bytes(), "InvalidModule", ""},
		"an-import-of-the-meter":       {plain().With(2, vector(append(append(name("penstock"), name("refuel")...), 0, 0))).With(7, vector(export("proxy_abi_version_0_2_1", 0, 1), export("malloc", 0, 2), export("memory", 2, 0))).Bytes(), "any", ""},
		"an-export-twice":              {plain().With(7, vector(export("proxy_abi_version_0_2_1", 0, 0), export("malloc", 0, 1), export("malloc", 0, 1), export("memory", 2, 0))).Bytes(), "InvalidModule", ""},
		"sixty-megabytes-of-padding":   {plain().With(0, append(name("pad"), make([]byte, 60<<20)...)).Bytes(), "", ""},
		"more-than-a-module-may-have":  {plain().With(0, append(name("pad"), make([]byte, 65<<20)...)).Bytes(), "InvalidModule", ""},
		"a-name-that-is-no-utf-8":      {plain().With(7, vector(export("proxy_abi_version_0_2_1", 0, 0), export("malloc", 0, 1), export("memory", 2, 0), export("\xff\xfe", 0, 0))).Bytes(), "InvalidModule", ""},
		"thirty-thousand-exports":      {plain().With(7, many(30_000)).Bytes(), "", ""},
		"a-configure-that-says-no":     {refuses().Bytes(), "InvalidConfig", "proxy_on_configure"},
		"both-markers-and-http-wasm":   {plain().With(7, vector(export("proxy_abi_version_0_2_1", 0, 0), export("proxy_abi_version_0_1_0", 0, 0), export("handle_request", 0, 0), export("malloc", 0, 1), export("memory", 2, 0))).Bytes(), "", ""},
		"a-callback-of-another-type":   {plain().With(7, vector(export("proxy_abi_version_0_2_1", 0, 0), export("proxy_on_request_headers", 0, 0), export("malloc", 0, 1), export("memory", 2, 0))).Bytes(), "InvalidModule", "proxy_on_request_headers"},
		"a-marker-that-is-no-function": {plain().With(7, vector(export("proxy_abi_version_0_2_1", 2, 0), export("malloc", 0, 1), export("memory", 2, 0))).Bytes(), "UnknownABI", ""},
	}
	layout, dir := t.TempDir(), t.TempDir()
	upstream := harness.Upstream(t, harness.Echo)
	files := map[string]string{"gateway.yaml": harness.GatewayFor(1), "good.yaml": harness.Service("good", "", upstream)}
	var names []string
	for n, test := range tests {
		file := filepath.Join(dir, n+".wasm")
		if err := os.WriteFile(file, test.module, 0o600); err != nil {
			t.Fatal(err)
		}
		harness.Pack(t, layout, n, file)
		files[n+".yaml"] = harness.Service(n, "- image: test.example/plugins/"+n+":1\n  limits: {cpuTimeStart: 100ms}", upstream)
		names = append(names, n)
	}
	slices.Sort(names)
	p := harness.Launch(t, harness.Options{Files: files, Images: []string{layout}, Args: []string{"--access-log", "off"}})
	p.Eventually("the neighbour serves", func() bool {
		r, err := http.Get(p.URL + "/good")
		if err != nil {
			return false
		}
		r.Body.Close()
		return r.StatusCode == 200
	})
	n := &neighbour{url: p.URL + "/good", stop: make(chan struct{})}
	n.group.Go(n.run)
	for _, service := range names {
		test, target := tests[service], "Service/default/"+service
		p.Eventually(service+" is settled", func() bool { s := p.Chain(target).State; return s == "Running" || s == "Broken" })
		c := p.Chain(target)
		status := ask(t, p.URL+"/"+service)
		switch {
		case test.reason == "any":
		case test.reason == "" && (c.State != "Running" || status != 200):
			t.Errorf("%s: got %s, %s, %d; want it to run", service, c.State, c.Message, status)
		case test.reason != "" && (c.Reason != test.reason || status != 503 || !strings.Contains(c.Message, test.text)):
			t.Errorf("%s: got %s %q, %d; want %s %q, 503", service, c.Reason, c.Message, status, test.reason, test.text)
		}
		if (c.State == "Broken") != (status == 503) || c.State == "Broken" && c.Message == "" {
			t.Errorf("%s: got %+v, %d; want a reason with 503 alone", service, c, status)
		}
	}
	close(n.stop)
	n.group.Wait()
	t.Logf("%d modules; the neighbour asked %d times, %d failed, slowest %v", len(names), n.asked.Load(), n.failed.Load(), n.turn())
	if n.failed.Load() > 0 {
		t.Errorf("%d of the neighbour's requests failed", n.failed.Load())
	}
}

func ask(t *testing.T, url string) int {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		t.Error(err)
	}
	return r.StatusCode
}

// many is an export section with n functions more.
func many(n int) []byte {
	items := [][]byte{export("proxy_abi_version_0_2_1", 0, 0), export("malloc", 0, 1), export("memory", 2, 0)}
	for i := range n {
		items = append(items, export(fmt.Sprintf("f%d", i), 0, 0))
	}
	return vector(items...)
}

// refuses is a module whose proxy_on_configure returns 0.
func refuses() module {
	m := plain()
	m[1] = vector([]byte{0x60, 0, 0}, []byte{0x60, 1, 0x7f, 1, 0x7f}, []byte{0x60, 2, 0x7f, 0x7f, 1, 0x7f})
	m[3] = vector([]byte{0}, []byte{1}, []byte{2})
	m[7] = vector(export("proxy_abi_version_0_2_1", 0, 0), export("malloc", 0, 1), export("proxy_on_configure", 0, 2), export("memory", 2, 0))
	m[10] = vector(body(), body(0x41, 0x80, 0x08), body(0x41, 0))
	return m
}
