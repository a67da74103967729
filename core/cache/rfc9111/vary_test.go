package rfc9111

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/core/exchange"
)

// RFC 9110, 12.5.5.
func TestVary(t *testing.T) {
	many := func(n int) string {
		var names []string
		for i := range n {
			names = append(names, fmt.Sprintf("x-%02d", i))
		}
		return "Vary: " + strings.Join(names, ", ")
	}
	tests := map[string]struct {
		lines    []string
		want     string
		star, ok bool
	}{
		"none":                          {nil, "", false, true},
		"an empty one":                  {[]string{"Vary:"}, "", false, true},
		"one name":                      {[]string{"Vary: Foo"}, "foo", false, true},
		"sorted, each once":             {[]string{"Vary: Foo, accept,foo", "vary: Bar"}, "accept bar foo", false, true},
		"empty members":                 {[]string{"Vary: ,, a ,"}, "a", false, true},
		"a star":                        {[]string{"Vary: *"}, "", true, true},
		"two stars":                     {[]string{"Vary: *, *"}, "", true, true},
		"two stars on two lines":        {[]string{"Vary: *", "Vary: *"}, "", true, true},
		"a star after an empty member":  {[]string{"Vary: , *"}, "", true, true},
		"a star after an empty line":    {[]string{"Vary:", "Vary: *"}, "", true, true},
		"a star before a name":          {[]string{"Vary: *, Foo"}, "", true, true},
		"a star after a name":           {[]string{"Vary: Foo, *"}, "", true, true},
		"a star after what is no name":  {[]string{"Vary: Foo Bar, *"}, "", true, false},
		"what is no name":               {[]string{"Vary: Foo Bar"}, "", false, false},
		"a quoted name":                 {[]string{"Vary: \"foo\""}, "", false, false},
		"as many as we take":            {[]string{many(16)}, strings.ReplaceAll(strings.TrimPrefix(many(16), "Vary: "), ",", ""), false, true},
		"one more":                      {[]string{many(17)}, "", false, false},
		"too many though they are same": {[]string{"Vary: " + strings.Repeat("a,", 17)}, "", false, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			names, star, ok := Vary(header(tt.lines...))
			if got := strings.Join(names, " "); got != tt.want || star != tt.star || ok != tt.ok {
				t.Errorf("got %q, %v, %v; want %q, %v, %v", got, star, ok, tt.want, tt.star, tt.ok)
			}
		})
	}
}

