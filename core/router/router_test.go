package router

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
)

func prefix(p string) config.Match { return config.Match{PathType: config.PathPrefix, Path: p} }
func exact(p string) config.Match  { return config.Match{PathType: config.PathExact, Path: p} }
func regex(p string) config.Match {
	return config.Match{PathType: config.PathRegex, Regex: regexp.MustCompile("^(?:" + p + ")$")}
}

func with(m config.Match, change func(*config.Match)) config.Match {
	change(&m)
	return m
}

func route(name, hostnames string, rules ...Rule[string]) *Route[string] {
	return &Route[string]{Name: name, Hostnames: strings.Fields(hostnames), Rules: rules}
}

func rule(value string, matches ...config.Match) Rule[string] {
	return Rule[string]{Matches: matches, Value: value}
}

func TestFindPrecedence(t *testing.T) {
	young := route("a/young", "", rule("young", prefix("/age")))
	young.Created = time.Unix(2000, 0)
	old := route("b/old", "", rule("old", prefix("/age")))
	old.Created = time.Unix(1000, 0)
	table := New(nil, []*Route[string]{
		young, old,
		route("ns/a", "a.example",
			rule("root", prefix("/")),
			rule("v1", prefix("/api/v1")),
			rule("api", prefix("/api/")),
			rule("exact", exact("/api/v1/x")),
			rule("regex", regex("/api/v[0-9]+/r.*")),
			rule("get", with(prefix("/m"), func(m *config.Match) { m.Method = "GET" })),
			rule("any", prefix("/m")),
			rule("header", with(prefix("/h"), func(m *config.Match) {
				m.Headers = []config.ValueMatch{{Name: "x-env", Value: "canary"}}
			})),
			rule("noheader", prefix("/h")),
			rule("query", with(prefix("/q"), func(m *config.Match) {
				m.Query = []config.ValueMatch{{Name: "a b", Value: "1&2"}}
			})),
		),
		route("ns/wild", "*.example", rule("wild", prefix("/"))),
		route("ns/deep", "*.deep.example", rule("deep", prefix("/only"))),
		route("ns/tunnel", "tunnel.example",
			rule("all", prefix("/")),
			rule("any", regex(".*")),
			rule("exact", with(exact("/"), func(m *config.Match) { m.Method = "CONNECT" })),
			rule("below", with(prefix("/a"), func(m *config.Match) { m.Method = "CONNECT" })),
			rule("regex", with(regex("/?"), func(m *config.Match) { m.Method = "CONNECT" })),
			rule("canary", with(prefix("/"), func(m *config.Match) {
				m.Method, m.Headers = "CONNECT", []config.ValueMatch{{Name: "x-env", Value: "canary"}}
			})),
			rule("tunnel", with(prefix("/"), func(m *config.Match) { m.Method = "CONNECT" })),
		),
		route("ns/first", "tie.example", rule("first", prefix("/")), rule("second", prefix("/"))),
	})
	tests := map[string]struct {
		hostname, target, method, header string
		want                             string
	}{
		"prefix matches whole segments":             {"a.example", "/apis", "GET", "", "root"},
		"a prefix with a slash matches itself":      {"a.example", "/api", "GET", "", "api"},
		"the longest prefix wins":                   {"a.example", "/api/v1/y", "GET", "", "v1"},
		"an exact path wins":                        {"a.example", "/api/v1/x", "GET", "", "exact"},
		"a regular expression beats a prefix":       {"a.example", "/api/v2/r1", "GET", "", "regex"},
		"a regular expression matches the whole":    {"a.example", "/x/api/v2/r1", "GET", "", "root"},
		"a method beats none":                       {"a.example", "/m/1", "GET", "", "get"},
		"another method takes the rest":             {"a.example", "/m/1", "PUT", "", "any"},
		"a header beats none":                       {"a.example", "/h", "GET", "canary", "header"},
		"a wrong header takes the rest":             {"a.example", "/h", "GET", "x", "noheader"},
		"query parameters are compared decoded":     {"a.example", "/q?z=1&a+b=1%262", "GET", "", "query"},
		"only the first of equal parameters counts": {"a.example", "/q?a+b=0&a+b=1%262", "GET", "", "root"},
		"a wildcard matches one label":              {"b.example", "/", "GET", "", "wild"},
		"a wildcard matches several labels":         {"c.b.example", "/", "GET", "", "wild"},
		"a wildcard does not match its own suffix":  {"example", "/", "GET", "", ""},
		"the longest wildcard wins":                 {"x.deep.example", "/only", "GET", "", "deep"},
		"no match falls to the next hostname":       {"x.deep.example", "/", "GET", "", "wild"},
		"the older route wins":                      {"other.test", "/age", "GET", "", "old"},
		"the first rule wins":                       {"tie.example", "/", "GET", "", "first"},
		"a CONNECT takes a match that names it":     {"tunnel.example", "", "CONNECT", "", "tunnel"},
		"a CONNECT is matched by header":            {"tunnel.example", "", "CONNECT", "canary", "canary"},
		"a CONNECT takes no match without method":   {"tie.example", "", "CONNECT", "", ""},
		"nor another method's":                      {"a.example", "", "CONNECT", "", ""},
		"a match for CONNECT is for nothing else":   {"tunnel.example", "/b", "GET", "", "any"},
		"nothing matches":                           {"other.test", "/none", "GET", "", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var h exchange.Header
			if test.header != "" {
				h.Add([]byte("X-Env"), []byte(test.header))
			}
			p, q := SplitQuery([]byte(test.target))
			got, _, ok := table.Find(&Request{Hostname: []byte(test.hostname), Path: p, Query: q, Method: []byte(test.method), Header: &h})
			if got != test.want || ok != (test.want != "") {
				t.Errorf("got %q, %v; want %q", got, ok, test.want)
			}
		})
	}
}

