package config

import (
	"fmt"
	"strings"
	"testing"
)

func TestPurgeFaults(t *testing.T) {
	many := make([]string, 257)
	for i := range many {
		many[i] = fmt.Sprint("t", i)
	}
	tests := map[string]struct {
		purge Purge
		want  string // fields with what is wrong there, in lines; empty: nothing
	}{
		"a URL with a query":       {Purge{URLs: []string{"https://a.example/x?y=z&n"}}, ""},
		"a URL of an address":      {Purge{URLs: []string{"http://[fd00::1]:8080/"}}, ""},
		"a URL in any case":        {Purge{URLs: []string{"HTTP://A.example./"}}, ""},
		"a whole hostname":         {Purge{Prefixes: []string{"https://a.example"}}, ""},
		"256 tags":                 {Purge{Tags: many[:256]}, ""},
		"one of each":              {Purge{URLs: []string{"https://a.example/"}, Prefixes: []string{"http://a.example/b"}, Hostnames: []string{"a.example"}, Tags: []string{"a"}}, ""},
		"nothing":                  {Purge{Soft: true}, ": empty: want urls, prefixes, hostnames or tags"},
		"a path":                   {Purge{URLs: []string{"/a"}}, `urls[0]: "/a": want an absolute URL of http or https without a fragment`},
		"another scheme":           {Purge{URLs: []string{"https://a.example/", "ftp://a.example/"}}, "urls[1]: \"ftp"},
		"a URL without a hostname": {Purge{URLs: []string{"https:///a", "https://:80/a"}}, "urls[0]: \"https:///a\"\nurls[1]: \"https://:80/a\""},
		"a user":                   {Purge{URLs: []string{"https://u:p@a.example/"}}, "urls[0]"},
		"a fragment":               {Purge{URLs: []string{"https://a.example/#"}}, "urls[0]"},
		"a line break":             {Purge{URLs: []string{"https://a.example/\r\nX: y"}}, `urls[0]: "https://a.example/\r\nX: y": want`},
		"a space":                  {Purge{URLs: []string{"https://a.example/a b"}}, "urls[0]"},
		"a letter of no ASCII":     {Purge{URLs: []string{"https://a.example/ä"}}, "urls[0]"},
		"a bad encoding":           {Purge{URLs: []string{"https://a.example/%zz"}}, "urls[0]"},
		"a long URL":               {Purge{URLs: []string{"https://a.example/" + strings.Repeat("x", 2048)}}, "xxx\": 2066 bytes, at most 2048"},
		"a prefix's query":         {Purge{Prefixes: []string{"https://a.example/a?"}}, "prefixes[0]: \"https://a.example/a?\": want an absolute URL of http or https without a query or fragment"},
		"a wildcard":               {Purge{Hostnames: []string{"*.example"}}, "hostnames[0]"},
		"upper case":               {Purge{Hostnames: []string{"A.example"}}, "hostnames[0]: \"A.example\": want a hostname in lower case, without a wildcard"},
		"a final dot":              {Purge{Hostnames: []string{"a.example."}}, "hostnames[0]"},
		"a port":                   {Purge{Hostnames: []string{"a.example:80"}}, "hostnames[0]"},
		"two tags in one":          {Purge{Tags: []string{"a b"}}, "tags[0]: \"a b\": want a tag: at most 256 visible characters without spaces and commas"},
		"a tag's comma":            {Purge{Tags: []string{"a", "b,c"}}, "tags[1]"},
		"no tag":                   {Purge{Tags: []string{""}}, "tags[0]"},
		"a long tag":               {Purge{Tags: []string{strings.Repeat("x", 257)}}, "tags[0]"},
		"257 tags":                 {Purge{Tags: many}, "tags: 257, at most 256: make more purges"},
		"257 tags and a bad URL":   {Purge{Tags: many, URLs: []string{"a"}}, "urls[0]\ntags: 257"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			faults := PurgeFaults(&tt.purge)
			var want []string
			if tt.want != "" {
				want = strings.Split(tt.want, "\n")
			}
			if len(faults) != len(want) {
				t.Fatalf("got %q; want %q", faults, want)
			}
			for i, f := range faults {
				if got := f.Field + ": " + f.Why; !strings.Contains(got, want[i]) {
					t.Errorf("got %q; want %q", got, want[i])
				}
			}
		})
	}
}