// RFC 9111, 4.1.
func TestVaryValue(t *testing.T) {
	tests := map[string]struct {
		name  string
		a, b  []string
		equal bool
	}{
		"the same":                                   {"foo", []string{"Foo: 1"}, []string{"foo: 1"}, true},
		"another value":                              {"foo", []string{"Foo: 1"}, []string{"Foo: 2"}, false},
		"absent and present":                         {"foo", nil, []string{"Foo: 1"}, false},
		"absent and empty":                           {"foo", nil, []string{"Foo:"}, false},
		"both absent":                                {"foo", []string{"Bar: 1"}, nil, true},
		"lines are joined":                           {"foo", []string{"Foo: 1, 2"}, []string{"Foo: 1", "Foo: 2"}, true},
		"white space beside commas":                  {"foo", []string{"Foo: 1,2"}, []string{"Foo: 1 , \t2"}, true},
		"white space elsewhere":                      {"foo", []string{"Foo: a b"}, []string{"Foo: a  b"}, false},
		"white space in a string":                    {"foo", []string{"Foo: \"1,2\""}, []string{"Foo: \"1, 2\""}, false},
		"white space in a string without end":        {"foo", []string{"Foo: \"1,2"}, []string{"Foo: \"1, 2"}, false},
		"case of an unknown field":                   {"foo", []string{"Foo: a"}, []string{"Foo: A"}, false},
		"order of an unknown field":                  {"foo", []string{"Foo: a, b"}, []string{"Foo: b, a"}, false},
		"empty members of an unknown field":          {"foo", []string{"Foo: a,,b"}, []string{"Foo: a,b"}, false},
		"credentials count byte for byte":            {"authorization", []string{"Authorization: D a=1,b=2"}, []string{"Authorization: D a=1, b=2"}, false},
		"cookies too":                                {"cookie", []string{"Cookie: a=1,2"}, []string{"Cookie: a=1, 2"}, false},
		"and line for line":                          {"cookie", []string{"Cookie: a=1,b"}, []string{"Cookie: a=1", "Cookie: b"}, false},
		"languages in another order":                 {"accept-language", []string{"Accept-Language: en, de"}, []string{"Accept-Language: de, en"}, true},
		"languages in another case":                  {"accept-language", []string{"Accept-Language: en, de"}, []string{"Accept-Language: eN, De"}, true},
		"languages with spaces":                      {"accept-language", []string{"Accept-Language: en, de"}, []string{"Accept-Language:  en ,   de"}, true},
		"other languages":                            {"accept-language", []string{"Accept-Language: en, de"}, []string{"Accept-Language: fr;q=0.5, de;q=1.0"}, false},
		"a weight of 1":                              {"accept-language", []string{"Accept-Language: en, de;q=1"}, []string{"Accept-Language: de;q=1.000,en ; Q=1.0"}, true},
		"trailing zeros of a weight":                 {"accept-encoding", []string{"Accept-Encoding: gzip;q=0.5"}, []string{"Accept-Encoding: GZIP;q=0.500"}, true},
		"another weight":                             {"accept-encoding", []string{"Accept-Encoding: gzip;q=0.5"}, []string{"Accept-Encoding: gzip;q=0.501"}, false},
		"a weight of 0 is not absence":               {"accept-encoding", []string{"Accept-Encoding: gzip, br;q=0"}, []string{"Accept-Encoding: gzip"}, false},
		"a weight of 0, longer":                      {"accept-encoding", []string{"Accept-Encoding: br;q=0.000"}, []string{"Accept-Encoding: br;q=0"}, true},
		"members twice":                              {"accept-encoding", []string{"Accept-Encoding: gzip, gzip"}, []string{"Accept-Encoding: gzip"}, true},
		"members twice with two weights":             {"accept-encoding", []string{"Accept-Encoding: gzip;q=0.1, gzip"}, []string{"Accept-Encoding: gzip, gzip;q=0.1"}, false},
		"no encoding at all is not absence":          {"accept-encoding", []string{"Accept-Encoding:"}, nil, false},
		"empty members of encodings":                 {"accept-encoding", []string{"Accept-Encoding: ,gzip,,br,"}, []string{"Accept-Encoding: br, gzip"}, true},
		"media ranges in another order":              {"accept", []string{"Accept: text/html, */*;q=0.1"}, []string{"Accept: */*;q=0.1,TEXT/html"}, true},
		"parameters of media ranges":                 {"accept", []string{"Accept: text/html;Level=1"}, []string{"Accept: text/html ; level=1;q=1"}, true},
		"values of these parameters":                 {"accept", []string{"Accept: text/html;level=A"}, []string{"Accept: text/html;level=a"}, false},
		"quoted values of these parameters":          {"accept", []string{"Accept: a/b;c=\"x, y\", d/e"}, []string{"Accept: d/e,a/b;c=\"x, y\""}, true},
		"what breaks the grammar stays in its order": {"accept-language", []string{"Accept-Language: en de, fr"}, []string{"Accept-Language: fr, en de"}, false},
		"but is freed of spaces":                     {"accept-language", []string{"Accept-Language: en de,fr"}, []string{"Accept-Language: en de , fr"}, true},
		"a weight above 1":                           {"accept-language", []string{"Accept-Language: en;q=1.1, fr"}, []string{"Accept-Language: fr, en;q=1.1"}, false},
		"a weight that is no number":                 {"accept-language", []string{"Accept-Language: en;q=0.x, fr"}, []string{"Accept-Language: fr, en;q=0.x"}, false},
		"a weight without a value":                   {"accept-language", []string{"Accept-Language: en;q, fr"}, []string{"Accept-Language: fr, en;q"}, false},
		"a parameter that languages do not have":     {"accept-language", []string{"Accept-Language: en;a=b, fr"}, []string{"Accept-Language: fr, en;a=b"}, false},
		"a media range without a subtype":            {"accept", []string{"Accept: a, b/c"}, []string{"Accept: b/c, a"}, false},
		"something after a weight":                   {"accept", []string{"Accept: a/b;q=1;c=d, e/f"}, []string{"Accept: e/f, a/b;q=1;c=d"}, false},
		"a thousand bytes":                           {"foo", []string{"Foo: " + strings.Repeat("a", 1024)}, []string{"Foo: " + strings.Repeat("a", 1024)}, true},
		"more, the same":                             {"foo", []string{"Foo: " + strings.Repeat("a", 9999)}, []string{"Foo: " + strings.Repeat("a", 9999)}, true},
		"more, which differ at the end":              {"foo", []string{"Foo: " + strings.Repeat("a", 9999)}, []string{"Foo: " + strings.Repeat("a", 9998) + "b"}, false},
		"more members than are put in order":         {"accept-language", []string{"Accept-Language: a" + strings.Repeat(", b", 1) + ", " + manyTags(40)}, []string{"Accept-Language: b, a, " + manyTags(40)}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			a, b := AppendVaryValue(nil, header(tt.a...), tt.name), AppendVaryValue(nil, header(tt.b...), tt.name)
			if bytes.Equal(a, b) != tt.equal {
				t.Errorf("%q and %q; want equal: %v", a, b, tt.equal)
			}
			if len(a) > maxVaryValue+3 || len(b) > maxVaryValue+3 {
				t.Errorf("%d and %d bytes", len(a), len(b))
			}
		})
	}
}

func manyTags(n int) string {
	var tags []string
	for i := range n {
		tags = append(tags, "t"+strconv.Itoa(i))
	}
	return strings.Join(tags, ", ")
}

