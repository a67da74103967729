package poison

import (
	"fmt"
	"strings"
	"testing"
)

// confusion is an attack by a target that the cache might take for the victim's. $P
// stands for the row's path.
type confusion struct {
	name           string
	service        string
	attack, victim string // targets
	seen           string // what the origin must be asked for by the victim's; empty: victim
}

func confusions() []confusion {
	long := strings.Repeat("utm=1&", 300)
	return []confusion{
		{"a parameter behind a semicolon", "plain", "$P?a=1;b=evil", "$P?a=1", ""},
		{"a parameter behind an encoded ampersand", "plain", "$P?a=1%26b=evil", "$P?a=1", ""},
		{"a parameter behind an encoded semicolon", "plain", "$P?a=1%3Bb=evil", "$P?a=1", ""},
		{"a second question mark", "plain", "$P?a=1?b=evil", "$P?a=1", ""},
		{"a parameter twice", "plain", "$P?a=1&a=evil", "$P?a=1", ""},
		{"an encoded name", "plain", "$P?%61=evil", "$P?a=1", ""},
		{"a query that is empty", "plain", "$P/a?", "$P/a", ""},
		{"a parameter that does not count", "deny", "$P?a=1&utm=evil", "$P?a=1", ""},
		{"one that does not count, encoded", "deny", "$P?a=1&%75tm=evil", "$P?a=1", ""},
		{"one that does not count, in front", "deny", "$P?utm=evil&a=1", "$P?a=1", ""},
		{"one behind a semicolon in one that does not count", "deny", "$P?utm=1;a=evil", "$P?utm=1", "$P"},
		{"one behind a question mark in one that does not count", "deny", "$P?utm=1?a=evil", "$P", ""},
		{"one behind an encoded ampersand in one that does not count", "deny", "$P?utm=1%26a=evil", "$P", ""},
		{"one with the name in upper case", "deny", "$P?UTM=evil", "$P", ""},
		{"one with brackets behind the name", "deny", "$P?utm[]=evil", "$P", ""},
		{"one with a NUL behind the name", "deny", "$P?utm%00=evil", "$P", ""},
		{"one that is encoded twice", "deny", "$P?%2575tm=evil", "$P", ""},
		{"one whose encoding breaks off", "deny", "$P?utm%7=evil", "$P", ""},
		{"a method by a parameter that does not count", "deny", "$P?_method=EVIL", "$P", ""},
		{"more parameters than are put in order", "deny", "$P?" + long + "evil=1", "$P", ""},
		{"a query longer than a key may be", "plain", "$P?" + strings.Repeat("evil", 2500), "$P", ""},
		{"one that counts, twice", "allow", "$P?id=1&id=evil", "$P?id=1", ""},
		{"one that counts, a second time encoded", "allow", "$P?id=1&%69d=evil", "$P?id=1", ""},
		{"one that counts, in upper case", "allow", "$P?id=1&ID=evil", "$P?id=1", ""},
		{"one that counts, behind a semicolon", "allow", "$P?id=1&x=1;id=evil", "$P?id=1", ""},
		{"a query where none counts", "none", "$P?a=evil", "$P", ""},
		{"a second slash", "plain", "$P//a?evil", "$P/a", ""},
		{"a second slash in front", "plain", "/$P/a?evil", "$P/a", ""},
		{"a dot segment", "plain", "$P/./a", "$P/a", ""},
		{"two dots, encoded", "plain", "$P/evil/%2e%2e/a", "$P/a", ""},
		{"two dots with an encoded slash", "plain", "$P/evil/..%2Fa", "$P/a", ""},
		{"two dots with a backslash", "plain", `$P/evil/..\a`, "$P/a", ""},
		{"two dots with an encoded backslash", "plain", "$P/evil/..%5ca", "$P/a", ""},
		{"two dots, encoded twice", "plain", "$P/evil/%252e%252e/a", "$P/a", ""},
		{"two dots with a path parameter", "plain", "$P/evil/..;/a", "$P/a", ""},
		{"an encoded slash", "plain", "$P%2Fa?", "$P/a", ""},
		{"a backslash", "plain", `$P\a`, "$P/a", ""},
		{"an encoded backslash", "plain", "$P%5ca", "$P/a", ""},
		{"a path parameter", "plain", "$P/a;jsessionid=evil", "$P/a", ""},
		{"a dot at the end", "plain", "$P/a.", "$P/a", ""},
		{"a slash at the end", "plain", "$P/a/", "$P/a", ""},
		{"an encoded NUL", "plain", "$P/a%00.css", "$P/a", ""},
		{"an encoded line end", "plain", "$P/a%0d%0aX-Evil:1", "$P/a", ""},
		{"an encoded question mark", "plain", "$P/a%3fevil", "$P/a", ""},
		{"an encoded fragment", "plain", "$P/a%23evil", "$P/a", ""},
		{"a fragment", "plain", "$P/a#evil", "$P/a", ""},
		{"another case", "plain", "$P/A", "$P/a", ""},
		{"an encoded letter", "plain", "$P/%61", "$P/a", ""},
		{"a plus for a space", "plain", "$P/a+b", "$P/a%20b", ""},
	}
}

