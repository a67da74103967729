// Package link checks whether a module links with every host of Proxy-Wasm 0.2.1: it
// imports nothing that the ABI does not have, each function with the type that it has
// there, and exports what hosts call with the types with which they call it. It is
// strict: what hosts of one maker also accept is a fault here.
package link

import (
	"fmt"
	"slices"
	"strings"
)

// Marker is the export that names the ABI's version.
const Marker = "proxy_abi_version_0_2_1"

// Check returns what is wrong with a module; nil: it links with every host of Proxy-Wasm
// 0.2.1. An error means that it is no module at all.
func Check(b []byte) (faults []string, err error) {
	m, err := read(b)
	if err != nil {
		return nil, err
	}
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	for _, e := range m.imports {
		known := hostFunctions
		if e.module == wasiModule {
			known = wasiFunctions
		}
		switch want, ok := known[e.name]; {
		case e.module != "env" && e.module != wasiModule:
			fault("import %s.%s: hosts have the modules env and %s alone", e.module, e.name, wasiModule)
		case e.kind != kindFunction:
			fault("import %s.%s: a %s: hosts give functions alone", e.module, e.name, kindNames[e.kind])
		case !ok:
			fault("import %s.%s: Proxy-Wasm 0.2.1 has no such function", e.module, e.name)
		case e.function != want:
			fault("import %s.%s: of type %s; want %s", e.module, e.name, e.function, want)
		}
	}
	exports := map[string]entry{}
	for _, e := range m.exports {
		exports[e.name] = e
		switch want, ok := guestFunctions[e.name]; {
		case ok && e.kind != kindFunction:
			fault("export %s: a %s; want a function", e.name, kindNames[e.kind])
		case ok && e.function != want:
			fault("export %s: of type %s; want %s", e.name, e.function, want)
		case !ok && strings.HasPrefix(e.name, "proxy_"):
			fault("export %s: Proxy-Wasm 0.2.1 has no such callback", e.name)
		}
	}
	if _, ok := exports[Marker]; !ok {
		fault("export %s: it is missing: hosts do not know which version this is", Marker)
	}
	if e, ok := exports["memory"]; !ok || e.kind != kindMemory {
		fault("export memory: it is missing: hosts cannot read what is handed to them")
	}
	allocators := []string{"proxy_on_memory_allocate", "malloc"}
	if !slices.ContainsFunc(allocators, func(name string) bool { _, ok := exports[name]; return ok }) {
		fault("export %s: it is missing: hosts cannot hand anything over", allocators[0])
	}
	_, initialize := exports["_initialize"]
	_, start := exports["_start"]
	if initialize && start {
		fault("exports _initialize and _start: one of them is to be called, and hosts differ in which")
	}
	slices.Sort(faults)
	return faults, nil
}