func TestNewKeepsUnchangedHostnames(t *testing.T) {
	a, b := route("ns/a", "a.example", rule("a", prefix("/"))), route("ns/b", "b.example", rule("b", prefix("/")))
	first := New(nil, []*Route[string]{a, b})
	second := New(first, []*Route[string]{a, route("ns/b", "b.example", rule("b2", prefix("/")))})
	if first.exact.of([]byte("a.example")) != second.exact.of([]byte("a.example")) {
		t.Error("an unchanged hostname was built again")
	}
	if first.exact.of([]byte("b.example")) == second.exact.of([]byte("b.example")) {
		t.Error("a changed hostname was kept")
	}
}

// TestChangedTables: a table made by changes finds what one made at once does.
func TestChangedTables(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	hostnames := []string{"", "a.example", "b.example", "*.example", "a.example b.example", "*.example a.example"}
	paths := []config.Match{prefix("/"), prefix("/x"), prefix("/x/"), exact("/x"), exact("/y"), regex("/x.*"), regex("/[xy]"), with(prefix("/x"), func(m *config.Match) { m.Method = "GET" })}
	for _, path := range []string{"/p", "/q", "/r", "/s", "/t", "/p/q", "/p/r"} { // so that a hostname has few or many
		paths = append(paths, prefix(path), exact(path))
	}
	var routes []*Route[string]
	var table *Table[string]
	few, many := 0, 0
	for step := range 500 {
		for range random.IntN(3) {
			r := route(fmt.Sprintf("ns/r%d", random.IntN(8)), hostnames[random.IntN(len(hostnames))])
			r.Created = time.Unix(int64(random.IntN(3)), 0)
			for i := range random.IntN(4) {
				r.Rules = append(r.Rules, rule(fmt.Sprint(step, "/", i), paths[random.IntN(len(paths))], paths[random.IntN(len(paths))]))
			}
			routes = slices.DeleteFunc(slices.Clone(routes), func(o *Route[string]) bool { return o.Name == r.Name })
			routes = slices.Insert(routes, random.IntN(len(routes)+1), r)
		}
		if len(routes) > 0 && random.IntN(3) == 0 {
			i := random.IntN(len(routes))
			routes = slices.Delete(slices.Clone(routes), i, i+1)
		}
		table = New(table, routes)
		fresh := New(nil, routes)
		for i := range table.exact {
			if len(table.exact[i]) != len(fresh.exact[i]) {
				t.Fatalf("step %d: shard %d: %d hostnames; want %d", step, i, len(table.exact[i]), len(fresh.exact[i]))
			}
		}
		if len(table.wildcard) != len(fresh.wildcard) || (table.any == nil) != (fresh.any == nil) {
			t.Fatalf("step %d: %d wildcards; want %d", step, len(table.wildcard), len(fresh.wildcard))
		}
		if h := table.exact.of([]byte("a.example")); h != nil && h.prefix.many != nil {
			many++
		} else if h != nil {
			few++
		}
		for _, hostname := range []string{"a.example", "b.example", "c.example", "other"} {
			for _, path := range []string{"/", "/x", "/x/y", "/y", "/xy", "/p", "/p/q", "/p/r/s", "/q", "/t/u"} {
				for _, method := range []string{"GET", "POST"} {
					q := &Request{Hostname: []byte(hostname), Path: []byte(path), Method: []byte(method), Header: &exchange.Header{}}
					got, _, gotOK := table.Find(q)
					want, _, wantOK := fresh.Find(q)
					if got != want || gotOK != wantOK {
						t.Fatalf("step %d: %s %s%s: got %q, %v; want %q, %v", step, method, hostname, path, got, gotOK, want, wantOK)
					}
				}
			}
		}
	}
	if few < 50 || many < 50 {
		t.Errorf("%d times few paths, %d times many", few, many)
	}
}

