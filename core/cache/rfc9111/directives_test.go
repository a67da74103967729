package rfc9111

import (
	"strconv"
	"strings"
	"testing"
	"time"
)

// RFC 9111, 5.2.1 and 5.4.
func TestDirectives(t *testing.T) {
	tests := map[string]struct {
		lines  []string
		ignore Ignore
		want   RequestDirectives
	}{
		"no fields":                             {},
		"unknown directives are skipped":        {lines: []string{"Cache-Control: nothing-to-see-here, a=b, c=\"no-store\""}},
		"each directive":                        {lines: []string{"Cache-Control: no-cache, no-store, no-transform, only-if-cached, max-age=1, min-fresh=2, max-stale=3, stale-if-error=4"}, want: RequestDirectives{NoCache: true, NoStore: true, NoTransform: true, OnlyIfCached: true, MaxAge: NewSeconds(1), MinFresh: NewSeconds(2), MaxStale: NewSeconds(3), StaleIfError: NewSeconds(4)}},
		"case does not matter":                  {lines: []string{"cAcHe-control: No-CaChE"}, want: RequestDirectives{NoCache: true}},
		"several lines are one list":            {lines: []string{"Cache-Control: no-cache", "Cache-Control: no-store"}, want: RequestDirectives{NoCache: true, NoStore: true}},
		"max-stale without argument is any":     {lines: []string{"Cache-Control: max-stale"}, want: RequestDirectives{MaxStale: NewSeconds(maxSeconds)}},
		"the lesser of two max-age":             {lines: []string{"Cache-Control: max-age=5, max-age=3, max-age=4"}, want: RequestDirectives{MaxAge: NewSeconds(3)}},
		"the greater of two min-fresh":          {lines: []string{"Cache-Control: min-fresh=5, min-fresh=3"}, want: RequestDirectives{MinFresh: NewSeconds(5)}},
		"the lesser of two max-stale":           {lines: []string{"Cache-Control: max-stale, max-stale=3"}, want: RequestDirectives{MaxStale: NewSeconds(3)}},
		"a max-age that is no number is 0":      {lines: []string{"Cache-Control: max-age=x"}, want: RequestDirectives{MaxAge: NewSeconds(0)}},
		"a max-stale that is no number is none": {lines: []string{"Cache-Control: max-stale=x, min-fresh=-1, stale-if-error="}},
		"a quoted number counts":                {lines: []string{"Cache-Control: max-age=\"7\""}, want: RequestDirectives{MaxAge: NewSeconds(7)}},
		"what overflows is 2^31":                {lines: []string{"Cache-Control: max-age=99999999999999999999999"}, want: RequestDirectives{MaxAge: NewSeconds(maxSeconds)}},
		"junk asks to be asked first":           {lines: []string{"Cache-Control: max-age =0"}, want: RequestDirectives{NoCache: true}},
		"semicolons":                            {lines: []string{"Cache-Control: no-cache; no-store"}, want: RequestDirectives{NoCache: true, NoStore: true}},
		"pragma":                                {lines: []string{"Pragma: x=y, No-Cache"}, want: RequestDirectives{NoCache: true}},
		"another pragma":                        {lines: []string{"Pragma: foo"}},
		"pragma beside cache-control":           {lines: []string{"Pragma: no-cache", "Cache-Control: max-age=9"}, want: RequestDirectives{MaxAge: NewSeconds(9)}},
		"all of it ignored":                     {lines: []string{"Cache-Control: no-cache, no-store"}, ignore: IgnoreRequest},
		"other things ignored":                  {lines: []string{"Cache-Control: no-cache"}, ignore: IgnoreNoCache, want: RequestDirectives{NoCache: true}},
		"too much":                              {lines: []string{"Cache-Control: " + strings.Repeat("a,", 9000)}, want: RequestDirectives{NoCache: true, NoStore: true}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := Directives(header(tt.lines...), tt.ignore); got != tt.want {
				t.Errorf("got %+v; want %+v", got, tt.want)
			}
		})
	}
}

func TestSeconds(t *testing.T) {
	var unset Seconds
	if _, ok := unset.Get(); ok {
		t.Error("the zero value is given; want not")
	}
	for in, want := range map[int64]time.Duration{-5: 0, 0: 0, 7: 7 * time.Second, 1 << 40: maxSeconds * time.Second} {
		if got, ok := NewSeconds(in).Get(); !ok || got != want {
			t.Errorf("%d: got %v, %v; want %v", in, got, ok, want)
		}
	}
}