// TestTargets: the victim gets what the origin says of its own target, whatever another
// one was fetched for before.
func TestTargets(t *testing.T) {
	b := start(t, nil)
	for _, a := range confusions() {
		t.Run(a.name, func(t *testing.T) {
			place := b.place(a.service)
			on := func(target string) string { return strings.ReplaceAll(target, "$P", place) }
			b.origin.reset(nil)
			b.raw(t, request(on(a.attack)), 1)
			if a.seen == "" {
				a.seen = a.victim
			}
			for range 2 {
				g := b.raw(t, request(on(a.victim)), 1)
				if want := "M=GET T=" + on(a.seen) + " H=shop.example "; g.status != 200 || !g.whole || g.evil() || !strings.HasPrefix(g.body, want) {
					t.Fatalf("the victim got %v; want %q", g, want)
				}
			}
		})
	}
}

// TestRequests: whole requests that might store something under the key of a victim's
// plain GET.
func TestRequests(t *testing.T) {
	b := start(t, nil)
	get := func(line, fields string) string { return line + " HTTP/1.1\n" + fields + "\n\n" }
	tests := map[string]struct {
		attack  string
		answers int // 0: 1
		origin  func(*asked) string
	}{
		"an absolute target with another authority": {get("GET http://evil.example$P", "Host: shop.example"), 0, nil},
		"an absolute target with user information":  {get("GET http://evil@shop.example$P", "Host: shop.example"), 0, nil},
		"an absolute target of another scheme":      {get("GET https://shop.example$P?", "Host: shop.example\nX-Evil: evil"), 0, nil},
		"a hostname with another port":              {get("GET $P", "Host: shop.example:6666\nX-Evil: evil"), 0, nil},
		"a hostname with a final dot":               {get("GET $P", "Host: shop.example.\nX-Evil: evil"), 0, nil},
		"a port that is no number":                  {get("GET $P", "Host: shop.example:evil"), 0, nil},
		"two hostnames":                             {get("GET $P", "Host: shop.example\nHost: evil.example"), 0, nil},
		"two hostnames in one":                      {get("GET $P", "Host: shop.example,evil.example"), 0, nil},
		"a hostname behind a space":                 {get("GET $P", "Host: shop.example evil.example"), 0, nil},
		"a hostname on a folded line":               {get("GET $P", "Host: shop.example\n evil.example"), 0, nil},
		"a hostname before a space and a colon":     {get("GET $P", "Host: shop.example\nHost : evil.example"), 0, nil},
		"a hostname with a path":                    {get("GET $P", "Host: shop.example/evil"), 0, nil},
		"a GET with a body":                         {get("GET $P", "Host: shop.example\nContent-Length: 4") + "evil", 0, nil},
		"a GET with a body in chunks":               {get("GET $P", "Host: shop.example\nTransfer-Encoding: chunked") + "4\nevil\n0\n\n", 0, nil},
		"a GET with the body of a form":             {get("GET $P", "Host: shop.example\nContent-Type: application/x-www-form-urlencoded\nContent-Length: 6") + "a=evil", 0, nil},
		"a HEAD":                                    {get("HEAD $P", "Host: shop.example\nX-Evil: evil"), 0, nil},
		"a HEAD whose answer has a body":            {get("HEAD $P", "Host: shop.example"), 0, first(fresh("", "evil"), good)},
		"an OPTIONS":                                {get("OPTIONS $P", "Host: shop.example\nX-Evil: evil"), 0, nil},
		"a POST that is answered for all":           {get("POST $P", "Host: shop.example\nContent-Length: 4") + "evil", 0, nil},
		"a POST that names the target": {get("POST $P", "Host: shop.example\nContent-Length: 4") + "evil", 0, func(a *asked) string {
			if a.Method == "POST" {
				return fresh("Content-Location: "+a.RequestURI, shown(a))
			}
			return good
		}},
		"a method of its own":                        {get("EVIL $P", "Host: shop.example"), 0, nil},
		"a method in lower case":                     {get("get $P", "Host: shop.example\nX-Evil: evil"), 0, nil},
		"HTTP/1.0":                                   {"GET $P?x HTTP/1.0\nHost: shop.example\nX-Evil: evil\n\n", 0, nil},
		"a second request behind the first":          {get("GET $P?1", "Host: shop.example\nContent-Length: 0") + get("GET $P?2", "Host: shop.example\nX-Evil: evil"), 2, nil},
		"a length and chunks, and a request in them": {get("POST $P", "Host: shop.example\nContent-Length: 6\nTransfer-Encoding: chunked") + "0\n\n" + get("GET $P", "Host: shop.example\nX-Evil: evil"), 2, nil},
		"two lengths, and a request behind one":      {get("POST $P", "Host: shop.example\nContent-Length: 0\nContent-Length: 70") + get("GET $P", "Host: shop.example\nX-Evil: evil"), 2, nil},
		"a coding that is chunked only nearly":       {get("POST $P", "Host: shop.example\nContent-Length: 4\nTransfer-Encoding: xchunked") + "evil" + get("GET $P", "Host: shop.example\nX-Evil: evil"), 2, nil},
		"a bare line feed in a value":                {get("GET $P", "Host: shop.example\nX-A: 1<LF>Host: evil.example"), 0, nil},
		"a bare carriage return in a value":          {get("GET $P", "Host: shop.example\nX-A: 1\rX-Evil: evil"), 0, nil},
		"a NUL in a value":                           {get("GET $P", "Host: shop.example\nX-A: evil\x00"), 0, nil},
		"a NUL in the target":                        {get("GET $P\x00evil", "Host: shop.example"), 0, nil},
		"a space in the target":                      {get("GET $P evil", "Host: shop.example"), 0, nil},
		"an upgrade to a websocket":                  {get("GET $P", "Host: shop.example\nConnection: upgrade\nUpgrade: websocket\nSec-WebSocket-Key: ZXZpbGV2aWxldmlsZXZpbA==\nSec-WebSocket-Version: 13"), 0, first(fresh("", "evil"), good)},
		"an expectation": {get("GET $P", "Host: shop.example\nExpect: evil"), 0, func(a *asked) string {
			if a.Header.Get("Expect") != "" {
				return answer("417 Expectation Failed", "Cache-Control: max-age=60", "evil")
			}
			return good
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			place := b.place("plain")
			origin := test.origin
			if origin == nil {
				origin = func(a *asked) string { // what is no plain GET of the target is evil
					if a.Method != "GET" || a.Host != "shop.example" || a.body != "" || a.Header.Get("X-Evil") != "" || a.RequestURI != place {
						return fresh("", "evil "+shown(a))
					}
					return good
				}
			}
			b.origin.reset(origin)
			attack := strings.ReplaceAll(test.attack, "$P", place)
			attack = strings.ReplaceAll(attack, "<LF>", "\n")
			b.raw(t, attack, max(test.answers, 1))
			for range 2 {
				if g := b.raw(t, request(place), 1); g.status != 200 || g.body != "good" || !g.whole || g.evil() {
					t.Fatalf("the victim got %v", g)
				}
			}
			if g := b.raw(t, request(place), 1); !strings.HasPrefix(g.header.Get("Cache-Status"), "Penstock; hit") {
				t.Errorf("nothing is stored, which shows nothing: %v", g)
			}
		})
	}
}

