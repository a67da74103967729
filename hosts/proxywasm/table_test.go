package proxywasm

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// acceptanceTable is the tables of conformance/proxywasm/README.md, by heading:
// the cells of each row.
func acceptanceTable(t *testing.T) map[string][][]string {
	t.Helper()
	text, err := os.ReadFile("../../conformance/proxywasm/README.md")
	if err != nil {
		t.Fatal(err)
	}
	tables := map[string][][]string{}
	heading := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "## "); ok {
			heading = name
		}
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| ---") {
			continue
		}
		var cells []string
		for _, cell := range strings.Split(strings.Trim(line, "|"), " | ") {
			cells = append(cells, strings.Trim(strings.TrimSpace(cell), "`"))
		}
		tables[heading] = append(tables[heading], cells)
	}
	for heading, rows := range tables { // without the head
		tables[heading] = rows[1:]
	}
	return tables
}

// testNames are the tests and fuzz targets of the ABI host and of conformance.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	for _, dir := range []string{".", "../../conformance"} {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			for _, m := range declared.FindAllSubmatch(text, -1) {
				names[string(m[1])] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return names
}

// wantRows compares the first cells of a table with what there has to be, and
// has every test of its last cells exist.
func wantRows(t *testing.T, rows [][]string, want []string) {
	t.Helper()
	var got []string
	tests := testNames(t)
	for _, row := range rows {
		got = append(got, row[0])
		for _, name := range strings.Split(row[len(row)-1], ", ") {
			if !tests[name] {
				t.Errorf("%s: there is no test %q", row[0], name)
			}
		}
	}
	for _, name := range want {
		if n := len(slices.DeleteFunc(slices.Clone(got), func(s string) bool { return s != name })); n != 1 {
			t.Errorf("%d rows for %s; want 1", n, name)
		}
	}
	for _, name := range got {
		if !slices.Contains(want, name) {
			t.Errorf("a row for %s, which there is not", name)
		}
	}
}

// TestAcceptanceTable: what the host has stands in the tables, once each, with a
// cell for each version and tests that exist; and the tests that run everything
// in every version leave nothing out.
func TestAcceptanceTable(t *testing.T) {
	tables := acceptanceTable(t)
	functions := []string{"emscripten_notify_memory_growth", "pthread_equal"}
	for _, part := range []map[string]hostFunc{mapImports(), bufferImports(), controlImports(), stateImports(), callImports()} {
		functions = slices.AppendSeq(functions, maps.Keys(part))
	}
	for _, name := range functions[2:] {
		short := strings.TrimPrefix(name, "proxy_")
		if !slices.ContainsFunc(everyFunction, func(f struct{ call, want string }) bool {
			call := f.call
			if _, rest, named := strings.Cut(call, " = "); named {
				call = rest
			}
			return call == short || strings.HasPrefix(call, short+" ")
		}) {
			t.Errorf("TestEveryHostFunction leaves %s out", name)
		}
	}
	wantRows(t, tables["Host functions (module `env`)"], functions)

	exports := append([]string{"_initialize", "_start", "main", "__main_void", "proxy_on_memory_allocate", "malloc", "proxy_on_vm_start", "proxy_on_configure", "proxy_on_grpc_trailing_metadata", openingExport}, markers[:]...)
	for _, name := range callbackNames(t) {
		if exports = append(exports, name); everyCallback[name] == "" {
			t.Errorf("TestEveryCallback leaves %s out", name)
		}
	}
	wantRows(t, tables["Exports and callbacks"], exports)
	for _, row := range slices.Concat(tables["Host functions (module `env`)"], tables["Exports and callbacks"]) {
		if len(row) != len(versions)+2 || slices.ContainsFunc(row[1:len(row)-1], func(s string) bool { return s != "yes" && s != "linked" && s != "-" }) {
			t.Errorf("%s: want yes, linked or - for each of %d versions", row[0], len(versions))
		}
	}
	wantRows(t, tables["Foreign functions"], slices.Collect(maps.Keys(foreignFuncs())))

	var points []string
	for i := range 24 {
		points = append(points, strconv.Itoa(i+1))
	}
	wantRows(t, tables["Edge semantics that hosts get wrong"], points)
}

// callbackNames are the exports that functions.find looks for.
func callbackNames(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("vm.go")
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(text), "func (fn *functions) find(")
	body, _, found := strings.Cut(body, "*f = i.Func(name)")
	if !found {
		t.Fatal("vm.go does not look for callbacks where it did")
	}
	var names []string
	for _, m := range regexp.MustCompile(`"(proxy_on_\w+)":`).FindAllStringSubmatch(body, -1) {
		names = append(names, m[1])
	}
	return names
}
