package main

import (
	"math"
	"os"
	"path/filepath"
	"testing"
)

func TestMemoryLimit(t *testing.T) {
	if n, err := memoryLimit("512Mi"); n != 512<<20 || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
	for _, bad := range []string{"much", "1Ki", "-1", "0"} {
		if _, err := memoryLimit(bad); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
	if n, err := memoryLimit(""); n < 1<<20 || n == math.MaxInt64 || err != nil {
		t.Errorf("got %d, %v; want what this machine has", n, err)
	}
}

func TestGroupLimit(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"kube/pod/memory.max": "max\n", "kube/memory.max": "1000000\n", "other/memory.max": "5\n",
		"memory/old/memory.limit_in_bytes": "2000000\n", "memory/memory.limit_in_bytes": "9223372036854771712\n",
	} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for groups, want := range map[string]int64{
		"0::/kube/pod\n":                 1000000,
		"12:cpu:/other\n5:memory:/old\n": 2000000,
		"0::/nobody\n":                   math.MaxInt64,
		"0::/../../kube\n":               1000000,
		"":                               math.MaxInt64,
		"nonsense\n0::/kube/pod\n5:memory:/old\n": 1000000,
	} {
		if got := groupLimit(root, groups); got != want {
			t.Errorf("%q: got %d; want %d", groups, got, want)
		}
	}
}
