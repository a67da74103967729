package main

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	crstests "github.com/corazawaf/coraza-coreruleset/v4/tests"
	"github.com/corazawaf/coraza/v3"
	"github.com/corazawaf/coraza/v3/experimental/plugins"
	"github.com/corazawaf/coraza/v3/experimental/plugins/plugintypes"
	"github.com/goccy/go-yaml"
	"rsc.io/binaryregexp"
)

// twins are two firewalls of one configuration: one that leaves rules out, and one that
// evaluates them all.
type twins struct{ sifted, whole *compiled }

func makeTwins(t testing.TB, text string) twins {
	t.Helper()
	of := func(whole bool) *compiled {
		c := &compiled{}
		parsed, err := parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		parsed.whole = whole
		if c.firewall, err = newFirewall(parsed, func(line string) { c.lines = append(c.lines, line) }); err != nil {
			t.Fatal(err)
		}
		return c
	}
	return twins{sifted: of(false), whole: of(true)}
}

// message is a request.
type message struct {
	Method  string            `yaml:"method"`
	URI     string            `yaml:"uri"`
	Version string            `yaml:"version"`
	Headers map[string]string `yaml:"headers"`
	Data    string            `yaml:"data"`
}

// run returns what a firewall says of a request.
func (c *compiled) run(t testing.TB, m message) (verdict, string) {
	t.Helper()
	c.lines = nil
	i := c.newInspection()
	header := [][2]string{{":method", m.Method}, {":path", m.URI}, {":scheme", "http"}}
	for _, name := range slices.Sorted(maps.Keys(m.Headers)) {
		header = append(header, [2]string{strings.ToLower(name), m.Headers[name]})
	}
	v := i.requestHeaders("192.0.2.1:4000", "192.0.2.2:8080", m.Version, header, m.Data == "")
	if v == pass && m.Data != "" {
		v, _ = i.requestBody(len(m.Data), true, func(start, size int) ([]byte, error) { return []byte(m.Data[start : start+size]), nil })
	}
	if err := i.done(); err != nil {
		t.Fatal(err)
	}
	return v, strings.Join(c.lines, "\n")
}

// agree runs a request through both.
func (w twins) agree(t testing.TB, m message) {
	t.Helper()
	got, gotText := w.sifted.run(t, m)
	want, wantText := w.whole.run(t, m)
	if want == tooLong && strings.Contains(wantText, "too many values") {
		return // with fewer rules, a longer request can mostly be inspected
	}
	if got != want || gotText != wantText {
		t.Errorf("%+v: got %d\n%s\nwant %d\n%s", m, got, gotText, want, wantText)
	}
}

