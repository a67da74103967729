package poison

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// lie is an origin whose first answer, to the attacker, is not for others; what follows
// is good.
type lie struct {
	name    string
	service string // empty: plain
	attack  []string
	answer  string
	// kept: some of it may be stored, but nothing evil of it.
	kept bool
}

func lies() []lie {
	ok := func(fields, body string) string { return "HTTP/1.1 200 OK\r\n" + fields + "\r\n" + body }
	chunked := func(fields, body string) string {
		return ok("Cache-Control: max-age=60\r\n"+fields+"Transfer-Encoding: chunked\r\n", body)
	}
	far := []string{"Range: bytes=2000000-2000003"}
	part := func(at, length, body string) string {
		return fmt.Sprintf("HTTP/1.1 206 Partial Content\r\nCache-Control: max-age=60\r\nETag: \"a\"\r\nContent-Range: %s\r\nContent-Length: %s\r\n\r\n%s", at, length, body)
	}
	date := func(d time.Duration) string {
		return time.Now().Add(d).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")
	}
	return []lie{
		{"a private page under the name of a style sheet", "", nil, answer("200 OK", "Cache-Control: private, max-age=60\nContent-Type: text/css", "evil"), false},
		{"a private page that says nothing, with a cookie, by ttl", "ttl", []string{"Cookie: session=1"}, answer("200 OK", "", "evil"), false},
		{"a private page that sets a cookie", "", nil, fresh("Set-Cookie: session=evil", "evil"), false},
		{"a private page that sets a cookie, by ttl", "ttl", nil, answer("200 OK", "Set-Cookie: session=evil", "evil"), false},
		{"a page for credentials", "", []string{"Authorization: Bearer x"}, fresh("", "evil"), false},
		{"a page for credentials, by ttl", "ttl", []string{"Authorization: Bearer x"}, answer("200 OK", "", "evil"), false},
		{"a page that is not to be stored", "", nil, answer("200 OK", "Cache-Control: no-store", "evil"), false},
		{"a page that is not to be stored, in upper case", "", nil, answer("200 OK", "CACHE-CONTROL: NO-STORE, MAX-AGE=60", "evil"), false},
		{"a page that is not to be stored, in the second field", "", nil, answer("200 OK", "Cache-Control: max-age=60\nCache-Control: no-store", "evil"), false},
		{"a page that is not to be stored, in a broken field", "", nil, answer("200 OK", `Cache-Control: max-age=60, x="no-store`, "evil"), false},
		{"a page that varies by anything", "", nil, fresh("Vary: *", "evil"), false},
		{"a page that varies by a cookie", "", []string{"Cookie: a=1"}, fresh("Vary: Cookie", "evil"), false},
		{"a Vary that is no list of names", "", nil, fresh("Vary: Accept Cookie", "evil"), false},
		{"a Vary with more names than are looked at", "", nil, fresh("Vary: "+strings.Repeat("X-A, ", 40)+"Cookie", "evil"), false},
		{"more cache directives than are looked at", "", nil, answer("200 OK", "Cache-Control: max-age=60, "+strings.Repeat("a=b, ", 4000)+"private", "evil"), false},
		{"more tags than can be purged", "", nil, fresh("Surrogate-Key: "+strings.Repeat("a ", 200), "evil"), false},
		{"a tag that is longer than can be purged", "", nil, fresh("Cache-Tag: "+strings.Repeat("a", 300), "evil"), false},
		{"a body that ends early", "", nil, ok("Cache-Control: max-age=60\r\nContent-Length: 100\r\n", "evil") + "<close>", false},
		{"chunks without the last one", "", nil, chunked("", "4\r\nevil\r\n") + "<close>", false},
		{"a chunk that ends early", "", nil, chunked("", "fff\r\nevil") + "<close>", false},
		{"a chunk whose size is none", "", nil, chunked("", "zz\r\nevil\r\n0\r\n\r\n"), false},
		{"a length and chunks", "", nil, chunked("Content-Length: 4\r\n", "4\r\nevil\r\n0\r\n\r\n"), false},
		{"two lengths", "", nil, ok("Cache-Control: max-age=60\r\nContent-Length: 4\r\nContent-Length: 8\r\n", "evilevil"), false},
		{"a second answer behind the first", "", nil, fresh("", "good") + fresh("", "evil"), true},
		{"a second answer in the place of chunks", "", nil, chunked("", "0\r\n\r\n") + fresh("", "evil"), true},
		{"a bare carriage return in a field", "", nil, fresh("X-A: 1\rX-Evil: 1", "evil"), false},
		{"a NUL in a field", "", nil, fresh("X-A: \x00evil", "evil"), false},
		{"a folded line", "", nil, fresh("X-A: 1\n evil", "evil"), false},
		{"a space before the colon", "", nil, fresh("X-Evil : 1", "evil"), false},
		{"a field without a name", "", nil, fresh(": evil", "evil"), false},
		{"a field that Connection names", "", nil, fresh("Connection: X-Evil\nX-Evil: 1", "good"), true},
		{"fields about the connection", "", nil, fresh("Keep-Alive: evil\nProxy-Authenticate: evil\nProxy-Connection: evil\nTrailer: evil", "good"), true},
		{"a trailer that looks like a field", "", nil, chunked("Trailer: X-Evil\r\n", "4\r\ngood\r\n0\r\nX-Evil: 1\r\nSet-Cookie: evil=1\r\n\r\n"), true},
		{"a trailer that says for how long", "", nil, ok("Transfer-Encoding: chunked\r\n", "4\r\nevil\r\n0\r\nCache-Control: max-age=60\r\n\r\n"), false},
		{"a cookie in a field that no-cache names", "", nil, answer("200 OK", "Cache-Control: max-age=60, no-cache=\"Set-Cookie, X-Own\"\nSet-Cookie: evil=1\nX-Own: evil", "good"), true},
		{"a field that private names", "", nil, answer("200 OK", "Cache-Control: max-age=60, private=\"X-Own\"\nX-Own: evil", "good"), true},
		{"an early hint that says for how long", "", nil, "HTTP/1.1 103 Early Hints\r\nCache-Control: max-age=60\r\nLink: </evil>\r\n\r\n" + answer("200 OK", "", "evil"), false},
		{"an early hint before what is stored", "", nil, "HTTP/1.1 103 Early Hints\r\nLink: </evil>\r\nX-Evil: 1\r\n\r\n" + fresh("", "good"), true},
		{"an upgrade that nobody asked for", "", nil, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: evil\r\nCache-Control: max-age=60\r\n\r\nevil", false},
		{"a part that nobody asked for", "", nil, part("bytes 0-3/4", "4", "evil"), false},
		{"a 304 that nobody asked for", "", nil, "HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=60\r\nX-Evil: 1\r\n\r\n", false},
		{"a 416 that nobody asked for", "", nil, answer("416 Range Not Satisfiable", "Cache-Control: public, max-age=60", "evil"), false},
		{"a 412 that nobody asked for", "", nil, answer("412 Precondition Failed", "Cache-Control: public, max-age=60", "evil"), false},
		{"a 421", "", nil, answer("421 Misdirected Request", "Cache-Control: public, max-age=60", "evil"), false},
		{"a 429", "", nil, answer("429 Too Many Requests", "Cache-Control: public, max-age=60", "evil"), false},
		{"a 511", "", nil, answer("511 Network Authentication Required", "Cache-Control: public, max-age=60", "evil"), false},
		{"a part of which the whole is as long", "", far, part("bytes 0-3/4", "4", "evil"), false},
		{"a part that is not what was asked for", "", far, part("bytes 0-3/4000000", "4", "evil"), false},
		{"a part that is longer than it says", "", far, part("bytes 2000000-2000003/4000000", "8", "evilevil"), false},
		{"a part that is shorter than it says", "", far, part("bytes 2000000-2000099/4000000", "4", "evil"), false},
		{"a part that ends before it begins", "", far, part("bytes 2000003-2000000/4000000", "4", "evil"), false},
		{"a part beyond the end", "", far, part("bytes 2000000-2000003/100", "4", "evil"), false},
		{"a part without a place", "", far, answer("206 Partial Content", "Cache-Control: max-age=60", "evil"), false},
		{"parts in one", "", far, answer("206 Partial Content", "Cache-Control: max-age=60\nContent-Type: multipart/byteranges; boundary=a", "--a\r\nContent-Range: bytes 0-3/4\r\n\r\nevil\r\n--a--\r\n"), false},
		{"two places of a part", "", far, answer("206 Partial Content", "Cache-Control: max-age=60\nContent-Range: bytes 2000000-2000003/4000000\nContent-Range: bytes 0-3/4", "evil"), false},
		{"an age beyond all numbers", "", nil, fresh("Age: 99999999999999999999", "evil"), false},
		{"an age that is none", "", nil, fresh("Age: evil", "evil"), false},
		{"two ages", "", nil, fresh("Age: 0\nAge: 4000", "evil"), false},
		{"a Date of an hour ago", "", nil, fresh("Date: "+date(-time.Hour), "evil"), false},
		{"a Date of tomorrow and an Expires of yesterday", "", nil, answer("200 OK", "Date: "+date(24*time.Hour)+"\nExpires: "+date(-24*time.Hour), "evil"), false},
		{"an Expires that is none", "", nil, answer("200 OK", "Expires: 0", "evil"), false},
		{"two Expires, one of yesterday", "", nil, answer("200 OK", "Expires: "+date(time.Hour)+"\nExpires: "+date(-24*time.Hour), "evil"), false},
		{"a lifetime below 0", "", nil, answer("200 OK", "Cache-Control: max-age=-60", "evil"), false},
		{"two lifetimes, one of them 0", "", nil, answer("200 OK", "Cache-Control: max-age=60, max-age=0", "evil"), false},
		{"a lifetime with a fraction", "", nil, answer("200 OK", "Cache-Control: max-age=0.9", "evil"), false},
	}
}

// TestLies: the attacker has the origin answer with a lie once; no other client gets it.
func TestLies(t *testing.T) {
	b := start(t, nil)
	for _, l := range lies() {
		t.Run(l.name, func(t *testing.T) {
			if l.service == "" {
				l.service = "plain"
			}
			place := b.place(l.service) + "/account/a.css"
			b.origin.reset(first(l.answer, good))
			b.raw(t, request(place, l.attack...), 1)
			if b.origin.count() == 0 {
				t.Fatal("the origin was not asked, which shows nothing")
			}
			for range 2 {
				if g := b.raw(t, request(place), 1); g.status != 200 || !g.whole || g.evil() || !l.kept && g.body != "good" {
					t.Fatalf("the victim got %v", g)
				}
			}
			if g := b.raw(t, request(place, "Range: bytes=2000000-2000003"), 1); g.evil() {
				t.Errorf("who asked for a range got %v", g)
			}
			if g := b.raw(t, request(place), 1); !strings.HasPrefix(g.header.Get("Cache-Status"), "Penstock; hit") {
				t.Errorf("nothing is stored, which shows nothing: %v", g)
			}
		})
	}
}

// TestValidation: an origin that lies about what is current.
func TestValidation(t *testing.T) {
	b := start(t, nil)
	stale := func(tag, body string) string {
		return answer("200 OK", "Cache-Control: max-age=0\nETag: "+tag, body)
	}
	tests := map[string]struct {
		stored, update string // the first two answers
		victim         []string
	}{
		"a 304 of another version":                 {stale(`"a"`, "evil"), "HTTP/1.1 304 Not Modified\r\nETag: \"b\"\r\nCache-Control: max-age=60\r\n\r\n", nil},
		"a 304 of the same tag, weak":              {stale(`"a"`, "evil"), "HTTP/1.1 304 Not Modified\r\nETag: W/\"c\"\r\nCache-Control: max-age=60\r\n\r\n", nil},
		"a 304 that sets a cookie":                 {stale(`"a"`, "good"), "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nCache-Control: max-age=60\r\nSet-Cookie: evil=1\r\n\r\n", nil},
		"a 304 that turns it private":              {stale(`"a"`, "good"), "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nCache-Control: private, max-age=60\r\nX-Evil: 1\r\n\r\n", nil},
		"a 304 that varies by what others say":     {stale(`"a"`, "good"), "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nCache-Control: max-age=60\r\nVary: X-Who\r\nX-Evil: 1\r\n\r\n", []string{"X-Who: me"}},
		"a 304 with a field that Connection names": {stale(`"a"`, "good"), "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nCache-Control: max-age=60\r\nConnection: X-Evil\r\nX-Evil: 1\r\n\r\n", nil},
		"a 304 with another length and coding":     {stale(`"a"`, "good"), "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nCache-Control: max-age=60\r\nContent-Length: 2\r\nContent-Encoding: evil\r\nContent-Range: evil\r\n\r\n", nil},
		"a part in the place of a 304":             {stale(`"a"`, "good"), "HTTP/1.1 206 Partial Content\r\nETag: \"a\"\r\nCache-Control: max-age=60\r\nContent-Range: bytes 0-3/4\r\nContent-Length: 4\r\n\r\nevil", nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			place := b.place("plain")
			b.origin.reset(func(a *asked) string {
				switch a.n {
				case 1:
					return test.stored
				case 2:
					return test.update
				}
				return good
			})
			b.raw(t, request(place), 1)
			b.raw(t, request(place), 1)
			if n := b.origin.count(); n < 2 {
				t.Fatal("it was not validated, which shows nothing")
			}
			for range 2 {
				if g := b.raw(t, request(place, test.victim...), 1); g.status != 200 || !g.whole || g.evil() || g.body != "good" {
					t.Fatalf("the victim got %v", g)
				}
			}
		})
	}
}

