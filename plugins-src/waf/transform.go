package main

import (
	"path"
	"strings"

	"golang.org/x/net/html"
)

// step is what a transformation makes of an ASCII value; not ok if it decodes something.
type step func(value string) (result string, ok bool)

// transformation is one of Coraza's. A value that holds a character of alters is made
// something else of than step says.
type transformation struct {
	decodes decodes
	alters  string
	step    step // nil: it makes nothing else
}

// transformations are those of the Core Rule Set after which a value holds no characters
// that it did not hold before and that are in marks, but for a space and a slash (see
// missing), and for what was decoded.
var transformations = map[string]transformation{
	"none": {}, "utf8toUnicode": {}, "lowercase": {step: always(strings.ToLower)},
	"removeNulls": {step: without("\x00")}, "removeWhitespace": {step: without(white)}, "compressWhitespace": {step: always(compressWhite)},
	"replaceComments": {alters: "*"}, "removeCommentsChar": {alters: "*-#"},
	"cmdLine": {step: always(commandLine)}, "normalizePath": {step: always(cleanPath)}, "normalizePathWin": {alters: `\:`, step: always(cleanPathOfWindows)},
	"urlDecodeUni": {decodes: decodesPercent, step: plus}, "htmlEntityDecode": {decodes: decodesAmpersand, step: entities},
	"jsDecode": {decodes: decodesBackslash, step: escapes}, "cssDecode": {decodes: decodesBackslash, step: escapes},
	"escapeSeqDecode": {decodes: decodesBackslash, step: escapes},
}

func always(f func(string) string) step {
	return func(value string) (string, bool) { return f(value), true }
}

// plus makes spaces of "+"; what "%" stands before is decoded, unless that is no number.
func plus(value string) (string, bool) {
	for rest := value; ; {
		_, after, found := strings.Cut(rest, "%")
		if !found {
			return strings.ReplaceAll(value, "+", " "), true
		}
		if after != "" && strings.IndexByte("0123456789abcdefABCDEFuU", after[0]) >= 0 {
			return "", false
		}
		rest = after
	}
}

func entities(value string) (string, bool) { return value, html.UnescapeString(value) == value }

func escapes(value string) (string, bool) { return value, !strings.Contains(value, `\`) }

const white = " \t\n\v\f\r"

// without returns a step that removes characters.
func without(cut string) step {
	return always(func(value string) string {
		if !strings.ContainsAny(value, cut) {
			return value
		}
		return strings.Map(func(r rune) rune {
			if strings.ContainsRune(cut, r) {
				return -1
			}
			return r
		}, value)
	})
}

// compressWhite makes one space of each run of white characters.
func compressWhite(value string) string {
	var b strings.Builder
	for i := range len(value) {
		switch isWhite := strings.IndexByte(white, value[i]) >= 0; {
		case !isWhite:
			b.WriteByte(value[i])
		case i == 0 || strings.IndexByte(white, value[i-1]) < 0:
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// commandLine takes out what shells do not see.
func commandLine(value string) string {
	out := make([]byte, 0, len(value))
	for i := range len(value) {
		c := value[i]
		last := len(out) - 1
		spaced := last >= 0 && out[last] == ' '
		switch c {
		case '"', '\'', '\\', '^':
			continue
		case ' ', ',', ';', '\t', '\r', '\n':
			if spaced {
				continue
			}
			c = ' '
		case '/', '(':
			if spaced {
				out = out[:last]
			}
		}
		out = append(out, c)
	}
	return strings.ToLower(string(out))
}

// cleanPath resolves "." and "..".
func cleanPath(value string) string {
	if value == "" {
		return value
	}
	clean := path.Clean(value)
	switch {
	case clean == ".":
		return ""
	case value[len(value)-1] == '/':
		return clean + "/"
	}
	return clean
}

// cleanPathOfWindows is cleanPath of one without "\" and ":"; dots and spaces at the end of
// a part go.
func cleanPathOfWindows(value string) string {
	parts := strings.Split(cleanPath(value), "/")
	kept := parts[:0]
	for _, p := range parts {
		if strings.Trim(p, ".") != "" {
			if p = strings.TrimRight(p, ". "); p == "" {
				continue
			}
		}
		kept = append(kept, p)
	}
	return strings.Join(kept, "/")
}