// Values that follow one another cannot be taken for others.
func TestVaryValuesEnd(t *testing.T) {
	a, b := header("A: 1", "B: 23"), header("A: 12", "B: 3")
	x := AppendVaryValue(AppendVaryValue(nil, a, "a"), a, "b")
	y := AppendVaryValue(AppendVaryValue(nil, b, "a"), b, "b")
	if bytes.Equal(x, y) {
		t.Errorf("%q twice", x)
	}
}

// TestVaryOfManyStrings: strings that do not end are not looked for again and again. What
// takes milliseconds would take minutes.
func TestVaryOfManyStrings(t *testing.T) {
	h := header("Vary: \"" + strings.Repeat("\\\"", 1<<20))
	began := time.Now()
	if _, _, ok := Vary(h); ok {
		t.Error("it is well formed")
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}

// value returns what AppendVaryValue appended, if it is text.
func value(b []byte) (string, bool) {
	if b[0] != valueText || len(b) != 3+(int(b[1])<<8|int(b[2])) {
		return "", false
	}
	return string(b[3:]), true
}

// FuzzVaryValue: what is normalised stays as it is when normalised again; and of two
// requests that come out equal, each weighs every range that either names alike, as a
// reading of the fields of its own says.
func FuzzVaryValue(f *testing.F) {
	for _, s := range [][2]string{
		{"gzip, br;q=0.5", "br;q=0.50,gzip;q=1"}, {"en, de", "de, en"}, {"a/b;c=\"x, y\";q=0.1", "*/*"}, {"", ","}, {"a;q=0, b", "b, a;q=0.0"},
		{"a\", b", "a \" , b"}, {"a,a;q=1", "a"}, {"A/b;C=d", "a/b;c=d"}, {"q;q=1", "q"}, {"a;q=0.1,a;q=0.10", "a;q=0.1"},
	} {
		f.Add(s[0], s[1], uint8(0))
		f.Add(s[0], s[1], uint8(1))
	}
	names := []string{"accept-encoding", "accept", "accept-language", "accept-charset", "x-other", "cookie"}
	f.Fuzz(func(t *testing.T, a, b string, which uint8) {
		if len(a)+len(b) > 1500 || strings.ContainsAny(a+b, "\r\n\x00") {
			return
		}
		name := names[int(which)%len(names)]
		a, b = strings.Trim(a, " \t"), strings.Trim(b, " \t")
		once := func(s string) []byte {
			var h exchange.Header
			h.Add([]byte(name), []byte(s))
			return AppendVaryValue(nil, &h, name)
		}
		x, y := once(a), once(b)
		if v, ok := value(x); ok && !bytes.Equal(once(v), x) {
			t.Fatalf("%s: %q becomes %q, and that %q", name, a, x, once(v))
		}
		if !bytes.Equal(x, y) {
			return
		}
		switch {
		case name == "cookie" && a != b:
			t.Fatalf("cookies %q and %q are one", a, b)
		case which%6 >= 4:
			if squeeze(a) != squeeze(b) {
				t.Fatalf("%q and %q are one", a, b)
			}
			return
		}
		wa, oka := slowWeights(a)
		wb, okb := slowWeights(b)
		if oka != okb || oka && !maps.EqualFunc(wa, wb, slices.Equal) || !oka && squeeze(a) != squeeze(b) {
			t.Fatalf("%s: %q and %q are one: %v, %v", name, a, b, wa, wb)
		}
	})
}

// squeeze drops all white space: two values that differ in more are never one.
func squeeze(s string) string {
	return strings.NewReplacer(" ", "", "\t", "").Replace(s)
}

// slowWeights returns all the weights that a list gives to each range.
func slowWeights(s string) (map[string][]string, bool) {
	if strings.ContainsAny(s, "\"\\") {
		return nil, false
	}
	weights := map[string][]string{}
	for m := range strings.SplitSeq(s, ",") {
		parts := strings.Split(m, ";")
		for i, p := range parts {
			parts[i] = strings.Trim(p, " \t")
			name, v, has := strings.Cut(parts[i], "=")
			if i > 0 && has {
				parts[i] = strings.ToLower(name) + "=" + v
			}
		}
		parts[0] = strings.ToLower(parts[0])
		if len(parts) == 1 && parts[0] == "" {
			continue
		}
		weight := "1"
		if last := parts[len(parts)-1]; len(parts) > 1 && strings.HasPrefix(last, "q=") {
			w, err := strconv.ParseFloat(last[2:], 64)
			if err != nil {
				return nil, false
			}
			weight, parts = strconv.FormatFloat(w, 'g', -1, 64), parts[:len(parts)-1]
		}
		key := strings.Join(parts, ";")
		if !slices.Contains(weights[key], weight) {
			weights[key] = append(weights[key], weight)
		}
	}
	for _, w := range weights {
		slices.Sort(w)
	}
	return weights, true
}
