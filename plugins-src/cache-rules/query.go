package main

import (
	"net/url"
	"slices"
	"strings"
)

// maxParams bounds the parameters that are looked at; a query with more goes on as it is.
const maxParams = 256

// change returns path with the parameters that count, in the order of their names if
// they are to be sorted.
func (q *query) change(path string) string {
	before, text, found := strings.Cut(path, "?")
	if !found {
		return path
	}
	if strings.Count(text, "&") >= maxParams {
		return path
	}
	kept := make([]string, 0, 8)
	for text != "" {
		var p string
		if p, text, _ = strings.Cut(text, "&"); p != "" && q.counts(p) {
			kept = append(kept, p)
		}
	}
	if q.sort {
		slices.SortStableFunc(kept, func(a, b string) int { return strings.Compare(nameOf(a), nameOf(b)) })
	}
	if len(kept) == 0 {
		return before
	}
	return before + "?" + strings.Join(kept, "&")
}

// counts reports whether a parameter goes on. One with a semicolon always does, for some
// origins end a parameter there, and one whose name is badly encoded.
func (q *query) counts(p string) bool {
	if strings.IndexByte(p, ';') >= 0 {
		return true
	}
	name := nameOf(p)
	if strings.ContainsAny(name, "%+") {
		decoded, err := url.QueryUnescape(name)
		if err != nil {
			return true
		}
		name = decoded
	}
	switch {
	case q.allow != nil:
		return listed(q.allow, name)
	case q.deny != nil:
		return !listed(q.deny, name)
	}
	return true
}

func nameOf(p string) string {
	name, _, _ := strings.Cut(p, "=")
	return name
}

// listed reports whether a list names it, by a prefix if an element ends in *.
func listed(list []string, name string) bool {
	return slices.ContainsFunc(list, func(s string) bool {
		if prefix, ok := strings.CutSuffix(s, "*"); ok {
			return strings.HasPrefix(name, prefix)
		}
		return s == name
	})
}
