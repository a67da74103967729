package main

import (
	"io/fs"
	"path"
	"regexp"
	"strings"
)

// coreRules are the Core Rule Set's files without the texts that say what was found in a
// request. They are never logged, and Coraza makes each of them for every rule that it
// looks at, whether that matches or not. What is settled is left out as well.
type coreRules struct {
	fs.FS
	*settled // nil: nothing is
}

// said is such a text, in a line of its own, with more actions behind it.
var said = regexp.MustCompile(`(?m)^ +logdata:'(?:[^'\\]|\\.)*',\\\n`)

const coreFolder = "@owasp_crs"

// ReadFile implements fs.ReadFileFS.
func (r coreRules) ReadFile(name string) ([]byte, error) {
	text, err := fs.ReadFile(r.FS, name)
	if err != nil {
		return nil, err
	}
	text = said.ReplaceAll(text, nil)
	if r.settled == nil || !strings.HasSuffix(name, ".conf") && !strings.HasSuffix(name, ".example") {
		return text, nil
	}
	if path.Dir(name) != coreFolder {
		r.sets(string(text))
		return text, nil
	}
	return []byte(r.file(string(text))), nil
}

// Glob implements fs.GlobFS.
func (r coreRules) Glob(pattern string) ([]string, error) { return fs.Glob(r.FS, pattern) }

var (
	_ fs.ReadFileFS = coreRules{}
	_ fs.GlobFS     = coreRules{}
)
