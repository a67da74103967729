package rfc9111

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/core/exchange"
)

// start is when the requests of the tests are sent, on a whole second.
var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// at returns the HTTP date that many seconds after start.
func at(seconds int) string {
	return start.Add(time.Duration(seconds) * time.Second).Format(http.TimeFormat)
}

// header makes a header of "Name: value" lines.
func header(lines ...string) *exchange.Header {
	var h exchange.Header
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ":")
		h.Add([]byte(name), []byte(strings.TrimSpace(value)))
	}
	return &h
}

func text(h *exchange.Header) string {
	var b strings.Builder
	for _, f := range h.Fields() {
		b.WriteString(string(f.Name) + ": " + string(f.Value) + "\n")
	}
	return b.String()
}

// TestNoAllocations: what every request runs through allocates nothing.
func TestNoAllocations(t *testing.T) {
	plain := header("Accept: */*", "User-Agent: curl/8", "Cookie: a=b")
	control := header("Cache-Control: max-age=60, min-fresh=5, x=\"a, b\"", "Pragma: no-cache")
	stored := header("ETag: \"abc\"", "Last-Modified: "+at(-3600), "Date: "+at(0), "Cache-Control: max-age=60, stale-if-error=9", "Vary: Accept-Encoding")
	inm := header("If-None-Match: \"abc\"")
	ims := header("If-Modified-Since: " + at(-3600))
	ranged := header("Range: bytes=10-19")
	several := header("Range: bytes=1-2, 5-6", "If-Range: \"abc\"")
	accept := header("Accept-Encoding: gzip, deflate, br;q=0.5", "Accept: text/html,application/xml;q=0.9,*/*;q=0.8", "X-A: 1 , 2")
	f := Facts{Status: 200, Date: start.UnixMilli(), Received: start.UnixMilli(), Lifetime: time.Minute}
	status := Status{Hit: true, TTL: time.Minute, HasTTL: true, Key: "k", Detail: "memory"}
	get, o, out := []byte("GET"), Options{}, make([]byte, 0, 4096)
	now := start.Add(time.Second)
	tests := map[string]func(){
		"directives without fields":   func() { Directives(plain, 0) },
		"directives":                  func() { Directives(control, 0) },
		"age":                         func() { out = f.AppendAge(out[:0], now) },
		"reuse":                       func() { f.Reuse(RequestDirectives{MaxAge: NewSeconds(5)}, now) },
		"on error":                    func() { f.OnError(RequestDirectives{}, now) },
		"conditional with one tag":    func() { Conditional(get, inm, stored, &f, true) },
		"conditional with a date":     func() { Conditional(get, ims, stored, &f, true) },
		"one range":                   func() { Range(ranged, stored, 100, &f) },
		"two ranges":                  func() { Range(several, stored, 1000, &f) },
		"cache status":                func() { out = status.AppendTo(out[:0], "Penstock") },
		"vary value":                  func() { out = AppendVaryValue(out[:0], accept, "x-a") },
		"vary value, accept-encoding": func() { out = AppendVaryValue(out[:0], accept, "accept-encoding") },
		"vary value, accept":          func() { out = AppendVaryValue(out[:0], accept, "accept") },
		"vary value, absent":          func() { out = AppendVaryValue(out[:0], accept, "origin") },
		"store":                       func() { Store(get, false, RequestDirectives{}, 200, stored, start, start, &o) },
		"date":                        func() { ParseDate([]byte("Sun, 01 Mar 2026 12:00:00 GMT"), start) },
	}
	for name, run := range tests {
		t.Run(name, func(t *testing.T) {
			if n := testing.AllocsPerRun(100, run); n != 0 {
				t.Errorf("%v allocations; want 0", n)
			}
		})
	}
}
