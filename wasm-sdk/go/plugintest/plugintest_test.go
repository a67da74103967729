package plugintest

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
)

// TestMain is also the program that stands for penstock: it says what FAKE_OUT and
// FAKE_ERR hold, and ends with the exit code FAKE_CODE.
func TestMain(m *testing.M) {
	if code := os.Getenv("FAKE_CODE"); code != "" && len(os.Args) > 2 && os.Args[1] == "plugin" {
		if got := strings.Join(os.Args[1:], " "); got != "plugin test --json some/dir" {
			fmt.Fprintln(os.Stderr, "called with "+got)
			os.Exit(2)
		}
		fmt.Print(os.Getenv("FAKE_OUT"))
		fmt.Fprint(os.Stderr, os.Getenv("FAKE_ERR"))
		os.Exit(int(code[0] - '0'))
	}
	os.Exit(m.Run())
}

func TestCases(t *testing.T) {
	const good, bad = `{"file": "cases.yaml", "name": "a key", "tookNs": 5}` + "\n", `{"file": "cases.yaml", "name": "no key", "faults": ["response.status: got 200; want 401"], "logs": ["info: x"]}` + "\n"
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	one, two := result{File: "cases.yaml", Name: "a key"}, result{File: "cases.yaml", Name: "no key", Faults: []string{"response.status: got 200; want 401"}, Logs: []string{"info: x"}}
	tests := map[string]struct {
		out, err, code string
		want           []result
		failure        string
	}{
		"all pass":                {good, "", "0", []result{one}, ""},
		"one fails":               {good + bad, "", "1", []result{one, two}, ""},
		"it does not build":       {"", "penstock: go: exit status 1\n", "1", nil, "penstock: go: exit status 1"},
		"it ends in the middle":   {good, "penstock: case \"b\": no time\n", "1", []result{one}, "no time"},
		"it fails without a word": {good, "", "3", []result{one}, "exit status 3"},
		"it says nothing":         {"", "", "0", nil, "it says nothing of any case"},
		"no JSON":                 {"usage\n", "", "0", nil, "usage"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Setenv("FAKE_OUT", test.out)
			t.Setenv("FAKE_ERR", test.err)
			t.Setenv("FAKE_CODE", test.code)
			got, err := cases(t.Context(), self, "some/dir")
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %+v; want %+v", got, test.want)
			}
			if (err == nil) != (test.failure == "") || err != nil && !strings.Contains(err.Error(), test.failure) {
				t.Errorf("got %v; want %q", err, test.failure)
			}
		})
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	t.Setenv("PENSTOCK", "")
	if _, err := find(); err == nil || !strings.Contains(err.Error(), "PENSTOCK") {
		t.Errorf("there is none: got %v", err)
	}
	path := filepath.Join(dir, "penstock")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if got, err := find(); got != path || err != nil {
		t.Errorf("got %s, %v; want that of the PATH", got, err)
	}
	t.Setenv("PENSTOCK", "another")
	if got, err := find(); got != "another" || err != nil {
		t.Errorf("got %s, %v; want PENSTOCK's", got, err)
	}
}

// TestTouch: what a plugin is made of is opened, and nothing that is hidden, built, or a pipe.
func TestTouch(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"main.go", "cases/a.yaml", "sdk/sdk.go"} {
		write(t, filepath.Join(dir, name))
	}
	for _, name := range []string{".git/config", ".hidden", "node_modules/a/a.js", "plugin.wasm", "target/a.o"} {
		write(t, filepath.Join(dir, name))
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if opened, err := touch(dir); opened != 6 || err != nil {
		t.Errorf("got %d opened, %v; want 3 folders and 3 files", opened, err)
	}
	if _, err := touch(filepath.Join(dir, "none")); err == nil {
		t.Error("a folder that is not there is no error")
	}
}

func write(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}
