package admin

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"penstock.dev/penstock/core/cache"
	"penstock.dev/penstock/core/cache/store"
	"penstock.dev/penstock/core/telemetry"
)

// TestPurgeByAdmin: what a CachePurge may not name is refused here too, with each fault in
// a line of its own.
func TestPurgeByAdmin(t *testing.T) {
	disk, err := store.Open(store.Options{MemoryBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	responses := cache.New(disk, 1<<20, telemetry.New())
	defer func() {
		responses.Close()
		if err := disk.Close(); err != nil {
			t.Error(err)
		}
	}()
	s, _ := newServer(t)
	s.cache = responses
	tests := map[string]struct {
		host, query string
		status      int
		text        string // lines
	}{
		"a tag":                  {"", "namespace=n&tag=a", 200, ""},
		"one of each, softly":    {"", "namespace=n&tag=a&url=http://a.example/b?c&prefix=http://a.example&hostname=a.example&soft=true", 200, ""},
		"no namespace":           {"", "tag=a", 400, "not a purge: namespace: it is missing: a purge is about one namespace"},
		"two namespaces":         {"", "namespace=n&namespace=m&tag=a", 400, "query: soft is true or false, and there is one namespace"},
		"nothing":                {"", "namespace=n", 400, "not a purge: empty: want urls, prefixes, hostnames or tags"},
		"an unknown parameter":   {"", "namespace=n&tags=a", 400, `query: "tags" is not known: there are namespace, url, prefix, hostname, tag and soft`},
		"another soft":           {"", "namespace=n&tag=a&soft=maybe", 400, "query: soft is true or false, and there is one namespace"},
		"a tag of two words":     {"", "namespace=n&tag=a+b", 400, `not a purge: tags[0]: "a b": want a tag: at most 256 visible characters without spaces and commas`},
		"a hostname's wildcard":  {"", "namespace=n&hostname=*.example", 400, `not a purge: hostnames[0]: "*.example": want a hostname in lower case, without a wildcard`},
		"a path and a wrong tag": {"", "namespace=n&tag=a,b&url=/a", 400, "not a purge: urls[0]: \"/a\": want an absolute URL of http or https without a fragment\ntags[0]: \"a,b\": want a tag: at most 256 visible characters without spaces and commas"},
		"a stranger's name":      {"evil.example", "namespace=n&tag=a", 403, "ask for it by a loopback address"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodDelete, "/cache?"+tt.query, nil)
			if r.Host = tt.host; r.Host == "" {
				r.Host = "127.0.0.1:9901"
			}
			s.Admin(Open()).ServeHTTP(w, r)
			if w.Code != tt.status || tt.text != "" && strings.TrimSpace(w.Body.String()) != tt.text {
				t.Errorf("got %d, %q; want %d, %q", w.Code, w.Body, tt.status, tt.text)
			}
			var said struct{ Removed *int }
			if tt.status == 200 && (json.Unmarshal(w.Body.Bytes(), &said) != nil || said.Removed == nil || *said.Removed != 0) {
				t.Errorf("got %q; want removed 0", w.Body)
			}
		})
	}
}