// FuzzDirectives compares the reading of a request and of a response with one that
// splits strings, on everything that keeps the grammar; on all else no prohibition that
// stands in the text as a word of its own may be lost.
func FuzzDirectives(f *testing.F) {
	for _, s := range []string{
		"max-age=3600, public", "no-cache=\"a, b\", private", "max-age=\"1\", ext=\"max-age=3600\"", "max-age=1,max-age=2", "a=\"\\\"no-store", "no-store x, s-maxage=5",
		"max-stale, min-fresh=1 , only-if-cached", "stale-while-revalidate=5,must-understand,immutable", ", ,", "private;max-age=9", "max-age=\"\\1\"",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 2000 || strings.ContainsAny(s, "\r\n\x00") {
			return
		}
		h := header()
		h.Add([]byte("Cache-Control"), []byte(s))
		got := Directives(h, 0)
		var d response
		d.read(h)
		members, ok := slowDirectives(s)
		if !ok {
			if strings.ContainsAny(s, "\"=") { // a word may be an argument, or part of one
				return
			}
			for _, word := range strings.FieldsFunc(strings.ToLower(s), func(r rune) bool { return r > 126 || !tchar(byte(r)) }) {
				if word == "no-store" && (!got.NoStore || !d.noStore) || word == "private" && !d.private || word == "no-cache" && (!got.NoCache || !d.noCache) {
					t.Fatalf("%q: %s is lost", s, word)
				}
			}
			return
		}
		var want RequestDirectives
		var wantPublic, wantPrivate, wantNoStore bool
		wantAge := int64(-1)
		for _, m := range members {
			number, err := strconv.ParseInt(m.arg, 10, 64)
			digits := m.arg != "" && strings.Trim(m.arg, "0123456789") == ""
			if digits && (err != nil || number > maxSeconds) {
				number = maxSeconds
			}
			n := NewSeconds(number)
			switch m.name {
			case "no-cache":
				want.NoCache = true
			case "no-store":
				want.NoStore, wantNoStore = true, true
			case "no-transform":
				want.NoTransform = true
			case "only-if-cached":
				want.OnlyIfCached = true
			case "public":
				wantPublic = wantPublic || !m.has
			case "private":
				wantPrivate = wantPrivate || !m.has
			case "max-age":
				if !digits {
					number = 0
				}
				if wantAge < 0 || number < wantAge {
					wantAge = number
				}
				want.MaxAge = NewSeconds(wantAge)
			case "min-fresh":
				if digits {
					want.MinFresh = max(want.MinFresh, n)
				}
			case "max-stale":
				if !m.has {
					n, digits = NewSeconds(maxSeconds), true
				}
				if digits && (want.MaxStale == 0 || n < want.MaxStale) {
					want.MaxStale = n
				}
			case "stale-if-error":
				if digits && (want.StaleIfError == 0 || n < want.StaleIfError) {
					want.StaleIfError = n
				}
			}
		}
		if got != want {
			t.Fatalf("%q: got %+v; want %+v", s, got, want)
		}
		if age, given := d.maxAge.Get(); given != (wantAge >= 0) || given && age != time.Duration(wantAge)*time.Second {
			t.Fatalf("%q: max-age %v, %v; want %d", s, age, given, wantAge)
		}
		if d.public != wantPublic || d.noStore != wantNoStore || wantPrivate && !d.private {
			t.Fatalf("%q: public %v, no-store %v, private %v; want %v, %v, %v", s, d.public, d.noStore, d.private, wantPublic, wantNoStore, wantPrivate)
		}
	})
}

type slowMember struct {
	name, arg string
	has       bool
}

// slowDirectives splits a list that keeps the grammar; ok is false if it does not.
func slowDirectives(s string) (members []slowMember, ok bool) {
	var parts []string
	quoted, escaped, from := false, false, 0
	for i := 0; i < len(s); i++ {
		switch {
		case escaped:
			escaped = false
		case quoted && s[i] == '\\':
			escaped = true
		case s[i] == '"':
			quoted = !quoted
		case s[i] == ',' && !quoted:
			parts = append(parts, s[from:i])
			from = i + 1
		}
	}
	if quoted {
		return nil, false
	}
	for _, p := range append(parts, s[from:]) {
		if p = strings.Trim(p, " \t"); p == "" {
			continue
		}
		name, arg, has := strings.Cut(p, "=")
		isToken := func(s string) bool { return tokenLen([]byte(s)) == len(s) }
		if len(arg) > 1 && arg[0] == '"' && quotedEnd([]byte(arg)) == len(arg) {
			arg = arg[1 : len(arg)-1]
		} else if !isToken(arg) {
			return nil, false
		}
		if name == "" || !isToken(name) {
			return nil, false
		}
		members = append(members, slowMember{strings.ToLower(name), arg, has})
	}
	return members, true
}