func TestFindAllocatesNothing(t *testing.T) {
	table := manyRoutes(1000)
	var h exchange.Header
	h.Add([]byte("Accept"), []byte("*/*"))
	q := &Request{Hostname: []byte("host7.example"), Path: []byte("/svc7/a/b"), Method: []byte("GET"), Header: &h}
	if n := testing.AllocsPerRun(100, func() {
		if _, _, ok := table.Find(q); !ok {
			t.Fatal("no match")
		}
	}); n != 0 {
		t.Errorf("%v allocations per lookup; want 0", n)
	}
}

func manyRoutes(n int) *Table[string] {
	var routes []*Route[string]
	for i := range n {
		routes = append(routes, route(fmt.Sprintf("ns/r%d", i), fmt.Sprintf("host%d.example", i), rule("x", prefix(fmt.Sprintf("/svc%d", i)))))
	}
	return New(nil, routes)
}

// BenchmarkNew is what a table costs whose routes have one hostname and one path.
func BenchmarkNew(b *testing.B) {
	var routes []*Route[string]
	for i := range 10_000 {
		routes = append(routes, route(fmt.Sprintf("ns/r%d", i), "a.example", rule("x", with(prefix("/"), func(m *config.Match) { m.Headers = []config.ValueMatch{{Name: "n", Value: fmt.Sprint(i)}} }))))
	}
	for b.Loop() {
		New(nil, routes)
	}
}

func BenchmarkFind(b *testing.B) {
	for _, n := range []int{1, 1000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			table := manyRoutes(n)
			var h exchange.Header
			q := &Request{Hostname: []byte("host0.example"), Path: []byte("/svc0/a/b"), Method: []byte("GET"), Header: &h}
			for b.Loop() {
				table.Find(q)
			}
		})
	}
}

func normalise(s string) (string, bool, error) {
	out, dots, err := Normalise([]byte(s), func(n int) []byte { return make([]byte, n) })
	return string(out), dots, err
}

func TestNormalise(t *testing.T) {
	tests := map[string]struct {
		in, want string
		dots     bool
		bad      bool
	}{
		"plain":                           {in: "/a/b.c", want: "/a/b.c"},
		"asterisk":                        {in: "*", want: "*"},
		"unreserved is decoded":           {in: "/%61%2Db", want: "/a-b"},
		"others are upper case":           {in: "/a%2fb%3f", want: "/a%2Fb%3F"},
		"slashes are merged":              {in: "//a///b//", want: "/a/b/"},
		"dot segments":                    {in: "/a/./b/../c", want: "/a/c", dots: true},
		"encoded dot segments":            {in: "/a/%2e%2E/c", want: "/c", dots: true},
		"a last dot keeps the slash":      {in: "/a/.", want: "/a/", dots: true},
		"a last double dot":               {in: "/a/b/..", want: "/a/", dots: true},
		"dots in a name stay":             {in: "/a/..b/.well-known", want: "/a/..b/.well-known"},
		"above the root":                  {in: "/../a", bad: true},
		"a short encoding":                {in: "/%2", bad: true},
		"a bad encoding":                  {in: "/%zz", bad: true},
		"a path that starts with no root": {in: "a%20", bad: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, dots, err := normalise(test.in)
			if (err != nil) != test.bad || got != test.want || !test.bad && dots != test.dots {
				t.Errorf("got %q, %v, %v; want %q, %v, bad %v", got, dots, err, test.want, test.dots, test.bad)
			}
		})
	}
}

// FuzzNormalise compares with the standard library's decoder and path.Clean.
func FuzzNormalise(f *testing.F) {
	for _, s := range []string{"/", "/a/../b", "/%2e%2e/", "//a", "/a%2Fb/./", "/a/..", "/%41"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !strings.HasPrefix(s, "/") || strings.Contains(s, "?") {
			return
		}
		got, _, err := normalise(s)
		decoded, decodeErr := url.PathUnescape(s)
		if err != nil {
			depth := 0
			for _, segment := range strings.FieldsFunc(strings.ReplaceAll(strings.ReplaceAll(s, "%2e", "."), "%2E", "."), func(r rune) bool { return r == '/' }) {
				switch segment {
				case ".":
				case "..":
					depth--
				default:
					depth++
				}
				if depth < 0 {
					return
				}
			}
			if decodeErr == nil {
				t.Fatalf("%q refused: %v", s, err)
			}
			return
		}
		again, dots, err := normalise(got)
		if err != nil || again != got || dots {
			t.Fatalf("%q -> %q -> %q, %v, %v: not stable", s, got, again, dots, err)
		}
		if !strings.Contains(strings.ToLower(s), "%2f") && decodeErr == nil {
			want := path.Clean(decoded)
			plain, _ := url.PathUnescape(got)
			if strings.TrimSuffix(plain, "/") != strings.TrimSuffix(want, "/") {
				t.Fatalf("%q -> %q; path.Clean says %q", s, plain, want)
			}
		}
	})
}