// messages are the requests of the Core Rule Set's own tests.
func messages(t testing.TB) (all []message) {
	t.Helper()
	err := fs.WalkDir(crstests.FS, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".yaml") {
			return err
		}
		text, err := fs.ReadFile(crstests.FS, path)
		if err != nil {
			return err
		}
		var file struct {
			Tests []struct {
				Stages []struct {
					Input message `yaml:"input"`
				} `yaml:"stages"`
			} `yaml:"tests"`
		}
		if err := yaml.Unmarshal(text, &file); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for _, test := range file.Tests {
			for _, stage := range test.Stages {
				m := stage.Input
				if m.Method == "" {
					m.Method = "GET"
				}
				if m.Version == "" {
					m.Version = "HTTP/1.1"
				}
				all = append(all, m)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 4000 {
		t.Fatalf("%d requests", len(all))
	}
	return all
}

// TestSieveAgrees: nothing is decided otherwise because rules were left out.
func TestSieveAgrees(t *testing.T) {
	all, sparse, long := messages(t), 25, os.Getenv("PENSTOCK_LONG") != ""
	if long {
		sparse = 1
	}
	for name, c := range map[string]struct {
		config string
		every  int // one of so many
		short  bool
	}{
		"level 1":          {`{}`, 1, true},
		"level 1, detect":  {`{"mode": "detect"}`, 3, false},
		"level 2":          {`{"paranoiaLevel": 2}`, 3, false},
		"level 4, detect":  {`{"paranoiaLevel": 4, "mode": "detect"}`, 5, true},
		"own settings":     {`{"rules": "SecAction \"id:10,phase:1,pass,nolog,setvar:tx.critical_anomaly_score=2,setvar:tx.crs_validate_utf8_encoding=1\""}`, 5, true},
		"an own level":     {`{"rules": "SecAction \"id:10,phase:1,pass,nolog,setvar:tx.detection_paranoia_level=3\""}`, 5, false},
		"rules that count": {`{"rules": "SecRule REQUEST_METHOD \"@streq GET\" \"id:10,phase:2,pass,nolog,skip:1\""}`, 5, false},
		"parts removed":    {`{"excludeRules": [942100, 941160, 942200], "rules": "SecRule REQUEST_METHOD \"@streq GET\" \"id:10,phase:1,pass,nolog,ctl:ruleRemoveTargetByTag=attack-sqli;ARGS,ctl:ruleRemoveById=932000-932999\""}`, 5, true},
	} {
		if !c.short && !long {
			continue
		}
		t.Run(name, func(t *testing.T) {
			w := makeTwins(t, c.config)
			for n := 0; n < len(all); n += c.every * sparse {
				w.agree(t, all[n])
			}
		})
	}
}

// TestSettledUnless: own rules that may change what is settled leave all as it is.
func TestSettledUnless(t *testing.T) {
	for text, want := range map[string]bool{
		`{}`: true,
		`{"rules": "SecAction \"id:10,phase:1,pass,nolog,setvar:tx.allowed_http_versions=HTTP/2\""}`:                       true,
		`{"rules": "SecRule REQUEST_URI \"@beginsWith /a\" \"id:10,phase:1,pass,nolog,ctl:ruleRemoveById=942100\""}`:       true,
		`{"rules": "SecRule REQUEST_URI \"@beginsWith /a\" \"id:10,phase:1,pass,nolog,ctl:ruleRemoveByTag=attack-sqli\""}`: true,
		`{"excludeRules": [942100, 920350]}`:                                                       true,
		`{"excludeRules": [942100, 942013]}`:                                                       false,
		`{"rulesAfter": "SecRuleRemoveById 942100 901111"}`:                                        false,
		`{"rulesAfter": "SecRuleRemoveById \"942000-942099\""}`:                                    false,
		`{"rules": "SecAction \"id:10,phase:1,pass,nolog,ctl:ruleRemoveById=901111\""}`:            false,
		`{"rules": "SecAction \"id:10,phase:1,pass,nolog,setvar:TX.Detection_Paranoia_Level=2\""}`: false,
		`{"rules": "SecAction \"id:10,phase:1,pass,nolog,setvar:tx.%{ARGS.a}=2\""}`:                false,
		`{"rules": "SecAction \"id:10,phase:1,pass,nolog,skip:1\""}`:                               false,
		`{"rulesAfter": "SecRule\\\nUpdateTargetById 942100 \"ARGS:a\""}`:                          false,
	} {
		c, err := parse([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := newSettled(c) != nil; got != want {
			t.Errorf("%s: settled: %v", text, got)
		}
	}
}

// TestSieveUnknown: an operator that cannot say whether it matches leaves nothing out.
func TestSieveUnknown(t *testing.T) {
	w := makeTwins(t, "")
	rules := w.sifted.sieve.rules
	for i := range rules {
		if rules[i].matches != nil {
			rules[i].matches = func(string) (matched, known bool) { return i%2 == 0, false }
		}
	}
	for i := range rules {
		if r := &rules[i]; !r.may("a", &characters{}) {
			t.Errorf("rule %d is left out", r.id)
		}
	}
	for n, m := range messages(t) {
		if n%60 == 0 {
			w.agree(t, m)
		}
	}
}

// TestSieveLeavesOut: of a usual request nearly all rules are left out.
func TestSieveLeavesOut(t *testing.T) {
	w := makeTwins(t, "")
	m := message{"GET", "/shop/item-7?colour=red&page=2", "HTTP/1.1", map[string]string{
		"Host": "shop.example", "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
		"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "Accept-Language": "en-GB,en;q=0.5",
		"Accept-Encoding": "gzip, deflate, br", "Cookie": "session=7c2d9a41f0; theme=dark", "Referer": "https://shop.example/?q=shoes&page=1",
	}, ""}
	if v, lines := w.sifted.run(t, m); v != pass || lines != "" {
		t.Fatal(v, lines)
	}
	s := w.sifted.sieve
	left, stay := 0, 0
	for _, in := range s.phases {
		for _, i := range in.rules {
			if in.stay.has(i) {
				stay++
			} else {
				left++
			}
		}
	}
	if left < 130 || stay > 20 {
		t.Errorf("%d rules left out, %d evaluated", left, stay)
	}
}

// grab is an operator that notes the value.
type grab struct{ values []string }

func (g *grab) Evaluate(_ plugintypes.TransactionState, value string) bool {
	g.values = append(g.values, value)
	return false
}

// transformer runs Coraza's transformations.
type transformer struct {
	grab
	waf   coraza.WAF
	names []string
}

func newTransformer(t testing.TB) *transformer {
	t.Helper()
	x := &transformer{names: slices.Sorted(maps.Keys(transformations))}
	plugins.RegisterOperator("grab", func(plugintypes.OperatorOptions) (plugintypes.Operator, error) { return &x.grab, nil })
	var rules strings.Builder
	for n, name := range x.names {
		fmt.Fprintf(&rules, "SecRule ARGS_GET:a \"@grab\" \"id:%d,phase:1,pass,nolog,t:none,t:%s\"\n", n+1, name)
	}
	var err error
	if x.waf, err = coraza.NewWAF(coraza.NewWAFConfig().WithDirectives("SecRuleEngine On\n" + rules.String())); err != nil {
		t.Fatal(err)
	}
	return x
}

// of returns what they make of a value, in the order of names.
func (x *transformer) of(t testing.TB, value string) []string {
	t.Helper()
	x.values = nil
	tx := x.waf.NewTransaction()
	defer tx.Close()
	tx.AddGetRequestArgument("a", value)
	tx.ProcessRequestHeaders()
	if len(x.values) != len(x.names) {
		t.Fatalf("%d values of %d transformations", len(x.values), len(x.names))
	}
	return x.values
}

// FuzzTransform: steps make of ASCII values what Coraza's transformations make of them, and
// those come to hold no other characters that are in marks.
func FuzzTransform(f *testing.F) {
	for _, seed := range []string{"", "a b", "  A\t,b;; c(d /e", "/a/./b//../c/", "..", "./", "a/b. /c ./ ", "1+1", "a\"b'c\\d^e", "x /*y*/ -- z #", "\x00a", ". /.. ", "A\nB\v\f C", "1%x+%", "%u00", "a&b=c&amp", "&Amp;", "a\\b"} {
		f.Add(seed)
	}
	x := newTransformer(f)
	f.Fuzz(func(t *testing.T, value string) {
		var c characters
		if !c.add(value) || len(value) > longestJudged {
			return
		}
		missing := c.missing()
		for n, got := range x.of(t, value) {
			name := x.names[n]
			k := transformations[name]
			if c.decodes()&k.decodes == 0 {
				var after characters
				if !after.add(got) {
					t.Fatalf("%s: %q becomes %q", name, value, got)
				}
				for i := range marks {
					if missing>>i&1 != 0 && after.meets(&marks[i]) {
						t.Fatalf("%s: %q becomes %q: mark %d is met", name, value, got, i)
					}
				}
			}
			if alters := charactersOf(k.alters); c.meets(&alters) {
				continue
			}
			want, ok := value, true
			if k.step != nil {
				want, ok = k.step(value)
			}
			if ok && got != want {
				t.Fatalf("%s: %q becomes %q; step says %q", name, value, got, want)
			}
		}
	})
}

// FuzzJudge: what marks say of an expression is so.
func FuzzJudge(f *testing.F) {
	type known struct {
		expr  expression
		marks uint64
	}
	var all []known
	add := func(expr string, re expression) {
		a, err := newAutomaton(expr, newRoom(roomBytes, nil))
		if err != nil {
			f.Fatal(err)
		}
		all = append(all, known{re, marksOf(a.prog)})
	}
	texts, binary := expressions(f)
	for _, expr := range texts {
		add(expr, regexp.MustCompile(expr))
	}
	for _, expr := range binary {
		add(expr, binaryregexp.MustCompile(expr))
	}
	for _, m := range messages(f)[:50] {
		f.Add(m.URI)
		f.Add(m.Data)
	}
	f.Fuzz(func(t *testing.T, value string) {
		var c characters
		if !c.add(value) || len(value) > 200 {
			return
		}
		missing := c.missing()
		for _, k := range all {
			if missing&k.marks != 0 && k.expr.MatchString(value) {
				t.Fatalf("%q matches %v", value, k.expr)
			}
		}
	})
}

// FuzzSieve: no request is judged otherwise.
func FuzzSieve(f *testing.F) {
	w := makeTwins(f, "")
	for n, m := range messages(f) {
		if n%120 == 0 {
			f.Add(m.Method, m.URI, m.Headers["User-Agent"], m.Headers["Cookie"], m.Headers["Referer"], m.Headers["Content-Type"], m.Data)
		}
	}
	f.Fuzz(func(t *testing.T, method, uri, agent, cookie, referer, media, data string) {
		if len(uri)+len(agent)+len(cookie)+len(referer)+len(data) > 2000 {
			return
		}
		w.agree(t, message{method, uri, "HTTP/1.1", map[string]string{"Host": "shop.example", "Accept": "*/*", "User-Agent": agent, "Cookie": cookie, "Referer": referer, "Content-Type": media}, data})
	})
}