// TestHeadRevalidates: a HEAD for what is stale does not put an answer without a body in
// its place, nor does one that is refreshed behind it.
func TestHeadRevalidates(t *testing.T) {
	b := start(t, nil)
	for name, control := range map[string]string{
		"must be asked for": "max-age=0, must-revalidate", "may be served stale": "max-age=0, stale-while-revalidate=60",
	} {
		for _, length := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, length known: %v", name, length), func(t *testing.T) {
				b.origin.reset(func(a *asked) string {
					body := fmt.Sprintf("good %d", a.n)
					head := fmt.Sprintf("HTTP/1.1 200 OK\r\nCache-Control: %s\r\nETag: \"%d\"\r\n", control, a.n)
					if a.Method == "HEAD" {
						body = ""
					}
					if length {
						return head + fmt.Sprintf("Content-Length: 6\r\n\r\n%s", body)
					}
					if body == "" {
						return head + "Transfer-Encoding: chunked\r\n\r\n"
					}
					return head + "Transfer-Encoding: chunked\r\n\r\n6\r\n" + body + "\r\n0\r\n\r\n"
				})
				place := b.place("plain")
				b.raw(t, request(place), 1)
				for range 3 {
					if g := b.raw(t, "HEAD"+strings.TrimPrefix(request(place), "GET"), 1); g.status != 200 || g.body != "" || g.header.Get("Content-Length") == "0" {
						t.Errorf("the HEAD got %v", g)
					}
					if g := b.raw(t, request(place), 1); g.status != 200 || !g.whole || !strings.HasPrefix(g.body, "good ") {
						t.Errorf("the victim got %v", g)
					}
				}
			})
		}
	}
}
