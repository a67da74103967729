package rfc9111

import (
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"
)

// RFC 9110, 5.6.7.
func TestParseDate(t *testing.T) {
	want := time.Date(1994, 11, 6, 8, 49, 37, 0, time.UTC)
	far := time.Date(2050, 8, 18, 2, 1, 18, 0, time.UTC)
	tests := map[string]struct {
		in   string
		want time.Time // zero: no date
	}{
		"the common form":                             {"Sun, 06 Nov 1994 08:49:37 GMT", want},
		"the form of RFC 850":                         {"Sunday, 06-Nov-94 08:49:37 GMT", want},
		"the form of asctime":                         {"Sun Nov  6 08:49:37 1994", want},
		"asctime with a day of two digits":            {"Thu Aug 18 02:01:18 2050", far},
		"two digits within 50 years are ahead":        {"Thursday, 18-Aug-50 02:01:18 GMT", far},
		"two digits more than 50 years ahead":         {"Wednesday, 18-Aug-77 02:01:18 GMT", time.Date(1977, 8, 18, 2, 1, 18, 0, time.UTC)},
		"just 50 years ahead":                         {"Sunday, 01-Mar-76 12:00:00 GMT", time.Date(2076, 3, 1, 12, 0, 0, 0, time.UTC)},
		"a second more":                               {"Monday, 01-Mar-76 12:00:01 GMT", time.Date(1976, 3, 1, 12, 0, 1, 0, time.UTC)},
		"29 February of a century that has one":       {"Friday, 29-Feb-80 00:00:00 GMT", time.Date(1980, 2, 29, 0, 0, 0, 0, time.UTC)},
		"a weekday in another case":                   {"THU, 18 Aug 2050 02:01:18 GMT", far},
		"a month in another case":                     {"Thu, 18 AUG 2050 02:01:18 GMT", far},
		"a zone in another case":                      {"Thu, 18 Aug 2050 02:01:18 gMT", far},
		"a weekday that is not that day's":            {"Mon, 18 Aug 2050 02:01:18 GMT", far},
		"a leap second":                               {"Sat, 31 Dec 2016 23:59:60 GMT", time.Date(2017, 1, 1, 0, 0, 0, 0, time.UTC)},
		"29 February":                                 {"Thu, 29 Feb 2024 00:00:00 GMT", time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC)},
		"29 February of a year without":               {"Wed, 29 Feb 2023 00:00:00 GMT", time.Time{}},
		"the day 0":                                   {"Wed, 00 Jan 2023 00:00:00 GMT", time.Time{}},
		"31 April":                                    {"Wed, 31 Apr 2023 00:00:00 GMT", time.Time{}},
		"the hour 24":                                 {"Wed, 01 Jan 2023 24:00:00 GMT", time.Time{}},
		"the hour 23":                                 {"Sun, 06 Nov 1994 23:59:59 GMT", time.Date(1994, 11, 6, 23, 59, 59, 0, time.UTC)},
		"the minute 60":                               {"Sun, 06 Nov 1994 08:60:37 GMT", time.Time{}},
		"the second 61":                               {"Sun, 06 Nov 1994 08:49:61 GMT", time.Time{}},
		"the year 0":                                  {"Sat, 01 Jan 0000 00:00:00 GMT", time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)},
		"the year 00 of RFC 850":                      {"Saturday, 01-Jan-00 00:00:00 GMT", time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)},
		"29 February of 2000":                         {"Tue, 29 Feb 2000 00:00:00 GMT", time.Date(2000, 2, 29, 0, 0, 0, 0, time.UTC)},
		"29 February of 2100":                         {"Mon, 29 Feb 2100 00:00:00 GMT", time.Time{}},
		"30 April":                                    {"Sun, 30 Apr 2023 00:00:00 GMT", time.Date(2023, 4, 30, 0, 0, 0, 0, time.UTC)},
		"31 December":                                 {"Sun, 31 Dec 2023 00:00:00 GMT", time.Date(2023, 12, 31, 0, 0, 0, 0, time.UTC)},
		"another zone":                                {"Thu, 18 Aug 2050 02:01:18 UTC", time.Time{}},
		"a zone of four letters":                      {"Thu, 18 Aug 2050 02:01:18 AEST", time.Time{}},
		"a year of two digits in the common form":     {"Thu, 18 Aug 50 02:01:18 GMT", time.Time{}},
		"no comma":                                    {"Thu 18 Aug 2050 02:01:18 GMT", time.Time{}},
		"two spaces":                                  {"Thu, 18  Aug 2050 02:01:18 GMT", time.Time{}},
		"dashes with a year of four digits":           {"Thu, 18-Aug-2050 02:01:18 GMT", time.Time{}},
		"periods in the time":                         {"Thu, 18 Aug 2050 02.01.18 GMT", time.Time{}},
		"an hour of one digit":                        {"Thu, 18 Aug 2050 2:01:18 GMT", time.Time{}},
		"a sign in place of a digit":                  {"Thu, +8 Aug 2050 02:01:18 GMT", time.Time{}},
		"a number":                                    {"0", time.Time{}},
		"nothing":                                     {"", time.Time{}},
		"a comma alone":                               {",", time.Time{}},
		"something after it":                          {"Sun, 06 Nov 1994 08:49:37 GMT ", time.Time{}},
		"the shape of RFC 850 with nothing before it": {", 06-Nov-94 08:49:37 GMT", time.Time{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, ok := ParseDate([]byte(tt.in), start)
			if ok == tt.want.IsZero() || !got.Equal(tt.want) {
				t.Errorf("got %v, %v; want %v", got, ok, tt.want)
			}
		})
	}
}

