package admin

import (
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// credentials is RFC 6750, section 2.1, with more than one space let pass.
var credentials = regexp.MustCompile(`^(?i:bearer) +([A-Za-z0-9._~+/-]+=*)$`)

func FuzzBearer(f *testing.F) {
	for _, s := range []string{"Bearer abc", "bearer  a.b-c_d~e+f/g==", "Bearer", "Bearer ", "Basic abc", "Bearer a=b", "Bearer =", "Bearer \xff", "Bearer a b", "Bearer a "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, field string) {
		token, ok := bearer([]string{field})
		m := credentials.FindStringSubmatch(field)
		want := m != nil && len(m[1]) <= maxToken
		if ok != want || ok && token != m[1] {
			t.Errorf("%q: got %q, %v; want %q, %v", field, token, ok, m, want)
		}
	})
}

// FuzzNamespace: what is taken for one namespace, or for all, is what the query says
// when it is written anew.
func FuzzNamespace(f *testing.F) {
	for _, s := range []string{"", "namespace=a", "namespace=a-b", "namespace=", "namespace=a&namespace=b", "x=y", "namespace=%61", "namespace=-a", "&", "namespace=a;b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, query string) {
		namespace, err := namespaceOf(query)
		if err != nil {
			return
		}
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		want := ""
		if namespace != "" {
			want = "namespace=" + url.QueryEscape(namespace)
		}
		if values.Encode() != want || len(namespace) > 63 || strings.ContainsAny(namespace, "/%. _") {
			t.Errorf("%q is taken for %q", query, namespace)
		}
	})
}
