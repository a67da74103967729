package main

import (
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		``:   "",
		`{}`: "",
		`{"header":"X-Correlation-ID","format":"uuidv4","accept":"all","response":false,"trace":"span","samplePercent":0}`: "",
		`{"header":""}`:                     "config.header: want a field's name",
		`{"header":"a b"}`:                  "config.header: want a field's name",
		`{"header":":path"}`:                "config.header: want a field's name",
		`{"header":"TraceParent"}`:          "config.header: this field means something else",
		`{"header":7}`:                      "config.header: a number; want a text",
		`{"format":"ulid"}`:                 "config.format: want one of uuidv7, uuidv4",
		`{"accept":"some"}`:                 "config.accept: want one of trusted, all, none",
		`{"accept":true}`:                   "config.accept: true or false; want a text",
		`{"trace":"on"}`:                    "config.trace: want one of off, make, span",
		`{"samplePercent":101}`:             "config.samplePercent: want 0 to 100",
		`{"samplePercent":-1}`:              "config.samplePercent: want 0 to 100",
		`{"name":"x"}`:                      "config.name: unknown field",
		`{"format":"a","samplePercent":-1}`: "config.format",
	} {
		_, err := parse([]byte(text))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v; want %q", text, err, want)
		}
	}
}

func TestUUIDs(t *testing.T) {
	r := random{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xff}
	if got, want := uuidV4(r), "00010203-0405-4607-8809-0a0b0c0d0eff"; got != want {
		t.Errorf("got %s; want %s", got, want)
	}
	if got, want := uuidV7(r, time.UnixMilli(0x0123456789ab)), "01234567-89ab-7607-8809-0a0b0c0d0eff"; got != want {
		t.Errorf("got %s; want %s", got, want)
	}
	all := random{}
	for i := range all {
		all[i] = 0xff
	}
	if got, want := uuidV7(all, time.Unix(-1, 0)), "00000000-0000-7fff-bfff-ffffffffffff"; got != want {
		t.Errorf("got %s; want %s", got, want)
	}
	if !(uuidV7(all, time.UnixMilli(1000)) < uuidV7(random{}, time.UnixMilli(1001))) {
		t.Error("later ones do not come later")
	}
}

func TestAcceptable(t *testing.T) {
	for id, want := range map[string]bool{
		"a": true, "018f-A_b.c:d/e+f=": true, strings.Repeat("a", 128): true,
		"": false, strings.Repeat("a", 129): false, "a b": false, "a\nb": false, "<a>": false, "a,b": false, "\u00e9": false, "a\x00": false, "${jndi:x}": false,
	} {
		if got := acceptable(id); got != want {
			t.Errorf("%q: got %v", id, got)
		}
	}
}

func TestParents(t *testing.T) {
	const trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	for field, sampled := range map[string]bool{
		"00-" + trace + "-" + span + "-01":   true,
		"00-" + trace + "-" + span + "-00":   false,
		"00-" + trace + "-" + span + "-03":   true,
		"00-" + trace + "-" + span + "-0b":   true,
		"00-" + trace + "-" + span + "-0a":   false,
		"cc-" + trace + "-" + span + "-01":   true,
		"cc-" + trace + "-" + span + "-01-x": true,
	} {
		p, ok := parseParent(field)
		if !ok || p.trace != trace || p.span != span || p.sampled != sampled {
			t.Errorf("%s: got %v, %v", field, p, ok)
		}
		if again, ok := parseParent(p.String()); !ok || again != p {
			t.Errorf("%s: written as %s", field, p)
		}
	}
	for _, field := range []string{
		"", "00", "00-" + trace + "-" + span, "00-" + trace + "-" + span + "-1", "00-" + trace + "-" + span + "-01-", "00-" + trace + "-" + span + "-01x",
		"cc-" + trace + "-" + span + "-01.x", "ff-" + trace + "-" + span + "-01", "0G-" + trace + "-" + span + "-01",
		"00-" + strings.ToUpper(trace) + "-" + span + "-01", "00-" + strings.Repeat("0", 32) + "-" + span + "-01", "00-" + trace + "-" + strings.Repeat("0", 16) + "-01",
		"00_" + trace + "-" + span + "-01", "00-" + trace + "_" + span + "-01", "00-" + trace + "-" + span + "_01", strings.Repeat("-", 55), strings.Repeat("\xff", 55),
	} {
		if p, ok := parseParent(field); ok {
			t.Errorf("%q: got %v", field, p)
		}
	}
}

func TestTracesBegin(t *testing.T) {
	p := begin(random{}, random{}, 100)
	if again, ok := parseParent(p.String()); !ok || !again.sampled {
		t.Errorf("of zeros: %s", p)
	}
	sampled := 0
	for i := range 256 {
		if begin(random{}, random{15: byte(i)}, 25).sampled {
			sampled++
		}
	}
	if sampled != 64 || begin(random{}, random{}, 0).sampled || !begin(random{}, random{15: 255}, 100).sampled {
		t.Errorf("%d of 256 are sampled; want 64", sampled)
	}
}

func FuzzParent(f *testing.F) {
	f.Add("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	f.Fuzz(func(t *testing.T, field string) {
		if p, ok := parseParent(field); ok {
			if again, ok := parseParent(p.String()); !ok || again != p {
				t.Errorf("%q: %v is written as %s", field, p, p)
			}
		}
	})
}
