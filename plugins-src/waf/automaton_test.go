package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/corazawaf/coraza-coreruleset/v4"
	"rsc.io/binaryregexp"
)

// rxArgument finds @rx in a rule; quotes are escaped in the file.
var rxArgument = regexp.MustCompile(`"!?@rx ((?:[^"\\]|\\.)*)"`)

// expressions returns the Core Rule Set's, and those of them that name bytes.
func expressions(t testing.TB) (all, binary []string) {
	t.Helper()
	names, err := fs.Glob(coreruleset.FS, "@owasp_crs/*.conf")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		text, err := fs.ReadFile(coreruleset.FS, name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range rxArgument.FindAllSubmatch(text, -1) {
			expr := strings.ReplaceAll(string(m[1]), `\"`, `"`)
			if arbitraryBytes(expr) {
				binary = append(binary, expr)
			} else if _, err := regexp.Compile("(?sm)" + expr); err == nil {
				all = append(all, "(?sm)"+expr)
			}
		}
	}
	if len(all) < 200 || len(binary) < 5 {
		t.Fatalf("only %d expressions and %d that name bytes", len(all), len(binary))
	}
	return all, binary
}

// agree compares the automaton with a package for regular expressions, twice: with new
// states and with known ones.
func agree(t *testing.T, a *automaton, re expression, text string) {
	t.Helper()
	want := re.MatchString(text)
	for range 2 {
		if got, ok := a.match(text); ok && got != want {
			t.Fatalf("%.200q on %.200q: got %v; want %v", re, text, got, want)
		}
	}
}

// TestAutomatonOnCoreRules runs all expressions of the Core Rule Set on its data
// files, on parts of its own rules, and on attacks.
func TestAutomatonOnCoreRules(t *testing.T) {
	texts := []string{"", "\n", "a", sqli, xss, "../../etc/passwd", "a\xffb", "<\xbe \xbc>", "\xe2\x80\x98=\xc2\xb4", "K\u212aln ſ", "<svg/onload=alert(1)>", "${jndi:ldap://a}", "; cat /etc/passwd | nc -e /bin/sh", "Content-Type: text/html\r\n\r\n", strings.Repeat("The quick brown fox. ", 20), strings.Repeat("\u00e4\u4e16", 30)}
	names, err := fs.Glob(coreruleset.FS, "@owasp_crs/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		text, err := fs.ReadFile(coreruleset.FS, name)
		if err != nil {
			t.Fatal(err)
		}
		lines := bytes.Split(text, []byte("\n"))
		for i := 0; i < len(lines); i += 1 + len(lines)/5 {
			texts = append(texts, string(lines[i]))
		}
	}
	rm := newRoom(1<<20, nil) // small: states must be forgotten on the way
	matches, undecided := 0, 0
	all, binary := expressions(t)
	for n, expr := range slices.Concat(all, binary) {
		a, err := newAutomaton(expr, rm)
		if err != nil {
			t.Fatal(err)
		}
		var re expression
		if a.bytes = n >= len(all); a.bytes {
			re = binaryregexp.MustCompile(expr)
		} else {
			re = regexp.MustCompile(expr)
		}
		for _, text := range texts {
			agree(t, a, re, text)
			m, ok := a.match(text)
			if !ok {
				undecided++
			}
			if m {
				matches++
			}
		}
	}
	if t.Logf("%d texts, %d matches, %d undecided", len(texts), matches, undecided); matches < 100 {
		t.Error("too few matches to tell anything")
	}
}

func TestAutomaton(t *testing.T) {
	exprs := []string{`a`, `^a$`, `(?m)^a$`, `\Aa\z`, `\ba\b`, `\Ba`, `(?i)straße|k`, `[^a]`, `.`, `(?s).`, `a*?b`, `(a|ab)(c|bcd)`, `^$`, `(?m)^$`, ``, `\x{e4}`, `[\x{4e00}-\x{9fff}]+x`, `a{2,3}$`, `^(?:a|\b)b`, `(?m)a$\nb`, `\bé`, `[[:^ascii:]]`}
	texts := []string{"", "a", "b", "ab", "aab", "ba", "a\n", "\na", "b\na\nc", "a b", "xay", "K", "STRASSE", "straſse", "abcd", "é", "aé", " é", "\xff", "a\xff\nb", "世界x", "a\nb", "\n\n"}
	for _, size := range []int{1 << 20, 1} { // 1: every state is forgotten at once
		for _, expr := range exprs {
			a, err := newAutomaton(expr, newRoom(size, nil))
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range texts {
				agree(t, a, regexp.MustCompile(expr), text)
			}
		}
	}
	if _, err := newAutomaton("(", newRoom(1, nil)); err == nil {
		t.Error("a broken expression is taken")
	}
}

// TestRoom: states never take more than the room.
func TestRoom(t *testing.T) {
	rm := newRoom(64<<10, nil)
	for i := range 20 {
		a, err := newAutomaton(fmt.Sprintf("(a|b)*a(a|b){%d}c", 5+i%5), rm)
		if err != nil {
			t.Fatal(err)
		}
		a.match(strings.Repeat("abbaabab", 500))
	}
	states := 0
	for _, a := range rm.automata {
		states += len(a.next)
	}
	if states > 64<<10/4+20*8 {
		t.Errorf("%d words of states", states)
	}
}

func FuzzAutomaton(f *testing.F) {
	all, binary := expressions(f)
	for i, expr := range all {
		if i%10 == 0 && len(expr) < 300 {
			f.Add(expr, sqli, false)
		}
	}
	for _, expr := range binary {
		f.Add(expr, "a\xbc\xe2\x80\x98<\xbe", true)
	}
	f.Add(`(?m)^a\b|\Bb$`, "a\nb", false)
	f.Add(`(?i)\x{e9}.[^\xff]\bk`, "\xc9\n\xc3\xa9K", true)
	f.Fuzz(func(t *testing.T, expr, text string, bytes bool) {
		if len(expr) > 500 || len(text) > 500 {
			return
		}
		re, err := regexp.Compile(expr)
		if err != nil {
			return
		}
		a, err := newAutomaton(expr, newRoom(1<<16, nil))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes {
			agree(t, a, re, text)
		} else if re, err := binaryregexp.Compile(expr); err == nil { // it is older: not all that regexp takes
			a.bytes = true
			agree(t, a, re, text)
		}
	})
}

func TestArbitraryBytes(t *testing.T) {
	for expr, want := range map[string]bool{`\xbc`: true, `\x{bc}`: true, `[^\x80-\xff]`: true, `\x0a`: false, `\xc3\xa4`: false, `\\xbc`: false, `ä\d`: false, `\x{4e16}`: false} {
		if got := arbitraryBytes(expr); got != want {
			t.Errorf("%s: got %v; want %v", expr, got, want)
		}
	}
}
