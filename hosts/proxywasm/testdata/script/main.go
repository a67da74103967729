//go:build wasip1

// Command script is a guest that does what its configuration says: for each
// callback a list of host functions to call and a value to return. It logs
// every callback with its arguments, and every call with its results, so that
// a test sees both sides.
//
//	request_headers: add_header_map_value 0 "x-a" "1"; return 1
//
// Arguments are numbers, "text" (address and length), {a=b;c=d} (a map, as
// "text"), & (where a number goes), && (where an address and a length go) and
// &8 (where a 64-bit number goes). $NAME is what "name = call ..." got.
package main

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unsafe"
)

func main() {}

func init() { note("init") }

var (
	scripts = map[uint32]map[string][]string{} // by root context
	parents = map[uint32]uint32{}              // of stream contexts
	names   = map[string]uint64{}
	keep    [][]byte // what the host looks at while a call runs
)

// load reads the script of a root context.
func load(root uint32, text string) {
	script := map[string][]string{}
	scripts[root] = script
	for _, line := range strings.Split(text, "\n") {
		name, steps, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok {
			continue
		}
		for _, step := range split(steps, ';') {
			if step = strings.TrimSpace(step); step != "" {
				script[name] = append(script[name], step)
			}
		}
	}
}

// split cuts at sep outside of quotes and braces.
func split(s string, sep byte) []string {
	var parts []string
	quoted, deep, from := false, 0, 0
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"':
			quoted = !quoted
		case c == '{' && !quoted:
			deep++
		case c == '}' && !quoted:
			deep--
		case c == sep && !quoted && deep == 0:
			parts = append(parts, s[from:i])
			from = i + 1
		}
	}
	return append(parts, s[from:])
}

func note(text string) {
	b := []byte(text)
	log(2, address(b), uint32(len(b)))
}

func address(b []byte) uint32 {
	if len(b) == 0 {
		return 0
	}
	return uint32(uintptr(unsafe.Pointer(unsafe.SliceData(b))))
}

// run notes a callback and does what the script says; it returns what the
// script returns, or otherwise.
func run(name string, otherwise uint32, args ...uint32) uint32 {
	note(strings.TrimSpace(name + " " + strings.Trim(fmt.Sprint(args), "[]")))
	root := uint32(0)
	if len(args) > 0 {
		if root = args[0]; parents[root] != 0 {
			root = parents[root]
		}
	}
	for _, step := range scripts[root][name] {
		if value, ok := strings.CutPrefix(step, "return "); ok {
			n, _ := strconv.ParseUint(value, 0, 32)
			return uint32(n)
		}
		if step == "trap" {
			panic("as the script says")
		}
		if step == "spin" {
			for {
				keep = keep[:0]
			}
		}
		do(step)
	}
	return otherwise
}

type result struct {
	at   []byte
	size int
}

// do makes one call.
func do(step string) {
	target := ""
	if name, call, ok := strings.Cut(step, " = "); ok {
		target, step = strings.TrimSpace(name), call
	}
	words := slices.DeleteFunc(split(step, ' '), func(w string) bool { return w == "" })
	var args []uint64
	var results []result
	keep = keep[:0]
	hold := func(b []byte) []byte { keep = append(keep, b); return b }
	text := func(b []byte) { args = append(args, uint64(address(hold(b))), uint64(len(b))) }
	for _, w := range words[1:] {
		switch {
		case w == "&":
			b := hold(make([]byte, 4))
			args, results = append(args, uint64(address(b))), append(results, result{b, 4})
		case w == "&8":
			b := hold(make([]byte, 8))
			args, results = append(args, uint64(address(b))), append(results, result{b, 8})
		case w == "&&":
			b := hold(make([]byte, 8))
			args, results = append(args, uint64(address(b)), uint64(address(b))+4), append(results, result{b, 0})
		case w[0] == '"':
			s, err := strconv.Unquote(w)
			if err != nil {
				panic(w)
			}
			text([]byte(s))
		case w[0] == '{':
			text(pairs(strings.Trim(w, "{}")))
		case w[0] == '$':
			args = append(args, names[w[1:]])
		default:
			n, err := strconv.ParseInt(w, 0, 64)
			if err != nil {
				panic(w)
			}
			args = append(args, uint64(n))
		}
	}
	f := functions[words[0]]
	if f == nil {
		panic(words[0])
	}
	args = append(args, make([]uint64, 12)...)
	line := fmt.Sprintf("  %s %d", words[0], f(args))
	for _, r := range results {
		switch r.size {
		case 4:
			names[target] = uint64(binary.LittleEndian.Uint32(r.at))
			line += fmt.Sprintf(" %d", names[target])
		case 8:
			line += fmt.Sprintf(" %d", binary.LittleEndian.Uint64(r.at))
		default:
			at, size := binary.LittleEndian.Uint32(r.at), binary.LittleEndian.Uint32(r.at[4:])
			line += fmt.Sprintf(" %q", unsafe.String((*byte)(unsafe.Pointer(uintptr(at))), size))
		}
	}
	note(line)
}

// pairs serialises "a=b;c=d".
func pairs(s string) []byte {
	var list [][2]string
	for _, p := range strings.Split(s, ";") {
		if name, value, ok := strings.Cut(p, "="); ok {
			list = append(list, [2]string{name, value})
		}
	}
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(list)))
	for _, p := range list {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(p[0])))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(p[1])))
	}
	for _, p := range list {
		b = append(append(append(append(b, p[0]...), 0), p[1]...), 0)
	}
	return b
}

var memory [][]byte

//go:wasmexport proxy_on_memory_allocate
func allocate(size uint32) uint32 {
	b := make([]byte, size)
	if memory = append(memory, b); len(memory) > 64 {
		memory = memory[1:]
	}
	return address(b)
}

//go:wasmexport proxy_abi_version_0_2_1
func version() {}

//go:wasmexport proxy_on_vm_start
func onVMStart(root, size uint32) uint32 { return run("vm_start", 1, root, size) }

//go:wasmexport proxy_on_configure
func onConfigure(root, size uint32) uint32 {
	var out [2]uint32
	if getBufferBytes(7, 0, size, uint32(uintptr(unsafe.Pointer(&out[0]))), uint32(uintptr(unsafe.Pointer(&out[1])))) == 0 && out[1] > 0 {
		load(root, strings.Clone(unsafe.String((*byte)(unsafe.Pointer(uintptr(out[0]))), out[1])))
	}
	return run("configure", 1, root)
}
