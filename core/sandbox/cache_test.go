package sandbox

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/telemetry"
)

// cached compiles idle in a child and returns the engine's folder.
func cached(t *testing.T) (dir string) {
	t.Helper()
	e := engine(t, compiler)
	m, err := e.Load(t.Context(), idle)
	if err != nil {
		t.Fatal(err)
	}
	m.Close()
	return e.o.Dir
}

// reopen loads idle from dir; compiled says that the child was needed.
func reopen(t *testing.T, dir string) (compiled bool) {
	t.Helper()
	ran := filepath.Join(t.TempDir(), "ran")
	o := Options{Dir: dir}
	compiler(&o)
	o.CompilerEnv = append(o.CompilerEnv, "PENSTOCK_TEST_RAN="+ran)
	e, err := New(o, zap.NewNop(), telemetry.New())
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	m, err := e.Load(t.Context(), idle)
	if err != nil {
		t.Fatalf("the module cannot be loaded any more: %v", err)
	}
	defer m.Close()
	p, err := m.NewPool(t.Context(), PoolOptions{MemoryBytes: 1 << 20, StartSteps: 1000, Import: func(Import) HostFunc { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close(t.Context())
	if err := call(t, p, Budget{Call: 1000}); err != nil {
		t.Errorf("the loaded code does not run: %v", err)
	}
	_, err = os.Stat(ran)
	return err == nil
}

// TestCompileCacheOnlyLoadsWhatItWrote: a file that was changed, cut, swapped or
// planted is compiled again, never run.
func TestCompileCacheOnlyLoadsWhatItWrote(t *testing.T) {
	code := func(t *testing.T, dir string) string {
		all, err := filepath.Glob(filepath.Join(dir, "wazero-*", "*"))
		if err != nil || len(all) != 1 {
			t.Fatalf("got %v, %v", all, err)
		}
		return all[0]
	}
	entry := func(t *testing.T, dir string) string {
		all, err := filepath.Glob(filepath.Join(dir, "done", "*"))
		if err != nil || len(all) != 1 {
			t.Fatalf("got %v, %v", all, err)
		}
		return all[0]
	}
	edit := func(path string, change func([]byte) []byte) {
		b, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, change(b), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	tests := map[string]struct {
		harm func(t *testing.T, dir string)
		want bool // compiled again
	}{
		"untouched": {func(*testing.T, string) {}, false},
		"a bit of code": {func(t *testing.T, dir string) {
			edit(code(t, dir), func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		}, true},
		"torn code":    {func(t *testing.T, dir string) { edit(code(t, dir), func(b []byte) []byte { return b[:len(b)/2] }) }, true},
		"empty code":   {func(t *testing.T, dir string) { edit(code(t, dir), func([]byte) []byte { return nil }) }, true},
		"no code":      {func(t *testing.T, dir string) { _ = os.Remove(code(t, dir)) }, true},
		"torn listing": {func(t *testing.T, dir string) { edit(entry(t, dir), func(b []byte) []byte { return b[:len(b)/2] }) }, true},
		"a listing elsewhere": {func(t *testing.T, dir string) {
			edit(entry(t, dir), func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("wazero-"), []byte("../../../")) })
		}, true},
		"a listing of another": {func(t *testing.T, dir string) {
			edit(entry(t, dir), func([]byte) []byte { return []byte(`{"files":[],"seal":""}`) })
		}, true},
		"a bit of the module": {func(t *testing.T, dir string) {
			all, _ := filepath.Glob(filepath.Join(dir, "outline", "*"))
			edit(all[0], func(b []byte) []byte { b[len(b)-1] ^= 1; return b })
		}, true},
		"another key": {func(t *testing.T, dir string) { edit(dir+".key", func(b []byte) []byte { b[0] ^= 1; return b }) }, true},
		"a torn key":  {func(t *testing.T, dir string) { edit(dir+".key", func(b []byte) []byte { return b[:3] }) }, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := cached(t)
			test.harm(t, dir)
			if got := reopen(t, dir); got != test.want {
				t.Errorf("compiled again: %v; want %v", got, test.want)
			}
			if reopen(t, dir) {
				t.Error("it is compiled each time")
			}
		})
	}
}

// TestCompileCacheOfAnotherEngine: an entry whose code the engine does not find,
// though it is whole, is compiled again. The engine never runs, or compiles, an
// outline.
func TestCompileCacheOfAnotherEngine(t *testing.T) {
	dir := cached(t)
	o := Options{Dir: dir}
	compiler(&o)
	e, err := New(o, zap.NewNop(), telemetry.New())
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(idle)
	id := e.code.id("sha256:" + hex.EncodeToString(sum[:]))
	outline := e.code.get(id)
	l, err := e.code.list(id)
	if err != nil || outline == nil {
		t.Fatalf("the entry is not there: %v", err)
	}
	from := t.TempDir()
	name := filepath.Join(from, filepath.Dir(l.Files[1].Name), "another")
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, l.Files[1].Name), name); err != nil {
		t.Fatal(err)
	}
	if err := e.code.add(id, outline, from); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if !reopen(t, dir) {
		t.Error("it was not compiled again")
	}
	if reopen(t, dir) {
		t.Error("it was compiled a third time")
	}
}

// TestCompileCacheKeyIsPrivate: a key that others may have read counts no more, nor
// what it sealed.
func TestCompileCacheKeyIsPrivate(t *testing.T) {
	dir := cached(t)
	if err := os.Chmod(dir+".key", 0o644); err != nil {
		t.Fatal(err)
	}
	if !reopen(t, dir) {
		t.Error("it was not compiled again")
	}
}

