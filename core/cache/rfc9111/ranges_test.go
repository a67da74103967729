package rfc9111

import (
	"fmt"
	"io"
	"math/big"
	"mime/multipart"
	"slices"
	"strings"
	"testing"
)

// RFC 9110, 14.1.2 and 14.2.
func TestRange(t *testing.T) {
	many := func(n int, spec string) string {
		return "bytes=" + strings.TrimSuffix(strings.Repeat(spec+",", n), ",")
	}
	spread := func(n int) string {
		var specs []string
		for i := range n {
			specs = append(specs, fmt.Sprintf("%d-%d", i*1000, i*1000+9))
		}
		return "bytes=" + strings.Join(specs, ",")
	}
	tests := map[string]struct {
		value  string
		size   int64
		status int
		want   string
	}{
		"the first bytes":                      {"bytes=0-1", 11, 206, "0-1"},
		"from a byte on":                       {"bytes=1-", 11, 206, "1-10"},
		"the last bytes":                       {"bytes=-1", 11, 206, "10-10"},
		"more than there are, from the end":    {"bytes=-99", 11, 206, "0-10"},
		"more than there are":                  {"bytes=5-99", 11, 206, "5-10"},
		"all there are":                        {"bytes=0-", 11, 206, "0-10"},
		"more than a number holds":             {"bytes=5-99999999999999999999999", 11, 206, "5-10"},
		"from more than a number holds":        {"bytes=99999999999999999999999-", 11, 416, ""},
		"more than a number holds, at the end": {"bytes=-99999999999999999999999", 11, 206, "0-10"},
		"the greatest number":                  {"bytes=5-9223372036854775807", 11, 206, "5-10"},
		"past the end":                         {"bytes=11-", 11, 416, ""},
		"no bytes from the end":                {"bytes=-0", 11, 416, ""},
		"one past the end, one not":            {"bytes=50-60, 0-0", 1000, 206, "50-60 0-0"},
		"all but one past the end":             {"bytes=50-60, 0-0", 20, 206, "0-0"},
		"two":                                  {"bytes=0-9,990-", 1000, 206, "0-9 990-999"},
		"spaces and empty members":             {"bytes=, 0-9 ,, -10,", 1000, 206, "0-9 990-999"},
		"the unit in another case":             {"BYTES=0-1", 11, 206, "0-1"},
		"leading zeros":                        {"bytes=000-001", 11, 206, "0-1"},
		"another unit":                         {"lines=0-1", 11, 200, ""},
		"no unit":                              {"0-1", 11, 200, ""},
		"a space before the equals sign":       {"bytes =0-1", 11, 200, ""},
		"the last before the first":            {"bytes=5-4", 11, 200, ""},
		"that among others":                    {"bytes=0-1,5-4", 11, 200, ""},
		"a letter":                             {"bytes=a-4", 11, 200, ""},
		"a sign":                               {"bytes=--4", 11, 200, ""},
		"nothing":                              {"bytes=", 11, 200, ""},
		"a dash":                               {"bytes=-", 11, 200, ""},
		"a space inside":                       {"bytes=0 -1", 11, 200, ""},
		"empty":                                {"", 11, 200, ""},
		"an empty response":                    {"bytes=0-1", 0, 200, ""},
		"a size that is not known":             {"bytes=0-1", -1, 200, ""},
		"as many as we take":                   {spread(16), 1 << 20, 206, "0-9 1000-1009 2000-2009 3000-3009 4000-4009 5000-5009 6000-6009 7000-7009 8000-8009 9000-9009 10000-10009 11000-11009 12000-12009 13000-13009 14000-14009 15000-15009"},
		"one more":                             {spread(17), 1 << 20, 200, ""},
		"more that lie past the end":           {many(17, "99-"), 11, 200, ""},
		"two that overlap":                     {"bytes=0-9,5-14", 1000, 206, "0-9 5-14"},
		"many that overlap":                    {many(4, "0-9"), 10000, 200, ""},
		"more bytes than there are":            {"bytes=0-,0-", 1000, 200, ""},
		"tiny ones of a small response":        {"bytes=0-0,2-2,4-4", 100, 200, ""},
		"one byte of one":                      {"bytes=0-0", 1, 206, "0-0"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r, status := Range(header("Range: "+tt.value), header(), tt.size, &Facts{Status: 200})
			var got []string
			for _, b := range r.All() {
				got = append(got, fmt.Sprintf("%d-%d", b.First, b.Last))
			}
			if status != tt.status || strings.Join(got, " ") != tt.want {
				t.Errorf("got %d %v; want %d %s", status, got, tt.status, tt.want)
			}
		})
	}
	if _, status := Range(header(), header(), 10, &Facts{Status: 200}); status != 200 {
		t.Errorf("without the field: %d; want 200", status)
	}
	if _, status := Range(header("Range: bytes=0-1", "Range: bytes=0-1"), header(), 10, &Facts{Status: 200}); status != 200 {
		t.Errorf("the field twice: %d; want 200", status)
	}
	if _, status := Range(header("Range: bytes=0-1"), header(), 10, &Facts{Status: 404}); status != 200 {
		t.Errorf("of a 404: %d; want 200", status)
	}
}

