package check

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"penstock.dev/penstock/conformance/harness"
)

// plugin is a Proxy-Wasm module whose proxy_on_configure is this code.
func plugin(configure ...byte) []byte {
	return harness.Module{
		1: harness.Vector([]byte{0x60, 0, 0}, []byte{0x60, 1, 0x7f, 1, 0x7f}, []byte{0x60, 2, 0x7f, 0x7f, 1, 0x7f}),
		3: harness.Vector([]byte{0}, []byte{1}, []byte{2}),
		5: {1, 0, 1},
		7: harness.Vector(harness.Export("proxy_abi_version_0_2_1", 0, 0), harness.Export("malloc", 0, 1),
			harness.Export("proxy_on_configure", 0, 2), harness.Export("memory", 2, 0)),
		10: harness.Vector(harness.Body(), harness.Body(0x41, 0x80, 0x08), harness.Body(configure...)),
	}.Bytes()
}

// talker is a Proxy-Wasm module that logs an error of up to 63 bytes and refuses its
// configuration.
func talker(says string) []byte {
	return harness.Module{
		1: harness.Vector([]byte{0x60, 0, 0}, []byte{0x60, 1, 0x7f, 1, 0x7f}, []byte{0x60, 2, 0x7f, 0x7f, 1, 0x7f}, []byte{0x60, 3, 0x7f, 0x7f, 0x7f, 1, 0x7f}),
		2: harness.Vector([]byte("\x03env\x09proxy_log\x00\x03")),
		3: harness.Vector([]byte{0}, []byte{1}, []byte{2}),
		5: {1, 0, 1},
		7: harness.Vector(harness.Export("proxy_abi_version_0_2_1", 0, 1), harness.Export("malloc", 0, 2),
			harness.Export("proxy_on_configure", 0, 3), harness.Export("memory", 2, 0)),
		10: harness.Vector(harness.Body(), harness.Body(0x41, 0x80, 0x08), harness.Body(0x41, 4, 0x41, 0, 0x41, byte(len(says)), 0x10, 0, 0x1a, 0x41, 0)),
		11: harness.Vector(append([]byte{0, 0x41, 0, 0x0b, byte(len(says))}, says...)),
	}.Bytes()
}