// No byte of a date can be another.
func TestParseDateEachByte(t *testing.T) {
	for _, s := range []string{"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov 16 08:49:37 1994"} {
		for i := range len(s) {
			for _, c := range []string{"x", "/", " ", ":", ""} {
				if c == s[i:i+1] || c == " " && i == strings.Index(s, "16 ") { // " 6" is a day of asctime
					continue
				}
				if got, ok := ParseDate([]byte(s[:i]+c+s[i+1:]), start); ok {
					t.Errorf("%q: got %v; want no date", s[:i]+c+s[i+1:], got)
				}
			}
		}
	}
}

// A year of two digits late in a century may be the next one's.
func TestParseDateNextCentury(t *testing.T) {
	now := time.Date(2099, 6, 1, 0, 0, 0, 0, time.UTC)
	for in, want := range map[string]int{"01": 2101, "48": 2148, "50": 2050, "99": 2099} {
		got, ok := ParseDate([]byte("Monday, 04-Jan-"+in+" 00:00:00 GMT"), now)
		if !ok || got.Year() != want {
			t.Errorf("%s: got %v, %v; want %d", in, got, ok, want)
		}
	}
}

// FuzzParseDate compares with net/http's parser, which knows the three forms too: what
// we take it takes, as the same time, but for a leap second and the century; what it
// takes in a form that is letter by letter the RFC's, we take.
func FuzzParseDate(f *testing.F) {
	for _, s := range []string{
		"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "Sun Nov 16 08:49:37 1994",
		"Thu, 18 Aug 50 02:01:18 GMT", "Sat, 31 Dec 2016 23:59:60 GMT", "Friday, 29-Feb-80 00:00:00 GMT", "Sun, 00 Nov 1994 08:49:37 GMT",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := ParseDate([]byte(s), start)
		if !ok {
			slow, err := http.ParseTime(s)
			if err == nil && (slow.Format(http.TimeFormat) == s || slow.Format(time.ANSIC) == s) {
				t.Fatalf("%q: not taken; want %v", s, slow)
			}
			return
		}
		plain := s
		if n := len(s) - 3; strings.EqualFold(s[n:], "GMT") { // net/http wants it in capitals
			plain = s[:n] + "GMT"
		}
		slow, err := http.ParseTime(strings.Replace(plain, ":60", ":59", 1))
		if strings.Contains(s, ":60") {
			slow = slow.Add(time.Second)
		}
		twoDigits := strings.Contains(s, "-")
		switch {
		case twoDigits && (got.After(start.AddDate(50, 0, 0)) || !got.After(start.AddDate(-50, 0, -1))):
			t.Fatalf("%q: got %v, which is not within 50 years of %v", s, got, start)
		case twoDigits && err != nil: // 29 February of the other century
			if got.Month() != time.February && got.Month() != time.March {
				t.Fatalf("%q: got %v; net/http: %v", s, got, err)
			}
		case err != nil:
			t.Fatalf("%q: got %v; net/http: %v", s, got, err)
		case twoDigits:
			slow = slow.AddDate((got.Year()-slow.Year())/100*100, 0, 0)
			fallthrough
		default:
			if !got.Equal(slow) {
				t.Fatalf("%q: got %v; want %v", s, got, slow)
			}
		}
	})
}

// TestAppendDate: as package time has it.
func TestAppendDate(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	last := time.Date(9999, 12, 31, 23, 59, 59, 999, time.UTC)
	times := []time.Time{time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC), last, time.Date(2024, 2, 29, 1, 2, 3, 0, time.FixedZone("", 3600))}
	for range 10_000 {
		times = append(times, time.Unix(r.Int64N(last.Unix()), 0))
	}
	for _, at := range times {
		if got, want := string(AppendDate([]byte("x"), at)), "x"+at.UTC().Format(http.TimeFormat); got != want {
			t.Errorf("got %q; want %q", got, want)
		}
	}
}