// RFC 9110, 13.1.5 and 8.8.2.2.
func TestIfRange(t *testing.T) {
	tests := map[string]struct {
		stored  []string
		ifRange []string
		want    int
	}{
		"the strong tag":                      {[]string{"ETag: \"a\""}, []string{"\"a\""}, 206},
		"another tag":                         {[]string{"ETag: \"a\""}, []string{"\"b\""}, 200},
		"a weak tag":                          {[]string{"ETag: W/\"a\""}, []string{"W/\"a\""}, 200},
		"a tag without quotes":                {[]string{"ETag: a"}, []string{"a"}, 200},
		"two of it":                           {[]string{"ETag: \"a\""}, []string{"\"a\"", "\"a\""}, 200},
		"a list is none":                      {[]string{"ETag: \"a\""}, []string{"\"a\", \"b\""}, 200},
		"the date":                            {[]string{"Last-Modified: " + at(-9)}, []string{at(-9)}, 206},
		"a later date":                        {[]string{"Last-Modified: " + at(-9)}, []string{at(-8)}, 200},
		"the date, of the second it was sent": {[]string{"Last-Modified: " + at(0)}, []string{at(0)}, 200},
		"the date, a second before":           {[]string{"Last-Modified: " + at(-1)}, []string{at(-1)}, 206},
		"a date, where a tag is stored":       {[]string{"ETag: \"a\""}, []string{at(-9)}, 200},
		"empty":                               {[]string{"ETag: \"a\""}, []string{""}, 200},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			q := header("Range: bytes=0-1")
			for _, v := range tt.ifRange {
				q.Add([]byte("If-Range"), []byte(v))
			}
			f := Facts{Status: 200, Date: start.UnixMilli(), Received: start.UnixMilli()}
			if _, got := Range(q, header(tt.stored...), 10, &f); got != tt.want {
				t.Errorf("got %d; want %d", got, tt.want)
			}
		})
	}
}

// RFC 9110, 14.4.
func TestPartialRange(t *testing.T) {
	tests := map[string]struct {
		lines []string
		want  ByteRange
		size  int64
		ok    bool
	}{
		"a range of a known size":     {[]string{"Content-Range: bytes 4-9/10"}, ByteRange{4, 9}, 10, true},
		"of an unknown size":          {[]string{"Content-Range: bytes 4-9/*"}, ByteRange{4, 9}, -1, true},
		"past the size":               {[]string{"Content-Range: bytes 4-10/10"}, ByteRange{}, 0, false},
		"the last before the first":   {[]string{"Content-Range: bytes 9-4/10"}, ByteRange{}, 0, false},
		"of a 416":                    {[]string{"Content-Range: bytes */10"}, ByteRange{}, 0, false},
		"another unit":                {[]string{"Content-Range: lines 4-9/10"}, ByteRange{}, 0, false},
		"no size":                     {[]string{"Content-Range: bytes 4-9"}, ByteRange{}, 0, false},
		"an empty size":               {[]string{"Content-Range: bytes 4-9/"}, ByteRange{}, 0, false},
		"no first":                    {[]string{"Content-Range: bytes -9/10"}, ByteRange{}, 0, false},
		"too great to count":          {[]string{"Content-Range: bytes 0-9223372036854775807/*"}, ByteRange{}, 0, false},
		"twice":                       {[]string{"Content-Range: bytes 4-9/10", "Content-Range: bytes 4-9/10"}, ByteRange{}, 0, false},
		"several parts":               {[]string{"Content-Range: bytes 4-9/10", "Content-Type: Multipart/Byteranges;boundary=x"}, ByteRange{}, 0, false},
		"several parts, no parameter": {[]string{"Content-Range: bytes 4-9/10", "Content-Type: multipart/byteranges"}, ByteRange{}, 0, false},
		"the greatest that counts":    {[]string{"Content-Range: bytes 0-9223372036854775806/9223372036854775807"}, ByteRange{0, 9223372036854775806}, 9223372036854775807, true},
		"nothing":                     {nil, ByteRange{}, 0, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r, size, ok := PartialRange(header(tt.lines...))
			if ok != tt.ok || ok && (r != tt.want || size != tt.size) {
				t.Errorf("got %v, %d, %v; want %v, %d, %v", r, size, ok, tt.want, tt.size, tt.ok)
			}
			if ok {
				if again := "Content-Range: " + string(AppendContentRange(nil, r, size)); again != tt.lines[0] {
					t.Errorf("written again it is %s", again)
				}
			}
		})
	}
	if got := string(AppendUnsatisfied(nil, 10)); got != "bytes */10" {
		t.Errorf("of a 416: %s", got)
	}
}

