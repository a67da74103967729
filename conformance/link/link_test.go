package link

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"penstock.dev/penstock/conformance/harness"
)

// elsewhere are bundled plugins that are not built with an SDK of ours, and why.
var elsewhere = map[string]string{
	"waf.wasm": "it is built with proxy-wasm-go-sdk, which speaks 0.2.0, and Coraza brings in package net",
}

// TestBundledPlugins: all that are built with our SDKs link on every host of Proxy-Wasm
// 0.2.1.
func TestBundledPlugins(t *testing.T) {
	modules, err := filepath.Glob(filepath.Join(filepath.Dir(harness.BundledModule(t, "x")), "*.wasm"))
	if err != nil || len(modules) < 4 {
		t.Fatalf("%d modules, %v: run make plugins first", len(modules), err)
	}
	for _, path := range modules {
		t.Run(filepath.Base(path), func(t *testing.T) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			faults, err := Check(b)
			if err != nil {
				t.Fatal(err)
			}
			if why, ok := elsewhere[filepath.Base(path)]; ok {
				if faults == nil {
					t.Errorf("it links: it is no longer to be listed (%s)", why)
				}
				return
			}
			for _, f := range faults {
				t.Error(f)
			}
			m, _ := read(b)
			if len(m.imports) == 0 || len(m.exports) < 5 {
				t.Errorf("%d imports, %d exports: the test shows nothing", len(m.imports), len(m.exports))
			}
		})
	}
}

// built makes modules for the tests.
type built struct {
	types, imports, functions, exports [][]byte
	imported                           int // functions
}

func vector(list [][]byte) []byte {
	return append([]byte{byte(len(list))}, bytes.Join(list, nil)...)
}

func text(s string) []byte { return append([]byte{byte(len(s))}, s...) }

// typed returns the number of a function type of n parameters of one kind.
func (m *built) typed(parameter byte, n int, results int) byte {
	p := append([]byte{0x60, byte(n)}, bytes.Repeat([]byte{parameter}, n)...)
	m.types = append(m.types, append(append(p, byte(results)), bytes.Repeat([]byte{0x7f}, results)...))
	return byte(len(m.types) - 1)
}

func (m *built) importFunction(module, name string, typ byte) {
	m.imports = append(m.imports, append(append(text(module), text(name)...), byte(kindFunction), typ))
	m.imported++
}

// exportFunction exports a new function; all imports come before.
func (m *built) exportFunction(name string, typ byte) {
	m.functions = append(m.functions, []byte{typ})
	m.export(name, kindFunction, byte(m.imported+len(m.functions)-1))
}

func (m *built) export(name string, k kind, i byte) {
	m.exports = append(m.exports, append(text(name), byte(k), i))
}

func (m *built) bytes() []byte {
	b := []byte("\x00asm\x01\x00\x00\x00")
	for _, s := range []struct {
		id   byte
		list [][]byte
	}{{1, m.types}, {2, m.imports}, {3, m.functions}, {7, m.exports}} {
		if len(s.list) > 0 {
			v := vector(s.list)
			length := []byte{byte(len(v)&0x7f | 0x80), byte(len(v) >> 7)}
			b = append(append(append(b, s.id), length...), v...)
		}
	}
	return b
}

// plain adds what every module has to export.
func (m *built) plain() {
	m.exportFunction(Marker, m.typed(0x7f, 0, 0))
	m.exportFunction("proxy_on_memory_allocate", m.typed(0x7f, 1, 1))
	m.export("memory", kindMemory, 0)
}

