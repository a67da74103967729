package sdks

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"penstock.dev/penstock/conformance/harness"
	"penstock.dev/penstock/conformance/link"
)

// ofC is the folder of the SDK.
func ofC() string { return filepath.Join(here(), "..", "..", "wasm-sdk", "c") }

// TestCReadme: the examples of the README are, together, a plugin that builds and links.
func TestCReadme(t *testing.T) {
	dir, out := t.TempDir(), filepath.Join(t.TempDir(), "readme.wasm")
	if err := os.WriteFile(filepath.Join(dir, "plugin.c"), []byte(strings.Join(cSDK.Readme(t), "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	buildC(t, ofC(), dir, "*.c", out, "-std=c11", "-Wpedantic", "-Werror", "-Wno-unused-function")
	links(t, out)
}

func links(t *testing.T, module string) {
	t.Helper()
	b, err := os.ReadFile(module)
	if err != nil {
		t.Fatal(err)
	}
	if faults, err := link.Check(b); err != nil || faults != nil {
		t.Errorf("got %q, %v; want that it links", faults, err)
	}
}

// TestCBuildsAreTheSame: the same sources make the same bytes, wherever they lie.
func TestCBuildsAreTheSame(t *testing.T) {
	var first []byte
	for range 2 {
		dir := t.TempDir()
		for from, to := range map[string]string{ofC(): "penstock", filepath.Join(here(), "guests", "c", "state"): "plugin"} {
			if err := os.CopyFS(filepath.Join(dir, to), os.DirFS(from)); err != nil {
				t.Fatal(err)
			}
		}
		out := filepath.Join(dir, "plugin.wasm")
		buildC(t, filepath.Join(dir, "penstock"), filepath.Join(dir, "plugin"), "*.c", out)
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		if first != nil && !bytes.Equal(b, first) {
			t.Errorf("%d bytes and %d others", len(first), len(b))
		}
		first = b
	}
}

// nativeC builds a test of the SDK for this machine, with sanitizers, and returns its path.
func nativeC(t *testing.T, name, sanitizers string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), name)
	args := []string{"-std=gnu11", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-fno-sanitize-recover=all", "-fsanitize=" + sanitizers, "-o", out}
	for _, pattern := range []string{"*.c", "test/host.c", "test/" + name + "*.c"} {
		sources, err := filepath.Glob(filepath.Join(ofC(), pattern))
		if err != nil || sources == nil {
			t.Fatalf("%s: got %q, %v", pattern, sources, err)
		}
		args = append(args, sources...)
	}
	run(t, ofC(), nil, "clang-22", args...)
	return out
}

// TestCUnits: what the SDK does by itself, with address and undefined-behaviour sanitizers.
func TestCUnits(t *testing.T) {
	run(t, ofC(), nil, nativeC(t, "unit", "address,undefined"))
}

// TestCFuzz: what the SDK reads, for some seconds, with sanitizers.
func TestCFuzz(t *testing.T) {
	run(t, t.TempDir(), nil, nativeC(t, "fuzz", "address,undefined,fuzzer"), "-runs=100000", "-max_len=512", "-dict="+filepath.Join(ofC(), "test", "json.dict"), "-seed=1", t.TempDir(), filepath.Join(ofC(), "test", "corpus"))
}

// TestCMemory: many requests leave an instance as small as it was.
func TestCMemory(t *testing.T) {
	layout := t.TempDir()
	harness.Pack(t, layout, "bodies", cSDK.Guest(t, "bodies"))
	p := harness.Start(t, harness.Options{Images: []string{layout}, Args: []string{"--access-log", "off"}, Files: map[string]string{
		"gateway.yaml": harness.GatewayFor(1), "bodies.yaml": harness.Service("bodies", `- image: "test.example/plugins/bodies:1"`, harness.Upstream(t, harness.Echo)),
	}})
	p.Eventually("it runs", func() bool { return p.Chain("Service/default/bodies").State == "Running" })
	for i := range 2000 {
		r, err := http.NewRequest("POST", p.URL+"/bodies", strings.NewReader(strings.Repeat("x", 50+i%5*20_000)))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Do", []string{"upper", "all", "append", "range", "trailers", "whole"}[i%6])
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Fatalf("got %d", response.StatusCode)
		}
	}
	metrics := p.Metrics()
	gauge := func(name string) float64 {
		m := regexp.MustCompile(name + `\{[^}]*owner="Service/default/bodies"\} (\S+)`).FindStringSubmatch(metrics)
		if m == nil {
			t.Fatalf("%s is not in the metrics", name)
		}
		n, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	bytes, instances := gauge("penstock_plugin_memory_bytes"), gauge("penstock_plugin_instances")
	if instances < 1 || bytes/instances > 1<<20 { // bodies have 80 kB
		t.Errorf("%v bytes in %v instances; want at most 1 MiB each", bytes, instances)
	}
	t.Logf("%v bytes, %v instances", bytes, instances)
}

// strictJSON says whether a text is JSON as the SDK reads it: as encoding/json does, and in
// UTF-8, with no half of a surrogate pair, at most 64 deep, and without names that come
// twice in an object.
func strictJSON(text []byte) bool {
	if !json.Valid(text) || !utf8.Valid(text) {
		return false
	}
	for i := 0; i < len(text); i++ { // backslashes are in texts only
		if text[i] != '\\' {
			continue
		}
		i++
		if text[i] != 'u' {
			continue
		}
		unit := func(at int) rune {
			n, _ := strconv.ParseUint(string(text[at:at+4]), 16, 16)
			return rune(n)
		}
		high := unit(i + 1)
		i += 4
		if !utf16.IsSurrogate(high) {
			continue
		}
		if !bytes.HasPrefix(text[i+1:], []byte(`\u`)) || utf16.DecodeRune(high, unit(i+3)) == utf8.RuneError {
			return false
		}
		i += 6
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return distinct(d, 0)
}

// distinct reads one value, whose lists and objects lie in so many others.
func distinct(d *json.Decoder, depth int) bool {
	token, _ := d.Token()
	open, ok := token.(json.Delim)
	if !ok {
		return true
	}
	if depth == 64 {
		return false
	}
	names := map[any]bool{}
	for d.More() {
		if open == '{' {
			name, _ := d.Token()
			if names[name] {
				return false
			}
			names[name] = true
		}
		if !distinct(d, depth+1) {
			return false
		}
	}
	_, _ = d.Token()
	return true
}

// TestCReadsJSON: the SDK accepts what encoding/json does, but for what it is stricter about.
func TestCReadsJSON(t *testing.T) {
	seeds := []string{
		`{"a":[1,-0.5e+10,"x\u00e9\ud83d\ude00\n",true,false,null],"b":{"a":1,"\u0061b":2}}`, `"\\\"\/\b\f\n\r\t é😀"`, ` [ 1 , [ ] , { } ] `, `{"a":1,"b":2,"a\u0000":3}`, `0`, `-1e-7`,
		strings.Repeat("[", 64) + strings.Repeat("]", 64), strings.Repeat(`{"a":`, 63) + "1" + strings.Repeat("}", 63),
	}
	pieces := []string{`"`, `\`, `\u`, `\ud800`, `\udc00`, `{`, `}`, `[`, `]`, `,`, `:`, `0`, `1`, `e`, `-`, `.`, `a`, `"a":1,`, " ", "\x00", "\x1f", "\xff", "\xc3", "\xa9", "\xed\xa0\x80", "true", "null"}
	random := rand.New(rand.NewPCG(1, 2))
	var input bytes.Buffer
	var want []byte
	accepted := 0
	for range 50_000 {
		text := []byte(seeds[random.IntN(len(seeds))])
		for range random.IntN(4) {
			at := random.IntN(len(text) + 1)
			end := min(at+random.IntN(4), len(text))
			text = slices.Concat(text[:at], []byte(pieces[random.IntN(len(pieces))]), text[end:])
		}
		input.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(text))))
		input.Write(text)
		b := byte('0')
		if strictJSON(text) {
			b, accepted = '1', accepted+1
		}
		want = append(want, b)
	}
	if accepted < 5_000 || accepted > 45_000 {
		t.Errorf("%d of %d are JSON: the test shows little", accepted, len(want))
	}
	all := slices.Clone(input.Bytes())
	c := exec.Command(nativeC(t, "accept", "address,undefined"))
	c.Stdin, c.Stderr = &input, os.Stderr
	got, err := c.Output()
	if err != nil || len(got) != len(want) {
		t.Fatalf("%d answers, %v; want %d", len(got), err, len(want))
	}
	for i := range want {
		n := binary.LittleEndian.Uint32(all)
		if got[i] != want[i] {
			t.Errorf("%q: got %c; want %c", all[4:4+n], got[i], want[i])
		}
		all = all[4+n:]
	}
}

// TestCPlusPlus: a plugin in C++, two configurations of which share instances.
func TestCPlusPlus(t *testing.T) {
	dir := t.TempDir()
	module, layout, manifest := filepath.Join(dir, "plugin.wasm"), filepath.Join(dir, "layout"), filepath.Join(dir, "manifest.json")
	buildC(t, ofC(), filepath.Join(ofC(), "test"), "*.cc", module, "-Werror", "-fno-exceptions", "-fno-rtti")
	links(t, module)
	if err := os.WriteFile(manifest, []byte(`{"abi": "proxy-wasm", "multiConfig": true}`), 0o600); err != nil {
		t.Fatal(err)
	}
	harness.Pack(t, layout, "cc", module, "--manifest", manifest)
	entry := func(config string) string {
		return "- {image: \"test.example/plugins/cc:1\", config: " + config + "}"
	}
	port := harness.Upstream(t, harness.Echo)
	p := harness.Start(t, harness.Options{Images: []string{layout}, Files: map[string]string{
		"gateway.yaml": harness.GatewayFor(1),
		"one.yaml":     harness.Service("one", entry(`{hello: one}`), port), "two.yaml": harness.Service("two", entry(`{hello: two, more: [" and", " more"]}`), port),
	}})
	for name, want := range map[string]string{"one": "one 42", "two": "two and more 42"} {
		p.Eventually(name+" runs", func() bool { return p.Chain("Service/default/"+name).State == "Running" })
		for range 3 {
			r, err := http.Get(p.URL + "/" + name)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, r.Body)
			r.Body.Close()
			if got := r.Header.Get("X-Got-X-Hello"); got != want {
				t.Errorf("%s: got %q; want %q", name, got, want)
			}
		}
	}
	if !regexp.MustCompile(`penstock_plugin_instances\{filter="shared/[0-9a-f]{12}",owner="Namespace/default"\} [1-9]`).MatchString(p.Metrics()) {
		t.Error("no instances are shared")
	}
}
