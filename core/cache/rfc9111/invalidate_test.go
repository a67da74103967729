package rfc9111

import (
	"net/url"
	"slices"
	"strings"
	"testing"
)

// RFC 9111, 4.4.
func TestInvalidates(t *testing.T) {
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "M-SEARCH", "get", "PURGE", ""} {
		for status, want := range map[int]bool{199: false, 200: true, 204: true, 303: true, 399: true, 400: false, 404: false, 500: false} {
			if got := Invalidates([]byte(method), status); got != want {
				t.Errorf("%q, %d: got %v; want %v", method, status, got, want)
			}
		}
	}
	for _, method := range []string{"GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "REPORT", "SEARCH", "QUERY", "CONNECT"} {
		if Invalidates([]byte(method), 200) {
			t.Errorf("%s: got true; want false", method)
		}
	}
}

// RFC 9111, 4.4; RFC 3986, 5.2.
func TestTargets(t *testing.T) {
	tests := map[string]struct {
		scheme, authority, path string // http, a.example and /x/y?q by default
		lines                   []string
		want                    string
	}{
		"nothing":                               {},
		"a path":                                {lines: []string{"Location: /foo?a=b"}, want: "/foo?a=b"},
		"both fields":                           {lines: []string{"Location: /foo", "Content-Location: /bar"}, want: "/foo /bar"},
		"a relative path":                       {lines: []string{"Location: foo"}, want: "/x/foo"},
		"a relative path upwards":               {lines: []string{"Location: ../foo/./bar/.."}, want: "/foo/"},
		"a query alone":                         {lines: []string{"Location: ?z"}, want: "/x/y?z"},
		"an empty one is the request's own":     {lines: []string{"Content-Location:"}, want: "/x/y?q"},
		"a fragment does not count":             {lines: []string{"Location: /foo#bar"}, want: "/foo"},
		"a URI of the same origin":              {lines: []string{"Location: http://a.example/foo"}, want: "/foo"},
		"of the same origin in another case":    {lines: []string{"Location: HTTP://A.Example/Foo"}, want: "/Foo"},
		"of the same origin with its port":      {lines: []string{"Location: http://a.example:80/foo"}, want: "/foo"},
		"of the same origin with an empty port": {lines: []string{"Location: http://a.example:/foo"}, want: "/foo"},
		"where the request has the port":        {authority: "a.example:443", scheme: "https", lines: []string{"Location: https://a.example/foo"}, want: "/foo"},
		"of the same origin without a path":     {lines: []string{"Location: http://a.example?q"}, want: "/?q"},
		"without a scheme":                      {lines: []string{"Location: //a.example/foo"}, want: "/foo"},
		"of another hostname":                   {lines: []string{"Location: http://b.example/foo"}},
		"of another hostname, without a scheme": {lines: []string{"Location: //b.example/foo"}},
		"of another port":                       {lines: []string{"Location: http://a.example:8080/foo"}},
		"of another scheme's port":              {lines: []string{"Location: http://a.example:443/foo"}},
		"of another scheme":                     {lines: []string{"Location: https://a.example/foo"}},
		"with a user, who is no part of a name": {lines: []string{"Location: http://a.example@b.example/foo"}},
		"of a scheme without authority":         {lines: []string{"Location: mailto:/foo"}},
		"of the scheme, but no authority":       {lines: []string{"Location: http:/foo"}},
		"a space":                               {lines: []string{"Location: /fo o"}},
		"a backslash":                           {lines: []string{"Location: \\\\a.example/foo"}},
		"a byte that is no text":                {lines: []string{"Location: /fo\x01o"}},
		"an empty authority":                    {lines: []string{"Location: ///foo"}},
		"a hyphen before a colon":               {lines: []string{"Location: a-b:/foo"}},
		"a digit before a colon":                {lines: []string{"Location: 9:/foo"}, want: "/x/9:/foo"},
		"more than four":                        {lines: []string{"Location: /1", "Location: /2", "Location: /3", "Location: /4", "Location: /5"}, want: "/1 /2 /3 /4"},
		"above the root":                        {lines: []string{"Location: /../../foo"}, want: "/foo"},
		"for a request that is for no path":     {path: "*", lines: []string{"Location: foo"}},
		"escapes stay as they are":              {lines: []string{"Location: /%2e%2E/%41"}, want: "/%2e%2E/%41"},
		"two slashes stay":                      {lines: []string{"Location: /..//0"}, want: "//0"},
		"a dot in a query":                      {lines: []string{"Location: /a?b=/../c"}, want: "/a?b=/../c"},
		"a colon in a path that is no scheme":   {lines: []string{"Location: ./a:b"}, want: "/x/a:b"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			scheme, authority, path := "http", "a.example", "/x/y?q"
			if tt.scheme != "" {
				scheme = tt.scheme
			}
			if tt.authority != "" {
				authority = tt.authority
			}
			if tt.path != "" {
				path = tt.path
			}
			var got []string
			Targets([]byte(scheme), []byte(authority), []byte(path), header(tt.lines...), func(p []byte) { got = append(got, string(p)) })
			if strings.Join(got, " ") != tt.want {
				t.Errorf("got %v; want %v", got, tt.want)
			}
		})
	}
}

// FuzzTargets compares with net/url, on references that it writes as they are.
func FuzzTargets(f *testing.F) {
	for _, s := range []string{"/a/../b", "../../c?d", "http://a.example/x/./y", "//a.example", "?q", "", "a/b/..", "/..", "//b.example/", "/a//b/..//c", "http://a.example:80?x#y", "."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h := header()
		h.Add([]byte("Location"), []byte(s))
		var got []string
		Targets([]byte("http"), []byte("a.example"), []byte("/x/y/z?q"), h, func(p []byte) { got = append(got, string(p)) })
		for _, p := range got {
			if p[0] != '/' || strings.ContainsAny(p, " \r\n#") {
				t.Fatalf("%q leads to %q", s, p)
			}
		}
		ref, err := url.Parse(s)
		if err != nil || ref.String() != s || strings.ContainsAny(s, "%\\") || ref.RawPath != "" || ref.User != nil || ref.Opaque != "" || strings.Contains(ref.Path, "//") { // net/url joins slashes beside dots, RFC 3986 does not
			return
		}
		for _, c := range []byte(s) { // net/url escapes these, or not, as it likes
			if c <= ' ' || c >= 0x7f {
				return
			}
		}
		base := &url.URL{Scheme: "http", Host: "a.example", Path: "/x/y/z", RawQuery: "q"}
		to := base.ResolveReference(ref)
		var want []string
		if to.Scheme == "http" && slices.Contains([]string{"a.example", "a.example:80", "a.example:"}, strings.ToLower(to.Host)) && (ref.Scheme == "" || ref.Host != "") {
			want = append(want, to.RequestURI())
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%q: got %q; want %q", s, got, want)
		}
	})
}
