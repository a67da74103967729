package main

import "strings"

// finder looks for several texts in one: by their first two bytes, so that a text is gone
// through once.
type finder struct {
	byStart map[[2]byte][]string
	firsts  [256]bool
	single  [256]bool // texts of one byte
}

func newFinder(texts []string) *finder {
	f := &finder{byStart: map[[2]byte][]string{}}
	for _, s := range texts {
		if len(s) == 1 {
			f.single[s[0]] = true
			continue
		}
		start := [2]byte{s[0], s[1]}
		f.byStart[start] = append(f.byStart[start], s)
		f.firsts[s[0]] = true
	}
	return f
}

// in reports whether any of the texts is in s.
func (f *finder) in(s string) bool {
	for i := range len(s) {
		if f.single[s[i]] {
			return true
		}
		if !f.firsts[s[i]] || i+1 == len(s) {
			continue
		}
		for _, text := range f.byStart[[2]byte{s[i], s[i+1]}] {
			if strings.HasPrefix(s[i:], text) {
				return true
			}
		}
	}
	return false
}
