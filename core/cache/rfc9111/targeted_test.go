package rfc9111

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/core/exchange"
)

// RFC 9213, 2.
func TestTargeted(t *testing.T) {
	minute := func(lines ...string) *exchange.Header { return header(append(lines, "Date: "+at(0))...) }
	tests := map[string]struct {
		h        *exchange.Header
		lifetime time.Duration // of what is stored
		reason   string        // or why not
	}{
		"it takes the place of cache-control":       {h: minute("CDN-Cache-Control: max-age=60", "Cache-Control: no-store"), lifetime: time.Minute},
		"it takes the place of expires":             {h: minute("CDN-Cache-Control: max-age=60", "Expires: 0"), lifetime: time.Minute},
		"expires does not count beside it":          {h: minute("CDN-Cache-Control: foo", "Expires: "+at(900)), reason: ReasonNoFreshness},
		"no-store in it":                            {h: minute("CDN-Cache-Control: no-store", "Cache-Control: max-age=60"), reason: ReasonNoStore},
		"an empty one does not count":               {h: minute("CDN-Cache-Control:", "Cache-Control: max-age=60"), lifetime: time.Minute},
		"one that cannot be read does not count":    {h: minute("CDN-Cache-Control: max-age=60,", "Cache-Control: no-store"), reason: ReasonNoStore},
		"an upper-case name cannot be read":         {h: minute("CDN-Cache-Control: Max-Age=600", "Cache-Control: max-age=60"), lifetime: time.Minute},
		"a quote without end cannot be read":        {h: minute("CDN-Cache-Control: a=\"b", "Cache-Control: max-age=60"), lifetime: time.Minute},
		"a space before the equals sign":            {h: minute("CDN-Cache-Control: max-age =600", "Cache-Control: max-age=60"), lifetime: time.Minute},
		"no-cache in a line that cannot be read":    {h: minute("CDN-Cache-Control: max-age=600", "CDN-Cache-Control: (", "Cache-Control: max-age=60"), lifetime: time.Minute},
		"parameters do not count":                   {h: minute("CDN-Cache-Control: max-age=60;max-age=900;b=\"c,d\";e=?1"), lifetime: time.Minute},
		"a negative lifetime is stale":              {h: minute("CDN-Cache-Control: max-age=-60", "Cache-Control: max-age=60"), reason: ReasonStale},
		"a decimal lifetime is stale":               {h: minute("CDN-Cache-Control: max-age=60.0", "Cache-Control: max-age=60"), reason: ReasonStale},
		"a true lifetime is stale":                  {h: minute("CDN-Cache-Control: max-age", "Cache-Control: max-age=60"), reason: ReasonStale},
		"a lifetime that is a list is stale":        {h: minute("CDN-Cache-Control: max-age=(60 61)", "Cache-Control: max-age=60"), reason: ReasonStale},
		"a false directive was not said":            {h: minute("CDN-Cache-Control: max-age=60, no-store=?0"), lifetime: time.Minute},
		"a true directive was":                      {h: minute("CDN-Cache-Control: max-age=60, no-store=?1"), reason: ReasonNoStore},
		"private with names":                        {h: minute("CDN-Cache-Control: max-age=60, private=\"x-a\""), lifetime: time.Minute},
		"private that is a date":                    {h: minute("CDN-Cache-Control: max-age=60, private=@5"), reason: ReasonPrivate},
		"other kinds of values are skipped":         {h: minute("CDN-Cache-Control: a=:aGk=:, b=%\"f%c3%bc\", c=@1, d=tok/en, e=-1.5, f=(1 \"a\";b), max-age=60"), lifetime: time.Minute},
		"several lines are one dictionary":          {h: minute("CDN-Cache-Control: foo", "CDN-Cache-Control: max-age=60"), lifetime: time.Minute},
		"the lesser of two lifetimes":               {h: minute("CDN-Cache-Control: max-age=60, max-age=600"), lifetime: time.Minute},
		"Surrogate-Control is none of ours":         {h: minute("Surrogate-Control: no-store", "Cache-Control: max-age=60"), lifetime: time.Minute},
		"an integer of sixteen digits is no number": {h: minute("CDN-Cache-Control: max-age=1000000000000000", "Cache-Control: max-age=60"), lifetime: time.Minute},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f, ok, reason := Store([]byte("GET"), false, RequestDirectives{}, 200, tt.h, start, start, &Options{})
			if ok != (tt.reason == "") || reason != tt.reason || f.Lifetime != tt.lifetime {
				t.Errorf("got %v, %q; want %v, %q", f.Lifetime, reason, tt.lifetime, tt.reason)
			}
		})
	}
}

