package rfc9111

import "testing"

// RFC 9111, 4.3.1.
func TestValidators(t *testing.T) {
	conditions := []string{"A: 1", "If-None-Match: \"x\"", "If-Modified-Since: " + at(0), "If-Match: *", "If-Unmodified-Since: " + at(0), "If-Range: \"x\"", "Range: bytes=0-1"}
	tests := map[string]struct {
		stored, want []string
		ok           bool
	}{
		"a tag":                    {[]string{"ETag: \"a\""}, []string{"if-none-match: \"a\""}, true},
		"a weak tag":               {[]string{"ETag: W/\"a\""}, []string{"if-none-match: W/\"a\""}, true},
		"a tag without quotes":     {[]string{"ETag: abcdef"}, []string{"if-none-match: abcdef"}, true},
		"a date":                   {[]string{"Last-Modified: " + at(-9)}, []string{"if-modified-since: " + at(-9)}, true},
		"both":                     {[]string{"Last-Modified: " + at(-9), "ETag: \"a\""}, []string{"if-none-match: \"a\"", "if-modified-since: " + at(-9)}, true},
		"what is no date":          {[]string{"Last-Modified: yesterday"}, nil, false},
		"an empty tag":             {[]string{"ETag:"}, nil, false},
		"two tags":                 {[]string{"ETag: \"a\"", "ETag: \"b\""}, nil, false},
		"neither: it is asked for": {[]string{"Date: " + at(0)}, nil, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := header(conditions...)
			ok := Validators(got, header(tt.stored...))
			if want := text(header(append([]string{"A: 1"}, tt.want...)...)); ok != tt.ok || text(got) != want {
				t.Errorf("got %v\n%swant %v\n%s", ok, text(got), tt.ok, want)
			}
		})
	}
}

// RFC 9111, 4.3.4.
func TestSelects(t *testing.T) {
	lm, other := "Last-Modified: "+at(-9), "Last-Modified: "+at(-8)
	tests := map[string]struct {
		stored, update []string
		single, want   bool
	}{
		"the same strong tag":                        {[]string{"ETag: \"a\""}, []string{"ETag: \"a\""}, true, true},
		"another strong tag":                         {[]string{"ETag: \"a\""}, []string{"ETag: \"b\""}, true, false},
		"a strong tag, where the stored one is weak": {[]string{"ETag: W/\"a\""}, []string{"ETag: \"a\""}, true, false},
		"a strong tag, where none is stored":         {[]string{lm}, []string{"ETag: \"a\"", lm}, true, false},
		"the same strong tag, another date":          {[]string{"ETag: \"a\"", lm}, []string{"ETag: \"a\"", other}, false, true},
		"a weak tag, where the stored one is strong": {[]string{"ETag: \"a\""}, []string{"ETag: W/\"a\""}, false, true},
		"another weak tag, the same date":            {[]string{"ETag: W/\"a\"", lm}, []string{"ETag: W/\"b\"", lm}, true, false},
		"the same date":                              {[]string{lm}, []string{lm}, false, true},
		"another date":                               {[]string{lm}, []string{other}, true, false},
		"a date, where none is stored":               {[]string{"ETag: \"a\""}, []string{lm}, true, false},
		"a tag without quotes":                       {[]string{"ETag: abc"}, []string{"ETag: abc"}, false, true},
		"no validator, where a date is stored":       {[]string{lm}, nil, true, true},
		"no validator, for one stored response":      {[]string{"ETag: \"a\""}, nil, true, true},
		"no validator, for several":                  {[]string{"ETag: \"a\""}, nil, false, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := Selects(header(tt.stored...), header(tt.update...), tt.single); got != tt.want {
				t.Errorf("got %v; want %v", got, tt.want)
			}
		})
	}
}

// RFC 9111, 4.3.5.
func TestHeadSelects(t *testing.T) {
	lm, other := "Last-Modified: "+at(-9), "Last-Modified: "+at(-8)
	tests := map[string]struct {
		stored, head []string
		want         bool
	}{
		"the same tag":                      {[]string{"ETag: \"a\""}, []string{"ETag: \"a\""}, true},
		"another tag":                       {[]string{"ETag: \"a\""}, []string{"ETag: \"b\""}, false},
		"no tag any more":                   {[]string{"ETag: \"a\"", lm}, []string{lm}, false},
		"the same date":                     {[]string{lm}, []string{lm}, true},
		"another date":                      {[]string{lm}, []string{other}, false},
		"the same tag, another date":        {[]string{"ETag: \"a\"", lm}, []string{"ETag: \"a\"", other}, false},
		"a date that was not there":         {[]string{"ETag: \"a\""}, []string{"ETag: \"a\"", lm}, false},
		"the same tag, no date any more":    {[]string{"ETag: \"a\"", lm}, []string{"ETag: \"a\""}, true},
		"the same tag and length":           {[]string{"ETag: \"a\"", "Content-Length: 5"}, []string{"ETag: \"a\"", "Content-Length: 5"}, true},
		"the same tag, another length":      {[]string{"ETag: \"a\"", "Content-Length: 5"}, []string{"ETag: \"a\"", "Content-Length: 6"}, false},
		"the same length and no validators": {[]string{"Content-Length: 5"}, []string{"Content-Length: 5"}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := HeadSelects(header(tt.stored...), header(tt.head...)); got != tt.want {
				t.Errorf("got %v; want %v", got, tt.want)
			}
		})
	}
}

// RFC 9110, 15.3.7.3.
func TestCombinable(t *testing.T) {
	tests := map[string]struct {
		a, b []string
		want bool
	}{
		"the same strong tag":           {[]string{"ETag: \"a\""}, []string{"ETag: \"a\""}, true},
		"the shortest tags":             {[]string{"ETag: \"\""}, []string{"ETag: \"\""}, true},
		"an exclamation mark":           {[]string{"ETag: \"!\""}, []string{"ETag: \"!\""}, true},
		"another":                       {[]string{"ETag: \"a\""}, []string{"ETag: \"b\""}, false},
		"a weak tag":                    {[]string{"ETag: W/\"a\""}, []string{"ETag: W/\"a\""}, false},
		"a tag without quotes":          {[]string{"ETag: a"}, []string{"ETag: a"}, false},
		"no tags":                       {nil, nil, false},
		"the same date is not enough":   {[]string{"Last-Modified: " + at(-9)}, []string{"Last-Modified: " + at(-9)}, false},
		"the same tag, another coding":  {[]string{"ETag: \"a\"", "Content-Encoding: gzip"}, []string{"ETag: \"a\""}, false},
		"the same tag, the same coding": {[]string{"ETag: \"a\"", "Content-Encoding: gzip"}, []string{"ETag: \"a\"", "Content-Encoding: gzip"}, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := Combinable(header(tt.a...), header(tt.b...)); got != tt.want {
				t.Errorf("got %v; want %v", got, tt.want)
			}
		})
	}
}
