package main

import (
	"fmt"
	"math"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"penstock.dev/penstock/k8s/annotation"
)

// bodyShare is the part of the process's memory that filters may hold back of
// bodies: one in so many bytes.
const bodyShare = 4

// recoderShare is the part of it that encoders and decoders of bodies may take.
const recoderShare = 8

// memoryLimit returns what the process may use, in bytes: what the flag says,
// else the smallest of GOMEMLIMIT, its control groups' limits and the machine's
// memory.
func memoryLimit(flag string) (int64, error) {
	if flag != "" {
		n, ok := annotation.Bytes(flag)
		if !ok || n < 1<<20 {
			return 0, fmt.Errorf("--memory-limit %q: want a size of at least 1Mi, such as 512Mi", flag)
		}
		return n, nil
	}
	limit := debug.SetMemoryLimit(-1)
	group, err := os.ReadFile("/proc/self/cgroup")
	if err == nil {
		limit = min(limit, groupLimit("/sys/fs/cgroup", string(group)))
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		limit = min(limit, int64(min(uint64(info.Totalram)*uint64(info.Unit), math.MaxInt64)))
	}
	return limit, nil
}

// groupLimit returns the smallest limit of the control groups (version 2, or 1's
// memory controller) of a process, and of those around them; its argument is
// what /proc/self/cgroup says.
func groupLimit(root, groups string) int64 {
	limit := int64(math.MaxInt64)
	for line := range strings.Lines(groups) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 || parts[1] != "" && parts[1] != "memory" {
			continue
		}
		dir, file := root, "memory.max"
		if parts[1] == "memory" {
			dir, file = path.Join(root, "memory"), "memory.limit_in_bytes"
		}
		for at := path.Clean("/" + parts[2]); ; at = path.Dir(at) {
			if text, err := os.ReadFile(path.Join(dir, at, file)); err == nil {
				if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && n > 0 { // "max": none
					limit = min(limit, n)
				}
			}
			if at == "/" {
				break
			}
		}
	}
	return limit
}