// dictionaryGrammar is RFC 9651's dictionary as one expression.
var dictionaryGrammar = func() *regexp.Regexp {
	const (
		key   = `[a-z*][a-z0-9_.*-]*`
		bare  = `(?:-?[0-9]{1,12}\.[0-9]{1,3}|-?[0-9]{1,15}|"(?:[ !#-\[\]-~]|\\["\\])*"|[A-Za-z*][!#$%&'*+.^_` + "`" + `|~0-9A-Za-z:/-]*|:[A-Za-z0-9+/=]*:|\?[01]|@-?[0-9]{1,15}|%"(?:[ !#$&-~]|%[0-9a-f]{2})*")`
		param = `(?:; *` + key + `(?:=` + bare + `)?)*`
		list  = `\( *(?:` + bare + param + `(?: +` + bare + param + `)* *)?\)`
		one   = key + `(?:=(?:` + bare + `|` + list + `))?` + param
	)
	return regexp.MustCompile(`^ *` + one + `(?:[ \t]*,[ \t]*` + one + `)*[ \t]*$`)
}()

// FuzzTargeted: a field is read if the grammar matches it, and only then; and one that is
// read and says no-store or private in any way is heeded.
func FuzzTargeted(f *testing.F) {
	for _, s := range []string{
		"max-age=60", "max-age=60;a=?1, private=\"x\"", "a=(1 \"b\";c);d, e", "a=1.5,b=-1", "a=:aGk=:;b=@-5", "a=%\"f%c3\"", "a=b/c:d ,\tno-store", "A=1", "a=(", "a,", "no-store=?0", "a=1.", "a=@1.5", "a=( )",
		"a=?", "a=?2", "a=?1", "a=tok:en/z{", "a=b c", "a=:az/+09AZ=:", "a=:a-b:", "a=:ab", "a=:a\x7f:", "a=%\" ~\"", "a=%\"%af\"", "a=%\"%aF\"", "a=%\"%0\"", "a=%\"%", "a=%\"\x1f\"", "a=%\"\x7f\"",
		"a=%a", "a0_.-*=1", "0a=1", "_a", "-a", "a_=1, z=9", "a=123456789012345", "a=1234567890123456", "a=123456789012.123", "a=1234567890123.1", "a=1.1234", "a=-", "a=--1", "a=9.9", "a=@", "a=@-9", "a=@x",
		"a=\"\\\"\"", "a=\"\\\\\"", "a=\"\\x\"", "a=\"\\", "a=\"\x1f\"", "a=\"~ \"", "a=\"\x7f\"", "a=(1 2)", "a=(1  2 )", "a=(1\"b\")", "a=(1;x=2 3)", "a=(1;)", "a=(1", "a=(a\t)", "a;", "a;b=", "a; b", "a;\tb",
		" a", "\ta", "a ", "a\t,\tb", "a=", "a==1", "a b", "a,,b", ",a", "a=~", "a=A~1",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if s == "" || len(s) > 4000 {
			return
		}
		h := header()
		h.Add([]byte("CDN-Cache-Control"), []byte(s))
		var d response
		d.read(h)
		if want := dictionaryGrammar.MatchString(s); d.targeted != want {
			t.Fatalf("%q: read %v; want %v", s, d.targeted, want)
		}
		if !d.targeted || strings.ContainsAny(s, "\"(;") {
			return
		}
		for m := range strings.SplitSeq(s, ",") {
			name, v, has := strings.Cut(strings.Trim(m, " \t"), "=")
			if name == "no-store" && v != "?0" && !d.noStore || name == "private" && !has && !d.private || name == "max-age" && d.maxAge == 0 && v != "?0" {
				t.Fatalf("%q: %s is lost", s, m)
			}
		}
	})
}
