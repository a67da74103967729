package cache

import (
	"bytes"
	"net/url"
	"slices"
	"strings"
	"testing"

	"penstock.dev/penstock/core/cache/rfc9111"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
)

func TestTarget(t *testing.T) {
	tests := map[string]struct {
		key        config.CacheKey
		path, want string
	}{
		"nothing is said: as it was sent":       {config.CacheKey{}, "/a?b=1&a=2", "/a?b=1&a=2"},
		"no query":                              {config.CacheKey{NoQuery: true}, "/a?b=1", "/a"},
		"without a query":                       {config.CacheKey{QueryDeny: []string{"x"}}, "/a", "/a"},
		"an empty query is none":                {config.CacheKey{QueryDeny: []string{"x"}}, "/a?", "/a"},
		"denied ones go, the others in order":   {config.CacheKey{QueryDeny: []string{"x"}}, "/a?c=3&x=9&a=1", "/a?a=1&c=3"},
		"of one name in their own order":        {config.CacheKey{QueryDeny: []string{"x"}}, "/a?c=3&a=2&a=1", "/a?a=2&a=1&c=3"},
		"allowed ones stay":                     {config.CacheKey{QueryAllow: []string{"a"}}, "/a?c=3&a=1&x", "/a?a=1"},
		"a name in percent is the same name":    {config.CacheKey{QueryAllow: []string{"id"}}, "/a?%69d=1&x=2", "/a?%69d=1"},
		"a plus is a space":                     {config.CacheKey{QueryDeny: []string{"a b"}}, "/a?a+b=1&c", "/a?c"},
		"one that cannot be read counts":        {config.CacheKey{QueryAllow: []string{"a"}}, "/a?%zz=1&a=1", "/a?%zz=1&a=1"},
		"one with a semicolon counts":           {config.CacheKey{QueryDeny: []string{"x"}}, "/a?x=1;id=2", "/a?x=1;id=2"},
		"a second question mark is of a value":  {config.CacheKey{QueryDeny: []string{"x"}}, "/a?x=1?y=2&b=?", "/a?b=?"},
		"too many are not looked at":            {config.CacheKey{QueryDeny: []string{"x"}}, "/a?x" + strings.Repeat("&a", maxParams+1), "/a?x" + strings.Repeat("&a", maxParams+1)},
		"an encoded ampersand is of its value":  {config.CacheKey{QueryAllow: []string{"a"}}, "/a?a=1%26b=2&b=3", "/a?a=1%26b=2"},
		"an encoded equals sign is of its name": {config.CacheKey{QueryAllow: []string{"a"}}, "/a?a%3D1=2", "/a"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := &Filter{c: &config.Cache{Key: test.key}}
			if got := f.target([]byte(test.path)); string(got) != test.want {
				t.Errorf("%q; want %q", got, test.want)
			}
		})
	}
}

// FuzzTarget compares with net/url: what the origin is asked for has just the
// parameters that count, with the values that they had.
func FuzzTarget(f *testing.F) {
	for _, seed := range []string{"/a?id=1&utm=2", "/?%69d=1", "/a?utm=1;id=2", "/a?id&id=&id=%20", "/a??&&=", "/a?utm+=1"} {
		f.Add(seed)
	}
	deny := &Filter{c: &config.Cache{Key: config.CacheKey{QueryDeny: []string{"utm", "a b"}}}}
	allow := &Filter{c: &config.Cache{Key: config.CacheKey{QueryAllow: []string{"id", "a b"}}}}
	f.Fuzz(func(t *testing.T, path string) {
		before, query, _ := strings.Cut(path, "?")
		values, err := url.ParseQuery(query)
		for _, filter := range []*Filter{deny, allow} {
			got := string(filter.target([]byte(path)))
			if again := string(filter.target([]byte(got))); again != got {
				t.Fatalf("%q becomes %q, and then %q", path, got, again)
			}
			after, rest, _ := strings.Cut(got, "?")
			if after != before {
				t.Fatalf("%q becomes %q", path, got)
			}
			if err != nil || strings.Count(query, "&") > maxParams {
				continue
			}
			want := url.Values{}
			for name, v := range values {
				counts := name != "utm" && name != "a b"
				if filter == allow {
					counts = name == "id" || name == "a b"
				}
				if counts {
					want[name] = v
				}
			}
			if have, err := url.ParseQuery(rest); err != nil || have.Encode() != want.Encode() {
				t.Fatalf("%q becomes %q: %v, %v; want %v", path, got, have, err, want)
			}
		}
	})
}

// FuzzHead reads what cannot be trusted, as a disk's bytes, and what it has written.
func FuzzHead(f *testing.F) {
	var fields exchange.Header
	fields.Add([]byte("Content-Type"), []byte("text/plain"))
	fields.Add([]byte("X"), nil)
	facts := rfc9111.Facts{Status: 200, Date: 1, Received: 2, InitialAge: 3, Lifetime: 4, StaleWhileRevalidate: 5, StaleIfError: 6, Flags: rfc9111.Validator}
	f.Add(appendHead(nil, &facts, &fields))
	f.Add([]byte{headVersion})
	f.Fuzz(func(t *testing.T, p []byte) {
		var h head
		if !h.read(p) {
			return
		}
		var first, second exchange.Header
		h.fieldsInto(&first)
		var again head
		if !again.read(appendHead(nil, &h.facts, &first)) || again.facts != h.facts {
			t.Fatalf("%+v becomes %+v", h.facts, again.facts)
		}
		again.fieldsInto(&second)
		if !slices.EqualFunc(first.Fields(), second.Fields(), func(a, b exchange.Field) bool {
			return bytes.Equal(a.Name, b.Name) && bytes.Equal(a.Value, b.Value)
		}) {
			t.Fatalf("%q becomes %q", first.Fields(), second.Fields())
		}
	})
}

// FuzzVariant: a request chooses the variant that it made, and no bytes break the
// reader.
func FuzzVariant(f *testing.F) {
	f.Add("accept-language", "de", "fr", []byte{1, 3, 'a', 'b', 'c', 0, 1, 1})
	f.Add("", "", "", []byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0, 0})
	f.Fuzz(func(t *testing.T, name, a, b string, raw []byte) {
		chosen(raw, &exchange.Header{}, nil)
		namesOf(raw)
		if strings.ContainsFunc(name, func(r rune) bool { return r > 0x7e }) {
			return // no field is called so
		}
		var h, other exchange.Header
		h.Add([]byte(name), []byte(a))
		other.Add([]byte(name), []byte(b))
		v := variantOf([]string{strings.ToLower(name)}, &h)
		if ok, _ := chosen(v, &h, nil); !ok {
			t.Fatalf("%q: %q does not choose its own variant", name, a)
		}
		mine, its := rfc9111.AppendVaryValue(nil, &h, name), rfc9111.AppendVaryValue(nil, &other, name)
		if ok, _ := chosen(v, &other, nil); ok != bytes.Equal(mine, its) {
			t.Fatalf("%q: %q chooses the variant of %q: %v", name, b, a, ok)
		}
		if got := namesOf(v); len(got) != 1 || got[0] != strings.ToLower(name) {
			t.Fatalf("names are %q; want %q", got, name)
		}
	})
}