// TestCompileCacheEvicts: beyond its bound the entry that was used least goes,
// and what runs stays.
func TestCompileCacheEvicts(t *testing.T) {
	e := engine(t, func(o *Options) {
		compiler(o)
		o.CacheBytes = 1
	})
	first, err := e.Load(t.Context(), idle)
	if err != nil {
		t.Fatal(err)
	}
	second, err := e.Load(t.Context(), wasm(0x01))
	if err != nil {
		t.Fatal(err)
	}
	if e.code.get(first.code.id) == nil || e.code.get(second.code.id) == nil {
		t.Error("code that runs was dropped")
	}
	second.Close()
	third, err := e.Load(t.Context(), wasm(0x01, 0x01))
	if err != nil {
		t.Fatal(err)
	}
	defer third.Close()
	if e.code.get(second.code.id) != nil || e.code.get(first.code.id) == nil {
		t.Error("want the entry without a use gone, and the one that runs kept")
	}
	first.Close()
}

// TestCompileCacheSweeps: what killed compiles leave is removed.
func TestCompileCacheSweeps(t *testing.T) {
	dir := cached(t)
	old := time.Now().Add(-time.Hour)
	left := filepath.Join(dir, "new-1")
	if err := os.MkdirAll(left, 0o700); err != nil {
		t.Fatal(err)
	}
	codes, _ := filepath.Glob(filepath.Join(dir, "wazero-*"))
	orphan := filepath.Join(codes[0], "0000")
	if err := os.WriteFile(orphan, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{left, orphan} {
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	if reopen(t, dir) {
		t.Error("compiled again")
	}
	for _, path := range []string{left, orphan} {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s is still there", path)
		}
	}
}

// TestCompilerThatLies: what a compiler process leaves is checked before it is used.
func TestCompilerThatLies(t *testing.T) {
	script := filepath.Join(t.TempDir(), "compiler")
	e := engine(t, func(o *Options) { o.Compiler = []string{script} })
	for name, text := range map[string]string{
		"nothing":  "exit 0",
		"a link":   `ln -s /etc/passwd "$2/x"`,
		"a pipe":   `mkfifo "$2/x"`,
		"an error": "echo broken >&2; exit 3",
	} {
		if err := os.WriteFile(script, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		var failed *CompileError
		if m, err := e.Load(t.Context(), wasm(0x01)); err == nil {
			m.Close()
			t.Errorf("%s: loaded", name)
		} else if !errors.As(err, &failed) {
			t.Errorf("%s: got %v; want a CompileError", name, err)
		}
	}
}

// TestCompilerSeesNoSecrets: a compiler process gets what it needs of this one's
// environment, and no more.
func TestCompilerSeesNoSecrets(t *testing.T) {
	t.Setenv("PENSTOCK_TEST_SECRET", "hunter2")
	t.Setenv("HOME", "/home/x")
	t.Setenv("TMPDIR", t.TempDir())
	folder := t.TempDir()
	script, seen := filepath.Join(folder, "compiler"), filepath.Join(folder, "seen")
	if err := os.WriteFile(script, []byte("#!/bin/sh\nenv >"+seen+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	e := engine(t, func(o *Options) { o.Compiler, o.CompilerEnv = []string{script}, []string{"PENSTOCK_TEST_GIVEN=1"} })
	if m, err := e.Load(t.Context(), idle); err == nil {
		m.Close()
		t.Error("a compiler that does nothing: want an error")
	}
	text, err := os.ReadFile(seen)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		name, _, _ := strings.Cut(line, "=")
		got[name] = true
	}
	for _, own := range []string{"PWD", "OLDPWD", "SHLVL", "_"} { // the shell's
		delete(got, own)
	}
	want := map[string]bool{"PATH": true, "HOME": true, "TMPDIR": true, "GOMAXPROCS": true, "GOTRACEBACK": true, "PENSTOCK_TEST_GIVEN": true}
	if !maps.Equal(got, want) {
		t.Errorf("got %v; want %v", got, want)
	}
}

// BenchmarkStartFromCache is what a plugin's start takes when its code is in the
// compile cache: reading and checking it, and a first instance. `make plugins`
// builds the plugin, which the Go toolchain makes 3 MB of.
func BenchmarkStartFromCache(b *testing.B) {
	code, err := os.ReadFile("../../build/transform.wasm")
	if err != nil {
		b.Fatalf("%v: run make plugins first", err)
	}
	o := Options{Dir: filepath.Join(b.TempDir(), "compiled"), CompileTimeout: 20 * time.Second}
	compiler(&o)
	load := func() {
		e, err := New(o, zap.NewNop(), telemetry.New())
		if err != nil {
			b.Fatal(err)
		}
		m, err := e.Load(b.Context(), code)
		if err != nil {
			b.Fatal(err)
		}
		p, err := m.NewPool(b.Context(), PoolOptions{MemoryBytes: 64 << 20, StartSteps: 1 << 40, Import: func(Import) HostFunc { return nil },
			Init: func(i *Instance) error {
				return i.Call(i.Func("_initialize"), &Budget{Call: 1 << 40}, make([]uint64, 1))
			}})
		if err != nil {
			b.Fatal(err)
		}
		m.Close()
		p.Close(b.Context())
		if err := e.Close(); err != nil {
			b.Fatal(err)
		}
	}
	load()
	for b.Loop() {
		load()
	}
}