func TestCheck(t *testing.T) {
	tests := map[string]struct {
		make func(m *built)
		want []string // parts of the faults, in their order
	}{
		"what it must have": {(*built).plain, nil},
		"functions as they are": {func(m *built) {
			m.importFunction("env", "proxy_log", m.typed(0x7f, 3, 1))
			m.importFunction("wasi_snapshot_preview1", "fd_write", m.typed(0x7f, 4, 1))
			m.plain()
			m.exportFunction("proxy_on_request_headers", m.typed(0x7f, 3, 1))
			m.exportFunction("other", m.typed(0x7e, 2, 0))
		}, nil},
		"nothing": {func(*built) {}, []string{"export memory", "export " + Marker, "export proxy_on_memory_allocate"}},
		"another version": {func(m *built) {
			m.plain()
			m.exportFunction("proxy_abi_version_0_2_100", m.typed(0x7f, 0, 0))
		}, []string{"export proxy_abi_version_0_2_100"}},
		"a function of another dialect": {func(m *built) {
			m.importFunction("env", "proxy_redis_init", m.typed(0x7f, 5, 1))
			m.plain()
		}, []string{"import env.proxy_redis_init: Proxy-Wasm 0.2.1 has no"}},
		"a function of 0.1.0": {func(m *built) {
			m.importFunction("env", "proxy_continue_request", m.typed(0x7f, 0, 1))
			m.plain()
		}, []string{"import env.proxy_continue_request"}},
		"a function of another type": {func(m *built) {
			m.importFunction("env", "proxy_log", m.typed(0x7f, 2, 1))
			m.importFunction("env", "proxy_increment_metric", m.typed(0x7f, 2, 1))
			m.plain()
		}, []string{"import env.proxy_increment_metric: of type (i32, i32) i32; want (i32, i64) i32", "import env.proxy_log: of type (i32, i32) i32; want (i32, i32, i32) i32"}},
		"a module of another name": {func(m *built) {
			m.importFunction("wasi_unstable", "fd_write", m.typed(0x7f, 4, 1))
			m.plain()
		}, []string{"import wasi_unstable.fd_write"}},
		"an imported memory": {func(m *built) {
			m.imports = append(m.imports, append(append(text("env"), text("memory")...), byte(kindMemory), 0, 1))
			m.plain()
		}, []string{"import env.memory: a memory"}},
		"a callback of 0.1.0": {func(m *built) {
			m.plain()
			m.exportFunction("proxy_on_request_headers", m.typed(0x7f, 2, 1))
		}, []string{"export proxy_on_request_headers: of type (i32, i32) i32; want (i32, i32, i32) i32"}},
		"a callback that no host calls": {func(m *built) {
			m.plain()
			m.exportFunction("proxy_on_request_header", m.typed(0x7f, 3, 1))
		}, []string{"export proxy_on_request_header: Proxy-Wasm 0.2.1 has no"}},
		"two beginnings": {func(m *built) {
			m.plain()
			m.exportFunction("_initialize", m.typed(0x7f, 0, 0))
			m.exportFunction("_start", m.typed(0x7f, 0, 0))
		}, []string{"exports _initialize and _start"}},
		"a global of a callback's name": {func(m *built) {
			m.plain()
			m.export("proxy_on_log", kindGlobal, 0)
		}, []string{"export proxy_on_log: a global"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := &built{}
			tt.make(m)
			faults, err := Check(m.bytes())
			if err != nil {
				t.Fatal(err)
			}
			if !slices.EqualFunc(faults, tt.want, strings.Contains) {
				t.Errorf("got %q; want %q", faults, tt.want)
			}
		})
	}
}

func TestNoModule(t *testing.T) {
	whole := &built{}
	whole.plain()
	b := whole.bytes()
	for name, b := range map[string][]byte{
		"nothing": nil, "text": []byte("(module)\n\n"), "another version": []byte("\x00asm\x02\x00\x00\x00"), "a component": []byte("\x00asm\x0d\x00\x01\x00"),
		"cut short": b[:len(b)-1], "a number without an end": append(slices.Clone(b), 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
	} {
		if faults, err := Check(b); err == nil {
			t.Errorf("%s: got %q; want an error", name, faults)
		}
	}
}

func FuzzCheck(f *testing.F) {
	m := &built{}
	m.importFunction("env", "proxy_log", m.typed(0x7f, 3, 1))
	m.plain()
	f.Add(m.bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		if faults, err := Check(b); err != nil && faults != nil {
			t.Errorf("both %q and %v", faults, err)
		}
	})
}
