package rfc9111

import (
	"strings"
	"testing"
)

// RFC 9110, 13.1 and 13.2.2; RFC 9111, 4.3.2.
func TestConditional(t *testing.T) {
	strong, weak := []string{"ETag: \"abcdef\""}, []string{"ETag: W/\"abcdef\""}
	dated := []string{"Last-Modified: " + at(-3000)}
	rfc850 := start.Add(-3000 * 1e9).Format("Monday, 02-Jan-06 15:04:05 GMT")
	tests := map[string]struct {
		stored, request []string
		want            int
	}{
		"no condition":                                {strong, nil, 0},
		"If-None-Match: the tag":                      {strong, []string{"If-None-Match: \"abcdef\""}, 304},
		"If-None-Match: another":                      {strong, []string{"If-None-Match: \"abc\""}, 0},
		"If-None-Match: one in another case":          {strong, []string{"If-None-Match: \"ABCDEF\""}, 0},
		"If-None-Match: the first of several":         {strong, []string{"If-None-Match: \"abcdef\", \"1234\", \"5678\""}, 304},
		"If-None-Match: the second of several":        {strong, []string{"If-None-Match: \"1234\", \"abcdef\", \"5678\""}, 304},
		"If-None-Match: the last of several":          {strong, []string{"If-None-Match: \"1234\",\"5678\" , \"abcdef\""}, 304},
		"If-None-Match: on another line":              {strong, []string{"If-None-Match: \"1234\"", "If-None-Match: \"abcdef\""}, 304},
		"If-None-Match: weak where it is strong":      {strong, []string{"If-None-Match: W/\"abcdef\""}, 304},
		"If-None-Match: strong where it is weak":      {weak, []string{"If-None-Match: \"abcdef\""}, 304},
		"If-None-Match: weak where it is weak":        {weak, []string{"If-None-Match: W/\"abcdef\""}, 304},
		"If-None-Match: a small w":                    {weak, []string{"If-None-Match: w/\"abcdef\""}, 0},
		"If-None-Match: a star":                       {strong, []string{"If-None-Match: *"}, 304},
		"If-None-Match: a star, nothing stored":       {nil, []string{"If-None-Match: *"}, 304},
		"If-None-Match: a star among tags is none":    {strong, []string{"If-None-Match: \"a\", *"}, 0},
		"If-None-Match: a tag, none stored":           {dated, []string{"If-None-Match: \"abcdef\""}, 0},
		"If-None-Match: a comma in a tag":             {[]string{"ETag: \"a,b\""}, []string{"If-None-Match: \"x\", \"a,b\""}, 304},
		"If-None-Match: part of a tag with a comma":   {[]string{"ETag: \"b\""}, []string{"If-None-Match: \"a,\"b\""}, 0},
		"If-None-Match: bytes above ASCII":            {[]string{"ETag: \"abcdef\xfc\""}, []string{"If-None-Match: \"abcdef\xfc\""}, 304},
		"If-None-Match: unquoted, as it is stored":    {[]string{"ETag: abcdef"}, []string{"If-None-Match: abcdef"}, 304},
		"If-None-Match: unquoted, stored in quotes":   {strong, []string{"If-None-Match: abcdef"}, 0},
		"If-None-Match: empty":                        {strong, []string{"If-None-Match:"}, 0},
		"If-None-Match: a quote without end":          {strong, []string{"If-None-Match: \"abc, \"abcdef\""}, 304},
		"If-None-Match goes before If-Modified-Since": {append(strong, "Last-Modified: "+at(-5000)), []string{"If-None-Match: \"abcdef\"", "If-Modified-Since: " + at(-9000)}, 304},
		"and so if it does not hold":                  {append(strong, "Last-Modified: "+at(-5000)), []string{"If-None-Match: \"x\"", "If-Modified-Since: " + at(-1)}, 0},
		"If-Modified-Since: the date":                 {dated, []string{"If-Modified-Since: " + at(-3000)}, 304},
		"If-Modified-Since: a later one":              {dated, []string{"If-Modified-Since: " + at(-2000)}, 304},
		"If-Modified-Since: an earlier one":           {dated, []string{"If-Modified-Since: " + at(-3001)}, 0},
		"If-Modified-Since: the form of RFC 850":      {dated, []string{"If-Modified-Since: " + rfc850}, 304},
		"If-Modified-Since: what is no date":          {dated, []string{"If-Modified-Since: 2050"}, 0},
		"If-Modified-Since: twice":                    {dated, []string{"If-Modified-Since: " + at(0), "If-Modified-Since: " + at(0)}, 0},
		"If-Modified-Since: no date stored, Date":     {nil, []string{"If-Modified-Since: " + at(0)}, 304},
		"If-Modified-Since: before Date":              {nil, []string{"If-Modified-Since: " + at(-1)}, 0},
		"If-Modified-Since: a bad date stored, Date":  {[]string{"Last-Modified: x"}, []string{"If-Modified-Since: " + at(-1)}, 0},
		"If-Match: the tag":                           {strong, []string{"If-Match: \"abcdef\""}, 0},
		"If-Match: another":                           {strong, []string{"If-Match: \"x\""}, 412},
		"If-Match: weak":                              {strong, []string{"If-Match: W/\"abcdef\""}, 412},
		"If-Match: weak where it is weak":             {weak, []string{"If-Match: W/\"abcdef\""}, 412},
		"If-Match: a star":                            {dated, []string{"If-Match: *"}, 0},
		"If-Match: a tag, none stored":                {dated, []string{"If-Match: \"a\""}, 412},
		"If-Match, then If-None-Match":                {strong, []string{"If-Match: \"abcdef\"", "If-None-Match: \"abcdef\""}, 304},
		"If-Match goes before If-Unmodified-Since":    {append(strong, dated...), []string{"If-Match: \"abcdef\"", "If-Unmodified-Since: " + at(-9000)}, 0},
		"If-Unmodified-Since: the date":               {dated, []string{"If-Unmodified-Since: " + at(-3000)}, 0},
		"If-Unmodified-Since: an earlier one":         {dated, []string{"If-Unmodified-Since: " + at(-3001)}, 412},
		"If-Unmodified-Since: what is no date":        {dated, []string{"If-Unmodified-Since: x"}, 0},
	}
	get, f := []byte("GET"), Facts{Status: 200, Date: start.UnixMilli(), Received: start.UnixMilli()}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			q, stored := header(tt.request...), header(tt.stored...)
			if got := Conditional(get, q, stored, &f, true); got != tt.want {
				t.Errorf("got %d; want %d", got, tt.want)
			}
			// What the origin alone can judge does not count, and no range relies on it.
			if got := Conditional(get, q, stored, &f, false); got == 412 || tt.want != 412 && got != tt.want {
				t.Errorf("of a stored response: got %d", got)
			}
			q.Add([]byte("Range"), []byte("bytes=1-2"))
			if _, status := Range(q, stored, 10, &f); (status == 206) != (tt.want != 412) {
				t.Errorf("a range: got %d", status)
			}
		})
	}
	request := header("If-None-Match: *", "If-Match: \"x\"")
	if got := Conditional([]byte("HEAD"), header("If-None-Match: *"), header(), &f, true); got != 304 {
		t.Errorf("HEAD: got %d; want 304", got)
	}
	if got := Conditional([]byte("POST"), request, header(), &f, true); got != 0 {
		t.Errorf("POST: got %d; want 0", got)
	}
	for _, status := range []int{301, 404, 500} {
		if got := Conditional(get, request, header(), &Facts{Status: status}, true); got != 0 {
			t.Errorf("status %d: got %d; want 0", status, got)
		}
	}
}

// FuzzConditional: a list of tags that keeps the grammar holds those that it was made
// of, compared weakly, and no others.
func FuzzConditional(f *testing.F) {
	f.Add("a", "b,c", "d", true, false)
	f.Add("", "W/", "\x80", false, true)
	f.Fuzz(func(t *testing.T, a, b, c string, weakListed, weakStored bool) {
		for _, s := range []string{a, b, c} {
			if strings.ContainsFunc(s, func(r rune) bool { return r < 0x21 || r == '"' || r == 0x7f }) {
				return
			}
		}
		quote := func(s string, weak bool) string {
			if weak {
				return "W/\"" + s + "\""
			}
			return "\"" + s + "\""
		}
		list := header("If-None-Match: " + quote(a, weakListed) + " ,, " + quote(b, false))
		facts := Facts{Status: 200}
		for _, s := range []string{a, b, c} {
			want := 0
			if s == a || s == b {
				want = 304
			}
			if got := Conditional([]byte("GET"), list, header("ETag: "+quote(s, weakStored)), &facts, false); got != want {
				t.Fatalf("%q in %s: got %d; want %d", s, text(list), got, want)
			}
		}
	})
}
