package rfc9111

import (
	"testing"
	"time"
)

// RFC 9111, 3.1, 5.2.2.4 and 5.2.2.7.
func TestKeep(t *testing.T) {
	tests := map[string]struct {
		control string
		options Options
		drops   string
		keeps   []string
	}{
		"fields about a connection or a proxy": {drops: "Connection Keep-Alive Proxy-Connection TE Transfer-Encoding Upgrade Trailer Proxy-Authenticate Proxy-Authentication-Info Proxy-Authorization"},
		"what is computed, and cookies":        {drops: "Age Set-Cookie"},
		"cookies where they are ignored":       {options: Options{Ignore: IgnoreSetCookie}, drops: "Set-Cookie"},
		"everything else": {keeps: []string{"Cache-Control", "Clear-Site-Data", "Content-Encoding", "Content-Foo", "Content-Length", "Content-Location", "Content-MD5",
			"Content-Range", "Content-Security-Policy", "Content-Type", "ETag", "Expires", "Public-Key-Pins", "Set-Cookie2", "Test-Header", "X-Frame-Options",
			"X-XSS-Protection", "Date", "Cache-Status", "Vary", "Last-Modified", "WWW-Authenticate"}},
		"fields that no-cache names":                            {control: "no-cache=\"a, B\"", drops: "A b", keeps: []string{"c"}},
		"fields that private names":                             {control: "private=a, private=\"b\"", drops: "A b", keeps: []string{"c"}},
		"fields that both name":                                 {control: "no-cache=\"a\", private=\"b\"", drops: "A b", keeps: []string{"c"}},
		"private ones, where the consumer is in the key":        {control: "no-cache=\"a\", private=\"b, set-cookie\"", options: Options{Consumer: true}, drops: "a set-cookie", keeps: []string{"b"}},
		"they are dropped though the directives are not heeded": {control: "no-cache=\"a\", private=\"b\"", options: Options{Ignore: IgnoreNoCache | IgnorePrivate}, drops: "a b", keeps: []string{"c"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			k := NewKeeper(header("Cache-Control: "+tt.control), &tt.options)
			for _, f := range splitWords(tt.drops) {
				if k.Keep([]byte(f)) {
					t.Errorf("%s is kept", f)
				}
			}
			for _, f := range tt.keeps {
				if !k.Keep([]byte(f)) {
					t.Errorf("%s is dropped", f)
				}
			}
		})
	}
}

func splitWords(s string) (words []string) {
	word := ""
	for _, r := range s + " " {
		if r != ' ' {
			word += string(r)
		} else if word != "" {
			words, word = append(words, word), ""
		}
	}
	return words
}

// RFC 9111, 3.2 and 4.3.4.
func TestMerge(t *testing.T) {
	tests := map[string]struct {
		stored, update []string
		options        Options
		want           []string
	}{
		"what the 304 leaves out stays":             {[]string{"A: 1", "Date: x"}, []string{"Date: y"}, Options{}, []string{"A: 1", "Date: y"}},
		"what it has replaces all lines of it":      {[]string{"A: 1", "B: 2", "a: 3"}, []string{"A: 4", "a: 5", "Date: y"}, Options{}, []string{"B: 2", "A: 4", "a: 5", "Date: y"}},
		"new fields come":                           {nil, []string{"A: 1", "Date: y"}, Options{}, []string{"A: 1", "Date: y"}},
		"a Date that it does not have goes":         {[]string{"Date: x", "A: 1"}, []string{"B: 2"}, Options{}, []string{"A: 1", "B: 2"}},
		"what describes the stored bytes stays":     {[]string{"Content-Length: 5", "Content-Encoding: gzip", "Content-MD5: a", "Content-Range: b", "Content-Digest: c", "Repr-Digest: d", "Digest: e"}, []string{"content-length: 10", "content-encoding: br", "content-md5: x", "content-range: x", "content-digest: x", "repr-digest: x", "digest: x"}, Options{}, []string{"Content-Length: 5", "Content-Encoding: gzip", "Content-MD5: a", "Content-Range: b", "Content-Digest: c", "Repr-Digest: d", "Digest: e"}},
		"nor does such a field come":                {nil, []string{"Content-Length: 0", "Content-Encoding: br"}, Options{}, nil},
		"other metadata is updated":                 {[]string{"Content-Type: text/plain", "Content-Location: /foo", "Cache-Control: max-age=1", "Expires: x", "Content-Security-Policy: a"}, []string{"Content-Type: text/plain;charset=utf-8", "Content-Location: /bar", "Cache-Control: max-age=3600", "Expires: y", "Content-Security-Policy: b"}, Options{}, []string{"Content-Type: text/plain;charset=utf-8", "Content-Location: /bar", "Cache-Control: max-age=3600", "Expires: y", "Content-Security-Policy: b"}},
		"what is never stored does not come":        {[]string{"A: 1"}, []string{"Set-Cookie: a=b", "Connection: x", "Age: 5", "Transfer-Encoding: chunked", "Proxy-Connection: x"}, Options{Ignore: IgnoreSetCookie}, []string{"A: 1"}},
		"what it says is not to be stored goes":     {[]string{"A: 1", "B: 2"}, []string{"Cache-Control: no-cache=\"a, c\"", "C: 3"}, Options{}, []string{"B: 2", "Cache-Control: no-cache=\"a, c\""}},
		"what the stored one says so does not come": {[]string{"Cache-Control: private=\"a\""}, []string{"A: 1", "B: 2"}, Options{}, []string{"Cache-Control: private=\"a\"", "B: 2"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := header(tt.stored...)
			Merge(got, header(tt.update...), &tt.options)
			if want := text(header(tt.want...)); text(got) != want {
				t.Errorf("got\n%swant\n%s", text(got), want)
			}
		})
	}
}