// FuzzRange compares with a reading of RFC 9110's grammar in numbers of any size, one
// byte at a time.
func FuzzRange(f *testing.F) {
	for _, s := range []string{"bytes=0-1", "bytes=-5, 3-", "bytes=9-3", "bytes=99999999999999999999-", "bytes=-99999999999999999999", "bytes=0-0,0-0,0-0,0-0", "bytes=,", "bytes=-0"} {
		f.Add(s, int64(11))
		f.Add(s, int64(100000))
	}
	f.Fuzz(func(t *testing.T, s string, size int64) {
		size = min(max(size, 1), 1<<40)
		h := header()
		h.Add([]byte("Range"), []byte(s))
		r, status := Range(h, header(), size, &Facts{Status: 200})
		want, ok := slowRanges(s, size)
		switch {
		case !ok && status != 200, ok && len(want) == 0 && status != 416 && status != 200, status == 206 && !slices.Equal(r.All(), want):
			t.Fatalf("%q of %d: got %d %v; want %v, %v", s, size, status, r.All(), want, ok)
		case ok && len(want) == 1 && strings.Count(s, ",") == 0 && status != 206:
			t.Fatalf("%q of %d: got %d; want %v", s, size, status, want)
		}
		var sum int64
		for _, b := range r.All() {
			if b.First < 0 || b.Last < b.First || b.Last >= size {
				t.Fatalf("%q of %d: %v", s, size, b)
			}
			sum += b.Len()
		}
		if sum > size {
			t.Fatalf("%q of %d: %d bytes", s, size, sum)
		}
	})
}

func slowRanges(s string, size int64) (ranges []ByteRange, ok bool) {
	if len(s) < 6 || !strings.EqualFold(s[:6], "bytes=") {
		return nil, false
	}
	end := big.NewInt(size)
	members := 0
	for spec := range strings.SplitSeq(s[6:], ",") {
		if spec = strings.Trim(spec, " \t"); spec == "" {
			continue
		}
		members++
		from, to, found := strings.Cut(spec, "-")
		if !found || from+to == "" || strings.Trim(from+to, "0123456789") != "" {
			return nil, false
		}
		first, last := new(big.Int), new(big.Int).Sub(end, big.NewInt(1))
		if from == "" {
			n, _ := new(big.Int).SetString(to, 10)
			if n.Sign() == 0 {
				continue
			}
			if first.Sub(end, n); first.Sign() < 0 {
				first.SetInt64(0)
			}
		} else {
			first.SetString(from, 10)
			if to != "" {
				n, _ := new(big.Int).SetString(to, 10)
				if n.Cmp(first) < 0 {
					// Above what we count to, both are the same to us.
					if first.Cmp(big.NewInt(1<<62)) < 0 {
						return nil, false
					}
				}
				if n.Cmp(last) < 0 {
					last = n
				}
			}
		}
		if first.Cmp(end) < 0 {
			ranges = append(ranges, ByteRange{first.Int64(), last.Int64()})
		}
	}
	return ranges, members > 0
}

// RFC 9110, 14.6: what is framed is read back by package mime/multipart, and is as long
// as was said.
func TestMultipart(t *testing.T) {
	body := "0123456789abcdefghij"
	for name, contentType := range map[string]string{"with a type": "text/plain; charset=utf-8", "without": "", "with a long one": "text/" + strings.Repeat("x", 300)} {
		t.Run(name, func(t *testing.T) {
			ranges := []ByteRange{{0, 0}, {5, 14}, {18, 19}}
			var b []byte
			for i, r := range ranges {
				b = AppendPartHead(b, i == 0, "f00", []byte(contentType), r, int64(len(body)))
				b = append(b, body[r.First:r.Last+1]...)
			}
			b = AppendPartsEnd(b, "f00")
			if got := PartsLength("f00", []byte(contentType), ranges, int64(len(body))); got != int64(len(b)) {
				t.Errorf("length %d; want %d", got, len(b))
			}
			parts := multipart.NewReader(strings.NewReader(string(b)), "f00")
			for _, r := range ranges {
				p, err := parts.NextPart()
				if err != nil {
					t.Fatal(err)
				}
				content, err := io.ReadAll(p)
				if err != nil || string(content) != body[r.First:r.Last+1] {
					t.Errorf("got %q, %v", content, err)
				}
				if got := p.Header.Get("Content-Range"); got != fmt.Sprintf("bytes %d-%d/20", r.First, r.Last) {
					t.Errorf("Content-Range: %s", got)
				}
				if got := p.Header.Get("Content-Type"); got != contentType {
					t.Errorf("Content-Type: %s", got)
				}
			}
			if _, err := parts.NextPart(); err != io.EOF {
				t.Errorf("after the last part: %v", err)
			}
		})
	}
}
