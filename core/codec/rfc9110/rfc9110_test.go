package rfc9110

import (
	"testing"
	"time"
)

func TestNames(t *testing.T) {
	tests := map[string]struct{ hop, identity, protected, trails, trailsTrusted bool }{
		"Connection":        {hop: true},
		"te":                {hop: true},
		"Transfer-Encoding": {hop: true, protected: true},
		"Content-Length":    {hop: true, protected: true},
		"X-Forwarded-For":   {identity: true, protected: true, trailsTrusted: true},
		"x_forwarded_proto": {identity: true, protected: true, trailsTrusted: true},
		"X-Real-IP":         {identity: true, protected: true, trailsTrusted: true},
		"Forwarded":         {identity: true, protected: true, trailsTrusted: true},
		"Client-Cert-Chain": {identity: true, protected: true, trailsTrusted: true},
		"Cookie":            {protected: true},
		"Age":               {},
		"X-Sum":             {trails: true, trailsTrusted: true},
		"Forwarded-By-Me":   {trails: true, trailsTrusted: true},
	}
	for name, want := range tests {
		b := []byte(name)
		if Hop(b) != want.hop || Identity(b) != want.identity || Protected(b) != want.protected || MayTrail(b, false) != want.trails || MayTrail(b, true) != want.trailsTrusted {
			t.Errorf("%s: hop %v, identity %v, protected %v, trails %v, %v", name, Hop(b), Identity(b), Protected(b), MayTrail(b, false), MayTrail(b, true))
		}
	}
}

func TestGrammar(t *testing.T) {
	for text, want := range map[string]bool{
		"a": true, "a.example:80": true, "[::1]:8": true, "a:": true, "": false, "u@a": false, "a:65536": false, "[::g]": false, "[fe80::1%25e]": false, ":80": false,
	} {
		if got := ValidAuthority([]byte(text)); got != want {
			t.Errorf("authority %q: %v", text, got)
		}
	}
	for text, want := range map[string]bool{
		"a:1": true, "a.example:443": true, "[::1]:8": true, "1.2.3.4:65535": true, "A-b_c.:80": true,
		"": false, "a": false, "a:": false, ":80": false, "[::1]": false, "[::1]:": false, "::1:80": false, "[::1]80": false, "a:0": false, "a:080": false,
		"a:65536": false, "a:99999": false, "a:123456": false, "u@a:80": false, "a:80/": false, "a/b:80": false, "http://a:80": false, "a:b:80": false, "a:-1": false, "a:+1": false,
		"[fe80::1%25e]:80": false, "[1.2.3.4]:80": false, "a%41:80": false, "a:80,b:80": false,
	} {
		if got := ValidConnectTarget([]byte(text)); got != want {
			t.Errorf("target of a CONNECT %q: %v", text, got)
		}
	}
	for text, want := range map[string]bool{
		"": true, "plain text": true, "tab\tand \xff": true, "long enough for words\x00": false, "a\nb": false, "\x7f": false, "12345678\x01": false,
	} {
		if got := ValidValue([]byte(text)); got != want {
			t.Errorf("value %q: %v", text, got)
		}
	}
	for text, want := range map[string]bool{"/": true, "/%41": true, "/%4": false, "/%zz": false, "/?%zz": true} {
		if got := ValidEscapes([]byte(text)); got != want {
			t.Errorf("path %q: %v", text, got)
		}
	}
	for text, want := range map[string]int64{"0": 0, "007": 7, "123456789012345678": 123456789012345678, "": -1, "+1": -1, "1 ": -1, "1234567890123456789": -1} {
		n, ok := ParseLength([]byte(text))
		if ok != (want >= 0) || ok && n != want {
			t.Errorf("length %q: %d, %v", text, n, ok)
		}
	}
}

func TestDate(t *testing.T) {
	var d Date
	now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("", 3600))
	for range 2 {
		if got := string(d.AppendTo([]byte("x"), now)); got != "xFri, 02 Jan 2026 02:04:05 GMT" {
			t.Errorf("got %s", got)
		}
	}
	if n := testing.AllocsPerRun(10, func() { d.AppendTo(make([]byte, 0, 64), now) }); n != 0 {
		t.Errorf("%v allocations; want 0", n)
	}
}
