package main

import (
	"fmt"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	tests := map[string]struct{ text, want string }{
		"a whole configuration":   {`{"in":"query","name":"key","keys":[{"key":"12345678","consumer":"shop","groups":["a"]}]}`, ""},
		"defaults":                {`{"keys":[{"key":"12345678","consumer":"shop"}]}`, ""},
		"no keys":                 {`{}`, "config.keys: no key"},
		"an unknown field":        {`{"kyes":[]}`, `unknown field "kyes"`},
		"an unknown place":        {`{"in":"body","keys":[{"key":"12345678","consumer":"c"}]}`, "config.in"},
		"a short key":             {`{"keys":[{"key":"1234567","consumer":"c"}]}`, "config.keys[0].key: shorter"},
		"a key twice":             {`{"keys":[{"key":"12345678","consumer":"c"},{"key":"12345678","consumer":"d"}]}`, "config.keys[1].key: the same key twice"},
		"a key without consumer":  {`{"keys":[{"key":"12345678"}]}`, "config.keys[0].consumer"},
		"an empty configuration":  {``, "EOF"},
		"an empty name":           {`{"name":"","keys":[{"key":"12345678","consumer":"c"}]}`, "config.name"},
		"something else than map": {`[]`, "config:"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := parse([]byte(test.text))
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v; want %q", err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), "1234567") {
				t.Errorf("the error holds a key: %v", err)
			}
		})
	}
}

func TestFind(t *testing.T) {
	ring, err := parse([]byte(`{"keys":[{"key":"first-key","consumer":"one","groups":["g"]},{"key":"second-key","consumer":"two"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if c := ring.find("second-key"); c == nil || c.name != "two" {
		t.Errorf("got %v; want consumer two", c)
	}
	many := `{"keys":[{"key":"second-key","consumer":"two"}`
	for i := range fewKeys {
		many += fmt.Sprintf(`,{"key":"another-key-%d","consumer":"c%d"}`, i, i)
	}
	long, err := parse([]byte(many + "]}"))
	if err != nil {
		t.Fatal(err)
	}
	if c := long.find("second-key"); c == nil || c.name != "two" {
		t.Errorf("got %v; want consumer two among many", c)
	}
	if c := long.find("second-kez"); c != nil {
		t.Errorf("got %v for an unknown key among many", c)
	}
	for _, unknown := range []string{"", "first", "first-key ", "FIRST-KEY"} {
		if c := ring.find(unknown); c != nil {
			t.Errorf("%q: got consumer %s; want none", unknown, c.name)
		}
	}
}

func TestExtract(t *testing.T) {
	tests := map[string]struct {
		find     func(text, name string) (string, bool)
		text     string
		want     string
		wantFind bool
	}{
		"a query parameter":           {fromQuery, "/a?x=1&key=a%2Bb", "a+b", true},
		"no query":                    {fromQuery, "/a", "", false},
		"a query parameter twice":     {fromQuery, "/a?key=1&key=2", "", false},
		"a badly encoded parameter":   {fromQuery, "/a?key=%zz", "", false},
		"a cookie":                    {fromCookie, "x=1; key=abc; y", "abc", true},
		"a quoted cookie":             {fromCookie, `key="abc"`, "abc", true},
		"a cookie twice":              {fromCookie, "key=1; key=2", "", false},
		"a cookie with another name":  {fromCookie, "monkey=1", "", false},
		"a cookie's value with an eq": {fromCookie, "key=a=b", "a=b", true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got, ok := test.find(test.text, "key"); got != test.want || ok != test.wantFind {
				t.Errorf("got %q, %v; want %q, %v", got, ok, test.want, test.wantFind)
			}
		})
	}
}

func FuzzExtract(f *testing.F) {
	f.Add("/a?key=1", "key=2; a")
	f.Fuzz(func(t *testing.T, path, cookie string) {
		fromQuery(path, "key")
		if v, ok := fromCookie(cookie, "key"); ok && !strings.Contains(cookie, v) {
			t.Fatalf("%q is not in %q", v, cookie)
		}
	})
}
