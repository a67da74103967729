package poison

import (
	"strings"
	"testing"
)

// unkeyed is an attack by fields of a GET that are no part of the key.
type unkeyed struct {
	name   string
	fields [][2]string
	// origin answers evil because of them; nil: it mirrors what it is asked.
	origin func(*asked) string
	// only is the one version that can say it; empty: all.
	only string
}

// when answers with evil if the request has a field.
func when(field, evil string) func(*asked) string {
	return func(a *asked) string {
		if a.Header.Get(field) != "" {
			return evil
		}
		return good
	}
}

func fieldAttacks() []unkeyed {
	one := func(name, value string) [][2]string { return [][2]string{{name, value}} }
	long := strings.Repeat("evil", 3000)
	return []unkeyed{
		{"a stranger's X-Forwarded-Host", one("X-Forwarded-Host", "evil.example"), nil, ""},
		{"a stranger's X-Forwarded-Scheme", one("X-Forwarded-Scheme", "evil"), nil, ""},
		{"a stranger's X-Forwarded-Proto", one("X-Forwarded-Proto", "evil"), nil, ""},
		{"a stranger's X-Forwarded-Port", one("X-Forwarded-Port", "evil"), nil, ""},
		{"a stranger's X-Forwarded-For", one("X-Forwarded-For", "evil"), nil, ""},
		{"a stranger's X-Forwarded-Server", one("X-Forwarded-Server", "evil"), nil, ""},
		{"a stranger's X-Forwarded-Prefix", one("X-Forwarded-Prefix", "/evil"), nil, ""},
		{"underscores for dashes in X-Forwarded-Host", one("X_Forwarded_Host", "evil"), nil, ""},
		{"a stranger's Forwarded", one("Forwarded", "host=evil.example"), nil, ""},
		{"a stranger's X-Real-IP", one("X-Real-Ip", "evil"), nil, ""},
		{"a stranger's Client-Cert", one("Client-Cert", ":evil:"), nil, ""},
		{"a stranger's consumer", one("X-Consumer-Username", "evil"), nil, ""},
		{"another target by X-Original-URL", one("X-Original-Url", "/evil"), nil, ""},
		{"another target by X-Rewrite-URL", one("X-Rewrite-Url", "/evil"), nil, ""},
		{"another target by X_Original_URL", one("X_Original_Url", "/evil"), nil, ""},
		{"another hostname by X-Host", one("X-Host", "evil.example"), nil, ""},
		{"another hostname by X-Original-Host", one("X-Original-Host", "evil.example"), nil, ""},
		{"another hostname by X-HTTP-Host-Override", one("X-Http-Host-Override", "evil.example"), nil, ""},
		{"another method by X-HTTP-Method-Override", one("X-Http-Method-Override", "EVIL"), nil, ""},
		{"another method by X-HTTP-Method", one("X-Http-Method", "EVIL"), nil, ""},
		{"another method by X-Method-Override", one("X-Method-Override", "EVIL"), nil, ""},
		{"another method by X_HTTP_METHOD_OVERRIDE", one("X_HTTP_METHOD_OVERRIDE", "EVIL"), nil, ""},
		{"a Range that the origin answers with a 404 for all", one("Range", "bytes=99999999-"), when("Range", answer("404 Not Found", "Cache-Control: max-age=60", "evil")), ""},
		{"a Range that is nonsense", one("Range", "bytes=evil"), when("Range", answer("400 Bad Request", "Cache-Control: max-age=60", "evil")), ""},
		{"a Range in a unit of its own", one("Range", "evil=0-1"), when("Range", answer("206 Partial Content", "Cache-Control: max-age=60\nContent-Range: evil 0-1/2", "ev")), ""},
		{"a Range beyond all numbers", one("Range", "bytes=99999999999999999999999-"), when("Range", answer("416 Range Not Satisfiable", "Cache-Control: max-age=60", "evil")), ""},
		{"an If-None-Match that anything meets", one("If-None-Match", "*"), when("If-None-Match", "HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=60\r\nX-Evil: 1\r\n\r\n"), ""},
		{"an If-Match that nothing meets", one("If-Match", `"evil"`), when("If-Match", answer("412 Precondition Failed", "Cache-Control: max-age=60", "evil")), ""},
		{"an If-Modified-Since of tomorrow", one("If-Modified-Since", "Mon, 01 Jan 2035 00:00:00 GMT"), when("If-Modified-Since", "HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=60\r\nX-Evil: 1\r\n\r\n"), ""},
		{"an If-Unmodified-Since of long ago", one("If-Unmodified-Since", "Mon, 01 Jan 1990 00:00:00 GMT"), when("If-Unmodified-Since", answer("412 Precondition Failed", "Cache-Control: max-age=60", "evil")), ""},
		{"a coding that the victim cannot read, without Vary", one("Accept-Encoding", "gzip"), when("Accept-Encoding", fresh("Content-Encoding: gzip", "evil")), ""},
		{"a language, with Vary", one("Accept-Language", "evil"), when("Accept-Language", fresh("Vary: Accept-Language", "evil")), ""},
		{"a client's name, with Vary in upper case", one("User-Agent", "evil"), func(a *asked) string { return fresh("VARY: USER-AGENT", a.UserAgent()) }, ""},
		{"a Via, with Vary", one("Via", "1.1 evil"), func(a *asked) string { return fresh("Vary: Via", a.Header.Get("Via")) }, ""},
		{"an Origin that the origin lets in, with Vary", one("Origin", "https://evil.example"), func(a *asked) string {
			return fresh("Vary: Origin\nAccess-Control-Allow-Origin: "+a.Header.Get("Origin"), "good")
		}, ""},
		{"a Max-Forwards on a GET", one("Max-Forwards", "0"), when("Max-Forwards", fresh("", "evil")), ""},
		{"credentials", one("Authorization", "Basic ZXZpbA=="), when("Authorization", fresh("", "evil")), ""},
		{"a request that is not to be stored", one("Cache-Control", "no-store"), when("Cache-Control", fresh("", "evil")), ""},
		{"fields that the origin finds too large, and says so with a 400", one("X-Long", long), when("X-Long", answer("400 Bad Request", "Cache-Control: max-age=60", "evil")), ""},
		{"fields that the origin finds too large, and says so with a 431", one("X-Long", long), when("X-Long", answer("431 Request Header Fields Too Large", "Cache-Control: public, max-age=60", "evil")), ""},
		{"fields that the origin finds too large, and says so with a 413 and Vary", one("X-Long", long), when("X-Long", answer("413 Content Too Large", "Cache-Control: max-age=60\nVary: Accept", "evil")), ""},
		{"fields that the origin finds too large, and fails", one("X-Long", long), when("X-Long", answer("500 Internal Server Error", "Cache-Control: max-age=60", "evil")), ""},
		{"a cookie that the origin answers 404 to, with Vary", one("Cookie", "a=evil"), when("Cookie", answer("404 Not Found", "Cache-Control: max-age=60\nVary: Cookie", "evil")), ""},
		{"a bell in a value, to which the origin says 400", one("X-Bell", "a\aevil"), when("X-Bell", answer("400 Bad Request", "Cache-Control: max-age=60", "evil")), "HTTP/1.1"},
		{"fields that Connection takes away", [][2]string{{"Connection", "close, Host, Accept, X-Evil"}, {"X-Evil", "evil"}}, nil, "HTTP/1.1"},
		{"an upgrade to HTTP/2", [][2]string{{"Connection", "Upgrade, HTTP2-Settings"}, {"Upgrade", "h2c"}, {"HTTP2-Settings", "AAMAAABkAAQAAP__"}}, when("Upgrade", fresh("", "evil")), "HTTP/1.1"},
	}
}

// TestFields: the attacker sends fields with a GET, and the victim a GET without them.
func TestFields(t *testing.T) {
	b := start(t, nil)
	for version, get := range b.versions() {
		for _, a := range fieldAttacks() {
			if a.only != "" && a.only != version {
				continue
			}
			t.Run(version+", "+a.name, func(t *testing.T) {
				b.origin.reset(a.origin)
				target := b.place("plain")
				get(t, target, a.fields)
				for range 2 {
					if g := get(t, target, nil); g.status != 200 || !g.whole || g.evil() || g.body == "" && a.origin == nil {
						t.Fatalf("the victim got %v", g)
					}
				}
				if g := get(t, target, nil); !strings.HasPrefix(g.header.Get("Cache-Status"), "Penstock; hit") {
					t.Errorf("nothing is stored, which shows nothing: %v", g)
				}
			})
		}
	}
}
