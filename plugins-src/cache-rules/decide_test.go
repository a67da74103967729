package main

import (
	"net/url"
	"strings"
	"testing"

	sdk "penstock.dev/penstock/wasm-sdk/go"
)

// of makes a request of fields.
func of(method, path string, fields ...[2]string) *request {
	return &request{
		method: method, path: path,
		get: func(name string) (string, bool) {
			for _, f := range fields {
				if f[0] == name {
					return f[1], true
				}
			}
			return "", false
		},
		all: func() [][2]string { return fields },
	}
}

func written(t *testing.T, s sdk.Steering) string {
	t.Helper()
	b, err := s.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func config(t testing.TB, text string) *rules {
	t.Helper()
	r, err := parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const phone = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1"

func TestDecide(t *testing.T) {
	r := config(t, `{"rules":[
		{"path":{"prefix":"/account"},"bypass":true},
		{"path":{"prefix":"/static"},"ttl":"1h","force":true,"query":{"allow":["v"]},"tags":["static"]},
		{"path":{"exact":"/search"},"methods":["GET"],"query":{"deny":["utm_*"],"sort":true}},
		{"path":{"exact":"/page"},"device":true,"ttl":"60s","tags":["page"]},
		{"path":{"exact":"/shop"},"device":true,"key":{"headers":["X-Lang"],"cookies":["currency"]},"tagHeader":"X-Shop-Id","tags":["shop"]},
		{"path":{"exact":"/b"},"bypass":true,"device":true}]}`)
	static := written(t, sdk.Steering{TTL: 3600e9, Force: true, Tags: []string{"static"}})
	page := func(class string) string {
		return written(t, sdk.Steering{TTL: 60e9, Key: []string{"device=" + class}, Tags: []string{"page"}})
	}
	shop := func(lang, cookies, tag string) string {
		s := sdk.Steering{Key: []string{"device=desktop", "header x-lang" + lang, "cookie currency" + cookies}, Tags: []string{"shop"}}
		if tag != "" {
			s.Tags = append(s.Tags, tag)
		}
		return written(t, s)
	}
	bypass := written(t, sdk.Steering{Bypass: true})
	long := strings.Repeat("x", 2000)
	tests := map[string]struct {
		q                      *request
		steering, path, device string
	}{
		"no rule":                      {of("GET", "/other?utm_source=a"), "", "", ""},
		"a bypass":                     {of("GET", "/account/orders?x=1"), bypass, "", ""},
		"not the whole segment":        {of("GET", "/accounts"), "", "", ""},
		"a bypass, encoded":            {of("GET", "/%61ccoun%74"), bypass, "", ""},
		"a forced time":                {of("GET", "/static/a.css"), static, "", ""},
		"a forced time, the folder":    {of("GET", "/static"), static, "", ""},
		"a query of what is allowed":   {of("GET", "/static/a.css?x=1&v=2&y"), static, "/static/a.css?v=2", ""},
		"nothing of it is allowed":     {of("GET", "/static/a.css?x=1"), static, "/static/a.css", ""},
		"an empty query":               {of("GET", "/static/a.css?"), static, "/static/a.css", ""},
		"a sorted query":               {of("GET", "/search?q=b&utm_source=x&a=1&utm_=y&a=0"), "", "/search?a=1&a=0&q=b", ""},
		"a query as it is to be":       {of("GET", "/search?a=1&q=b"), "", "", ""},
		"another method":               {of("POST", "/search?utm_source=x"), "", "", ""},
		"a desktop":                    {of("GET", "/page"), page("desktop"), "", "desktop"},
		"a phone":                      {of("GET", "/page", [2]string{"user-agent", phone}), page("mobile"), "", "mobile"},
		"a bypass that tells devices":  {of("GET", "/b", [2]string{"user-agent", phone}), bypass, "", "mobile"},
		"fields that are missing":      {of("GET", "/shop"), shop("", "", ""), "", "desktop"},
		"fields that are empty":        {of("GET", "/shop", [2]string{"x-lang", ""}, [2]string{"cookie", "currency="}), shop("\x00\x00", "\x00\x00", ""), "", "desktop"},
		"fields":                       {of("GET", "/shop", [2]string{"x-lang", "de"}, [2]string{"cookie", "a=b; currency=EUR; c"}, [2]string{"x-shop-id", " 17 "}), shop("\x00\x02de", "\x00\x03EUR", "17"), "", "desktop"},
		"fields that are there twice":  {of("GET", "/shop", [2]string{"x-lang", "de"}, [2]string{"x-lang", "en"}, [2]string{"cookie", "currency=EUR;currency=USD"}), shop("\x00\x02de\x00\x02en", "\x00\x03EUR\x00\x03USD", ""), "", "desktop"},
		"a cookie of two fields":       {of("GET", "/shop", [2]string{"cookie", "currency=EUR"}, [2]string{"cookie", "currency=USD"}), shop("", "\x00\x03EUR\x00\x03USD", ""), "", "desktop"},
		"a key that is too long":       {of("GET", "/shop", [2]string{"x-lang", long}), bypass, "", "desktop"},
		"a cookie that is too long":    {of("GET", "/shop", [2]string{"cookie", "currency=" + long}), bypass, "", "desktop"},
		"an empty tag":                 {of("GET", "/shop", [2]string{"x-shop-id", ""}), bypass, "", "desktop"},
		"a tag that is too long":       {of("GET", "/shop", [2]string{"x-shop-id", long[:257]}), bypass, "", "desktop"},
		"a tag that is no text":        {of("GET", "/shop", [2]string{"x-shop-id", "a\xff"}), bypass, "", "desktop"},
		"a tag of two words":           {of("GET", "/shop", [2]string{"x-shop-id", "a b"}), bypass, "", "desktop"},
		"two tags in one":              {of("GET", "/shop", [2]string{"x-shop-id", "a,b"}), bypass, "", "desktop"},
		"two tags":                     {of("GET", "/shop", [2]string{"x-shop-id", "1"}, [2]string{"x-shop-id", "2"}), bypass, "", "desktop"},
		"a tag of the longest":         {of("GET", "/shop", [2]string{"x-shop-id", long[:256]}), shop("", "", long[:256]), "", "desktop"},
		"dot segments":                 {of("GET", "/static/../account"), bypass, "", ""},
		"encoded dot segments":         {of("GET", "/static/%2e%2E/account"), bypass, "", ""},
		"dots and a semicolon":         {of("GET", "/static/..;/account"), bypass, "", ""},
		"an encoded separator":         {of("GET", "/static/..%2faccount"), bypass, "", ""},
		"an encoded backslash":         {of("GET", "/static/..%5Caccount"), bypass, "", ""},
		"a backslash":                  {of("GET", `/static/..\account`), bypass, "", ""},
		"encoded twice":                {of("GET", "/static/..%252faccount"), bypass, "", ""},
		"empty segments":               {of("GET", "//account"), bypass, "", ""},
		"a parameter of a path":        {of("GET", "/other;a.css"), bypass, "", ""},
		"an encoded NUL":               {of("GET", "/other%00.css"), bypass, "", ""},
		"an encoding that ends early":  {of("GET", "/other%4"), bypass, "", ""},
		"an encoding that is none":     {of("GET", "/other%zz"), bypass, "", ""},
		"an encoding that must be":     {of("GET", "/static/%c3%a4.css"), static, "", ""},
		"a separator within the query": {of("GET", "/static/a?x=/../;"), static, "", ""},
		"the server as a whole":        {of("OPTIONS", "*"), "", "", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o := r.decide(test.q)
			if string(o.steering) != test.steering || o.path != test.path || o.device != test.device {
				t.Errorf("got %q, %q, %q; want %q, %q, %q", o.steering, o.path, o.device, test.steering, test.path, test.device)
			}
		})
	}
}

// TestPathsDoNotCountWithoutRulesForThem: then nothing is to be told from one.
func TestPathsDoNotCountWithoutRulesForThem(t *testing.T) {
	r := config(t, `{"rules":[{"ttl":"60s"}]}`)
	if o := r.decide(of("GET", "/a%2fb")); string(o.steering) != written(t, sdk.Steering{TTL: 60e9}) {
		t.Errorf("got %q", o.steering)
	}
}

func TestQuery(t *testing.T) {
	tests := map[string]struct {
		q          query
		path, want string
	}{
		"no query":                   {query{sort: true}, "/a", "/a"},
		"an encoded name":            {query{deny: []string{"utm_source"}}, "/a?utm%5Fsource=1&b", "/a?b"},
		"a plus is a space":          {query{deny: []string{"a b"}}, "/a?a+b=1&c", "/a?c"},
		"a broken name stays":        {query{allow: []string{"b"}}, "/a?%zz=1&b", "/a?%zz=1&b"},
		"a semicolon stays":          {query{deny: []string{"utm_*"}}, "/a?utm_a=1;id=2", "/a?utm_a=1;id=2"},
		"empty parameters":           {query{sort: true}, "/a?&&b&&a&", "/a?a&b"},
		"a second question mark":     {query{deny: []string{"c"}}, "/a?b=?&c=1", "/a?b=?"},
		"everything":                 {query{deny: []string{"*"}}, "/a?b=1", "/a"},
		"values stay in their order": {query{sort: true}, "/a?b=2&b=1&a", "/a?a&b=2&b=1"},
		"too many":                   {query{deny: []string{"a"}}, "/a?" + strings.Repeat("a&", maxParams), "/a?" + strings.Repeat("a&", maxParams)},
	}
	for name, test := range tests {
		if got := test.q.change(test.path); got != test.want {
			t.Errorf("%s: got %q; want %q", name, got, test.want)
		}
	}
}

func TestDevices(t *testing.T) {
	const chrome = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 "
	tests := map[string]struct {
		agent, hint string
		want        int
	}{
		"nothing":                 {"", "", desktop},
		"a client without screen": {"curl/8.5.0", "", desktop},
		"a desktop":               {"Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:127.0) Gecko/20100101 Firefox/127.0", "", desktop},
		"a desktop with a hint":   {"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36", "?0", desktop},
		"a phone":                 {phone, "", mobile},
		"an Android phone":        {chrome + "Mobile Safari/537.36", "?1", mobile},
		"an Android tablet":       {chrome + "Safari/537.36", "?0", tablet},
		"an iPad":                 {"Mozilla/5.0 (iPad; CPU OS 12_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148", "", tablet},
		"a Firefox tablet":        {"Mozilla/5.0 (Android 14; Tablet; rv:127.0) Gecko/127.0 Firefox/127.0", "", tablet},
		"only a hint":             {"", "?1", mobile},
		"a hint that is none":     {phone, "yes", mobile},
		"a hint against a phone":  {phone, "?0", desktop},
		"far behind the limit":    {strings.Repeat("x", maxAgent) + " iPhone", "", desktop},
	}
	a := agents{}
	for range 2 { // the second time they are remembered
		for name, test := range tests {
			if got := a.device(test.agent, test.hint); got != test.want {
				t.Errorf("%s: got %s; want %s", name, classes[got], classes[test.want])
			}
		}
	}
	for i := range 3 * maxAgents {
		a.device(strings.Repeat("x", i), "")
	}
	if len(a) > maxAgents {
		t.Errorf("%d are remembered; want at most %d", len(a), maxAgents)
	}
}

// FuzzPath: a path that is clear is one that the standard library reads alike, and
// normal already.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"/a/b", "/%61", "/a/../b", "/a;b", "/%2f", "//", "/\xc3\xa4", "/%C3%A4", "/."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, "?#") {
			return
		}
		normal, clear := normalise(path)
		if !clear {
			return
		}
		if again, ok := normalise(normal); again != normal || !ok {
			t.Fatalf("%q is normal as %q, that as %q", path, normal, again)
		}
		u, err := url.PathUnescape(path)
		if err != nil {
			t.Fatalf("%q is clear: %v", path, err)
		}
		if v, err := url.PathUnescape(normal); err != nil || v != u {
			t.Fatalf("%q is %q, %q is %q, %v", path, u, normal, v, err)
		}
		if strings.Count(u, "/") != strings.Count(path, "/") || strings.ContainsAny(u, "\\;\x00") || strings.Contains(u+"/", "/../") || strings.Contains(u+"/", "/./") || strings.Contains(u, "//") {
			t.Fatalf("%q is clear, and reads %q", path, u)
		}
	})
}

// FuzzQuery: what goes on is a part of what came, and going on again changes nothing.
func FuzzQuery(f *testing.F) {
	f.Add("a=1&utm_b=2&c", "utm_*")
	f.Fuzz(func(t *testing.T, text, name string) {
		q := query{deny: []string{name}, sort: true}
		once := q.change("/?" + text)
		if again := q.change(once); again != once {
			t.Fatalf("%q becomes %q, and that %q", text, once, again)
		}
		for p := range strings.SplitSeq(strings.TrimPrefix(once, "/?"), "&") {
			if once != "/" && !strings.Contains("&"+text+"&", "&"+p+"&") {
				t.Fatalf("%q was not in %q", p, text)
			}
		}
	})
}