// A 304 makes what was stale fresh again, and its Age and Date count, not the stored.
func TestRefresh(t *testing.T) {
	const s = time.Second
	later := start.Add(100 * s)
	tests := map[string]struct {
		update   []string
		lifetime time.Duration
		age      time.Duration
		reason   string
	}{
		"it says nothing new":     {[]string{"Date: " + at(100)}, 60 * s, 0, ""},
		"it has no Date":          {nil, 60 * s, 0, ""},
		"it comes from a cache":   {[]string{"Date: " + at(95), "Age: 7"}, 60 * s, 7 * s, ""},
		"its Age is none":         {[]string{"Date: " + at(100), "Age: x"}, 0, 0, ""},
		"it has a lifetime":       {[]string{"Date: " + at(100), "Cache-Control: max-age=5"}, 5 * s, 0, ""},
		"it forbids to store":     {[]string{"Date: " + at(100), "Cache-Control: no-store"}, 0, 0, ReasonNoStore},
		"it varies by everything": {[]string{"Date: " + at(100), "Vary: *"}, 0, 0, ReasonVaryStar},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			merged, update, o := header("Date: "+at(0), "Cache-Control: max-age=60", "ETag: \"a\""), header(tt.update...), Options{}
			Merge(merged, update, &o)
			f, ok, reason := Refresh(false, RequestDirectives{}, 200, merged, update, later, later, &o)
			if ok != (tt.reason == "") || reason != tt.reason {
				t.Fatalf("got %v, %q; want %q", ok, reason, tt.reason)
			}
			if f.Lifetime != tt.lifetime || ok && f.Age(later) != tt.age {
				t.Errorf("got %v of %v; want %v of %v", f.Age(later), f.Lifetime, tt.age, tt.lifetime)
			}
		})
	}
	// What needed a permission for Authorization still does.
	merged := header("Cache-Control: max-age=60", "ETag: \"a\"")
	if _, ok, reason := Refresh(true, RequestDirectives{}, 200, merged, header(), later, later, &Options{}); ok || reason != ReasonAuthorization {
		t.Errorf("with Authorization: %v, %q", ok, reason)
	}
}

// RFC 9110, 15.4.5.
func TestInNotModified(t *testing.T) {
	for name, want := range map[string]bool{
		"Cache-Control": true, "Content-Location": true, "Date": true, "ETag": true, "Expires": true, "Vary": true, "Access-Control-Allow-Origin": true,
		"Content-Security-Policy": true, "Content-Length": false, "content-type": false, "Content-Encoding": false, "Content-Range": false, "Content-": false, "C": true,
	} {
		if got := InNotModified([]byte(name)); got != want {
			t.Errorf("%s: got %v; want %v", name, got, want)
		}
	}
}
