package rfc9111

import (
	"time"

	"penstock.dev/penstock/core/exchange"
)

// ParseDate reads an HTTP date in any of the three forms of RFC 9110, 5.6.7. A year of
// two digits is the one that is not more than 50 years after now. Names are taken in
// any case, a second of 60 is the next minute's first, and the name of the day need not
// be the right one. ok is false for anything else: another zone, a day that the month
// does not have, a missing or doubled space. It allocates nothing.
func ParseDate(b []byte, now time.Time) (t time.Time, ok bool) {
	switch {
	case len(b) == 29 && b[3] == ',':
		return parseFixdate(b)
	case len(b) == 24 && b[3] == ' ':
		return parseAsctime(b)
	}
	return parseRFC850(b, now)
}

const dayNames, monthNames = "SunMonTueWedThuFriSat", "JanFebMarAprMayJunJulAugSepOctNovDec"

// AppendDate appends a time of the years 0 to 9999 as an HTTP date (IMF-fixdate, RFC 9110,
// 5.6.7).
func AppendDate(dst []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	two := func(n int) (byte, byte) { return byte('0' + n/10), byte('0' + n%10) }
	d, d2 := two(day)
	y, y2 := two(year / 100)
	y3, y4 := two(year % 100)
	h, h2 := two(hour)
	m, m2 := two(minute)
	s, s2 := two(second)
	dst = append(append(dst, dayNames[3*t.Weekday():][:3]...), ',', ' ', d, d2, ' ')
	return append(append(dst, monthNames[3*(month-1):][:3]...), ' ', y, y2, y3, y4, ' ', h, h2, ':', m, m2, ':', s, s2, ' ', 'G', 'M', 'T')
}

// parseFixdate reads "Sun, 06 Nov 1994 08:49:37 GMT".
func parseFixdate(b []byte) (time.Time, bool) {
	if weekday(b[:3], 3) < 0 || b[4] != ' ' || b[7] != ' ' || b[11] != ' ' || b[16] != ' ' || !gmt(b[25:]) {
		return time.Time{}, false
	}
	return compose(number(b[12:16]), monthOf(b[8:11]), number(b[5:7]), b[17:25])
}

// parseAsctime reads "Sun Nov  6 08:49:37 1994".
func parseAsctime(b []byte) (time.Time, bool) {
	if weekday(b[:3], 3) < 0 || b[7] != ' ' || b[10] != ' ' || b[19] != ' ' {
		return time.Time{}, false
	}
	day := b[8:10]
	if day[0] == ' ' {
		day = day[1:]
	}
	return compose(number(b[20:24]), monthOf(b[4:7]), number(day), b[11:19])
}

// parseRFC850 reads "Sunday, 06-Nov-94 08:49:37 GMT".
func parseRFC850(b []byte, now time.Time) (time.Time, bool) {
	comma := 0
	for comma < len(b) && b[comma] != ',' {
		comma++
	}
	if weekday(b[:comma], 0) < 0 || len(b) != comma+24 {
		return time.Time{}, false
	}
	b = b[comma:] // ", 06-Nov-94 08:49:37 GMT"
	if b[1] != ' ' || b[4] != '-' || b[8] != '-' || b[11] != ' ' || !gmt(b[20:]) {
		return time.Time{}, false
	}
	year, month, day := number(b[9:11]), monthOf(b[5:8]), number(b[2:4])
	if year < 0 {
		return time.Time{}, false
	}
	now = now.UTC()
	year += now.Year() - now.Year()%100
	t, ok := compose(year, month, day, b[12:20])
	limit := now.AddDate(50, 0, 0)
	if ok && t.After(limit) {
		return compose(year-100, month, day, b[12:20])
	}
	// Late in a century a small year may be the next one's.
	if next, nextOK := compose(year+100, month, day, b[12:20]); nextOK && !next.After(limit) {
		return next, true
	}
	if !ok { // 29 February of a year that has none: the other century may have it
		return compose(year-100, month, day, b[12:20])
	}
	return t, true
}

const (
	weekdays = "SundayMondayTuesdayWednesdayThursdayFridaySaturday"
	months   = "JanFebMarAprMayJunJulAugSepOctNovDec"
)

// weekday returns where the name b stands among the days of the week, each cut to cut
// letters (0: whole), or -1.
func weekday(b []byte, cut int) int {
	rest := weekdays
	for i, n := range [...]int{6, 6, 7, 9, 8, 6, 8} {
		name := rest[:n]
		rest = rest[n:]
		if cut > 0 {
			name = name[:cut]
		}
		if exchange.EqualFold(b, name) {
			return i
		}
	}
	return -1
}

// monthOf returns 1..12, or 0 for what is no month.
func monthOf(b []byte) int {
	for i := 0; i < len(months); i += 3 {
		if exchange.EqualFold(b, months[i:i+3]) {
			return i/3 + 1
		}
	}
	return 0
}

func gmt(b []byte) bool { return len(b) == 4 && b[0] == ' ' && exchange.EqualFold(b[1:], "GMT") }

// number reads up to four digits; -1 if there is anything else.
func number(b []byte) int {
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return -1
		}
		n = n*10 + int(c-'0')
	}
	return n
}

// compose checks the parts; clock is "08:49:37".
func compose(year, month, day int, clock []byte) (time.Time, bool) {
	hour, minute, second := number(clock[:2]), number(clock[3:5]), number(clock[6:])
	if clock[2] != ':' || clock[5] != ':' || hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60 {
		return time.Time{}, false
	}
	if year < 0 || month == 0 || day < 1 || day > daysIn(year, month) {
		return time.Time{}, false
	}
	return time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC), true
}

func daysIn(year, month int) int {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}
