package annotation

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/api"
)

// The ranges of limits (annotations.md, section 1).
const (
	minCPU, maxCPU       = 100 * time.Microsecond, time.Second
	minStart, maxStart   = 10 * time.Millisecond, 30 * time.Second
	minMemory, maxMemory = 1 << 20, 1 << 30
	maxBody              = 64 << 20
)

func limits(f fields) *api.Limits {
	v, ok := f.m["limits"]
	if !ok {
		return nil
	}
	m, ok := mapping(v, join(f.path, "limits"), f.p)
	if !ok {
		return nil
	}
	text := func(key string) string {
		switch v := m.m[key].(type) {
		case nil:
			return ""
		case json.Number:
			return v.String()
		case string:
			return v
		}
		m.p.add(join(m.path, key), "want text")
		return ""
	}
	l := &api.Limits{CPUTime: text("cpuTime"), CPUTimeExchange: text("cpuTimeExchange"), CPUTimeStart: text("cpuTimeStart"), Memory: text("memory"), Body: text("body")}
	m.unknown([]string{"cpuTime", "cpuTimeExchange", "cpuTimeStart", "memory", "body"})
	if _, err := Limits(l, config.DefaultLimits()); err != nil {
		for _, e := range err.(limitErrors) { //nolint:errorlint // Limits returns nothing else
			m.p.add(join(m.path, e.key), "%s", e.text)
		}
	}
	return l
}

type limitError struct{ key, text string }

type limitErrors []limitError

// Error lists the problems.
func (l limitErrors) Error() string {
	s := ""
	for i, e := range l {
		if i > 0 {
			s += "; "
		}
		s += e.key + ": " + e.text
	}
	return s
}

// Limits returns base with what l sets. The error names every key that is
// malformed or out of range.
func Limits(l *api.Limits, base config.Limits) (config.Limits, error) {
	if l == nil {
		return base, nil
	}
	var errs limitErrors
	duration := func(key, s string, to *time.Duration, low, high time.Duration) {
		if s == "" {
			return
		}
		d, err := time.ParseDuration(s)
		if err != nil || d < low || d > high {
			errs = append(errs, limitError{key, fmt.Sprintf("%.40q: want a duration from %v to %v", s, low, high)})
			return
		}
		*to = d
	}
	size := func(key, s string, to *int64, low, high int64) {
		if s == "" {
			return
		}
		n, ok := Bytes(s)
		if !ok || n < low || n > high {
			errs = append(errs, limitError{key, fmt.Sprintf("%.40q: want a size from %d to %dMi", s, low, high>>20)})
			return
		}
		*to = n
	}
	duration("cpuTime", l.CPUTime, &base.CPUTime, minCPU, maxCPU)
	duration("cpuTimeExchange", l.CPUTimeExchange, &base.CPUTimeExchange, minCPU, 10*maxCPU)
	duration("cpuTimeStart", l.CPUTimeStart, &base.CPUTimeStart, minStart, maxStart)
	size("memory", l.Memory, &base.MemoryBytes, minMemory, maxMemory)
	size("body", l.Body, &base.BodyBytes, 0, maxBody)
	if len(errs) > 0 {
		return base, errs
	}
	return base, nil
}

var sizeForm = regexp.MustCompile(`^([0-9]{1,12})(Ki|Mi|Gi|k|M|G)?$`)

// Bytes reads a size as Kubernetes writes it: a whole number with an optional
// Ki, Mi, Gi, k, M or G.
func Bytes(s string) (n int64, ok bool) {
	m := sizeForm.FindStringSubmatch(s)
	if m == nil {
		return 0, false
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		return 0, false
	}
	unit := map[string]int64{"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "k": 1e3, "M": 1e6, "G": 1e9}[m[2]]
	return n * unit, n < 1<<33
}