// TestCompletion: what was cut is completed with bytes of the same version, or not at all.
func TestCompletion(t *testing.T) {
	b := start(t, nil)
	const half = 128 << 10
	head := func(status, tag, fields string, length int) string {
		return fmt.Sprintf("HTTP/1.1 %s\r\nCache-Control: max-age=60\r\nETag: %s\r\n%sContent-Length: %d\r\n\r\n", status, tag, fields, length)
	}
	cut := head("200 OK", `"a"`, "", 2*half) + strings.Repeat("a", half) + "<close>"
	rest := fmt.Sprintf("Content-Range: bytes %d-%d/%d\r\n", half, 2*half-1, 2*half)
	others := strings.Repeat("b", half)
	whole := head("200 OK", `"b"`, "", 2*half) + others + others
	for name, second := range map[string]string{
		"another version":                    head("206 Partial Content", `"b"`, rest, half) + others,
		"a weak tag":                         head("206 Partial Content", `W/"a"`, rest, half) + others,
		"another place":                      head("206 Partial Content", `"a"`, fmt.Sprintf("Content-Range: bytes %d-%d/%d\r\n", half+1, 2*half-1, 2*half), half-1) + others[1:],
		"another size of the whole":          head("206 Partial Content", `"a"`, fmt.Sprintf("Content-Range: bytes %d-%d/%d\r\n", half, 2*half-1, 2*half+9), half) + others,
		"another coding":                     head("206 Partial Content", `"a"`, rest+"Content-Encoding: gzip\r\n", half) + others,
		"less than it says":                  head("206 Partial Content", `"a"`, rest, half) + others[:9] + "<close>",
		"less than it says, in chunks":       "HTTP/1.1 206 Partial Content\r\nCache-Control: max-age=60\r\nETag: \"a\"\r\n" + rest + "Transfer-Encoding: chunked\r\n\r\n1\r\nb\r\n0\r\n\r\n",
		"more than it says, in chunks":       "HTTP/1.1 206 Partial Content\r\nCache-Control: max-age=60\r\nETag: \"a\"\r\n" + rest + "Transfer-Encoding: chunked\r\n\r\n20001\r\n" + others + "b\r\n0\r\n\r\n",
		"a range that cannot be satisfied":   answer("416 Range Not Satisfiable", "Cache-Control: max-age=60", "evil"),
		"the whole of another version":       whole,
		"the end of a body that is not ours": head("200 OK", `"a"`, "", half) + others,
	} {
		t.Run(name, func(t *testing.T) {
			b.origin.reset(func(a *asked) string {
				switch a.n {
				case 1:
					return cut
				case 2:
					if a.Header.Get("Range") != fmt.Sprintf("bytes=%d-", half) {
						t.Errorf("the origin was asked for %q; want the rest", a.Header.Get("Range"))
					}
					return second
				}
				return whole
			})
			place := b.place("plain")
			if g := b.raw(t, request(place), 1); g.whole {
				t.Fatalf("what was cut looks whole: %v", g)
			}
			for range 3 {
				g := b.raw(t, request(place), 1)
				if g.whole && strings.Contains(g.body, "a") || g.evil() || g.whole && g.status != 200 && g.status != 502 {
					t.Fatalf("a client got %v", g)
				}
			}
			if g := b.raw(t, request(place), 1); !g.whole || g.status != 200 || strings.Trim(g.body, "b") != "" {
				t.Errorf("in the end a client got %v", g)
			}
		})
	}
}