// TestCheck: the plugins of a folder are tried as run would, and each thing
// that is wrong is told once, with its file, object, filter and reason.
func TestCheck(t *testing.T) {
	registry := httptest.NewServer(http.NotFoundHandler())
	defer registry.Close()
	host := strings.TrimPrefix(registry.URL, "http://")
	down := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))

	layout, dir := t.TempDir(), t.TempDir()
	write := func(name string, content []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	harness.Pack(t, layout, "good", write("good.wasm", plugin(0x41, 1)))
	harness.Pack(t, layout, "picky", write("good.wasm", plugin(0x41, 1)),
		"--schema", write("schema.json", []byte(`{"type": "object", "properties": {"size": {"type": "integer"}}}`)))
	harness.Pack(t, layout, "refuses", write("refuses.wasm", plugin(0x41, 0)))
	harness.Pack(t, layout, "talks", write("talks.wasm", talker("config.size:\x1b want \"1\"")))
	harness.Pack(t, layout, "traps", write("traps.wasm", plugin(0x00)))
	harness.Pack(t, layout, "text", write("text.wasm", []byte("#!/bin/sh\n")))

	gateway := strings.ReplaceAll(harness.Gateway, "${REGISTRY}", host[strings.LastIndex(host, ":")+1:])
	gateway = strings.Replace(gateway, "  capabilities:", fmt.Sprintf("    - {prefix: %q, unsigned: true, allowTags: true}\n  capabilities:", down+"/plugins"), 1)
	tests := map[string]struct {
		annotation string
		args       []string
		code       int
		want       []string // each within one line
	}{
		"a good plugin": {"- {image: test.example/plugins/good:1, config: {size: 1}}", nil, 0, []string{"no errors"}},
		"a config against its schema": {"- {image: test.example/plugins/picky:1, config: {size: marker}}", nil, 1,
			[]string{"shop.yaml: error: Service/default/shop: metadata.annotations: InvalidConfig: filter service/picky: config does not fit the image's JSON Schema: /size: got string, want integer"}},
		"a config that the plugin refuses": {"- {image: test.example/plugins/refuses:1, name: mine}", nil, 1,
			[]string{"shop.yaml: error: Service/default/shop: metadata.annotations: InvalidConfig: filter service/mine: proxy_on_configure returned false: the plugin refused its configuration"}},
		"a config that the plugin refuses, and says why": {"- image: test.example/plugins/talks:1", nil, 1,
			[]string{`InvalidConfig: filter service/talks: proxy_on_configure returned false: the plugin refused its configuration; its log says why: config.size:\x1b want "1"` + "\n"}},
		"a config from a Secret that the plugin refuses": {"- {image: test.example/plugins/talks:1, configFrom: [{secretKeyRef: {name: shop, key: config}}]}", nil, 1,
			[]string{"InvalidConfig: filter service/talks: proxy_on_configure returned false: the plugin refused its configuration; its log says why\n"}},
		"a trap at start": {"- image: test.example/plugins/traps:1", nil, 1,
			[]string{"shop.yaml: error: Service/default/shop: metadata.annotations: InvalidModule: filter service/traps: proxy_on_configure: ", "unreachable", "name another image or version"}},
		"no module": {"- image: test.example/plugins/text:1", nil, 1, []string{"InvalidModule: filter service/text: "}},
		"an image that the registry has not": {"- image: " + host + "/plugins/none:1", []string{"--local-registry", host}, 1,
			[]string{"error: ", "ImageUnavailable: filter service/none: ", "not in the registry; correct the image's name"}},
		"a registry that is down": {"- image: " + down + "/plugins/far:1", []string{"--local-registry", down}, 0,
			[]string{"shop.yaml: warning: Service/default/shop: metadata.annotations: NotChecked: filter service/far: not checked: image " + down + "/plugins/far:1: ", "no errors"}},
		"a canary": {"- {image: test.example/plugins/good:1, canary: {image: \"test.example/plugins/refuses:1\", mode: shadow, weight: 1}}", nil, 1,
			[]string{"InvalidConfig: filter service/good:canary: "}},
		"no plugins":       {"- image: test.example/plugins/refuses:1", []string{"--no-plugins"}, 0, []string{"no errors"}},
		"no time":          {"- image: test.example/plugins/good:1", []string{"--timeout", "1ns"}, 0, []string{"warning: ", "not checked: it took too long", "no errors"}},
		"a bad annotation": {"- {image: test.example/plugins/good:1, cnofig: {}}", nil, 1, []string{"InvalidAnnotation"}},
	}
	state := t.TempDir()
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			out, log, code := harness.Check(t, map[string]string{
				"gateway.yaml": gateway, "shop.yaml": harness.Service("shop", test.annotation, 80),
				"secret.yaml": "{apiVersion: v1, kind: Secret, metadata: {name: shop, labels: {penstock.dev/plugin-secret: 'true'}}, stringData: {config: '{\"size\": 2}'}}\n",
			},
				append([]string{"--images", layout, "--state", state}, test.args...)...)
			if code != test.code {
				t.Errorf("got exit code %d; want %d", code, test.code)
			}
			for _, want := range test.want {
				if !strings.Contains(out, want) {
					t.Errorf("got no %q", want)
				}
			}
			if strings.Contains(out+log, "marker") {
				t.Error("a value of the config is shown")
			}
			if lines := strings.Count(out, "\n"); lines > 2 {
				t.Errorf("%d lines; want one for the problem", lines)
			}
			if t.Failed() {
				t.Logf("stdout:\n%s\nstderr:\n%s", out, log)
			}
		})
	}
}

// TestCheckNeedsAState: a state folder that cannot be used says what to do; a
// folder without plugins needs none.
func TestCheckNeedsAState(t *testing.T) {
	files := map[string]string{"gateway.yaml": harness.GatewayFor(1), "shop.yaml": harness.Service("shop", "- use: key-auth", 80)}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, log, code := harness.Check(t, files, "--state", file, "--images", harness.BundledPlugins(t)); code != 1 || !strings.Contains(log, "--no-plugins") {
		t.Errorf("got %d, %s; want 1 and the way out", code, log)
	}
	delete(files, "shop.yaml")
	if out, log, code := harness.Check(t, files, "--state", file); code != 0 {
		t.Errorf("a folder without plugins: got %d, %s, %s", code, out, log)
	}
}
