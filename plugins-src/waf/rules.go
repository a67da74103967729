package main

import (
	"io/fs"
	"regexp"
)

// quietRules are rules without the texts that say what was found in a request. They are
// never logged, and Coraza makes each of them for every rule that it looks at, whether
// that matches or not.
type quietRules struct{ fs.FS }

// said is such a text, in a line of its own, with more actions behind it.
var said = regexp.MustCompile(`(?m)^ +logdata:'(?:[^'\\]|\\.)*',\\\n`)

// ReadFile implements fs.ReadFileFS.
func (r quietRules) ReadFile(name string) ([]byte, error) {
	text, err := fs.ReadFile(r.FS, name)
	return said.ReplaceAll(text, nil), err
}

// Glob implements fs.GlobFS.
func (r quietRules) Glob(pattern string) ([]string, error) { return fs.Glob(r.FS, pattern) }

var (
	_ fs.ReadFileFS = quietRules{}
	_ fs.GlobFS     = quietRules{}
)
