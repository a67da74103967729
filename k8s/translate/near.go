package translate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"penstock.dev/penstock/k8s/annotation"
)

const (
	// maxNear is how many names are told in place of one that is unknown.
	maxNear = 3
	// maxNearBytes is the length of a name that an entry can use; a longer one is near
	// to none.
	maxNearBytes = 63
)

// unknownUse is the refusal of a name that the catalogue does not have, or not in that
// major version.
func (r *run) unknownUse(use string) error {
	name, major, _ := strings.Cut(use, "@")
	for _, b := range r.t.o.Bundled {
		if b.Name == name {
			return refuse("UnknownPlugin", "the catalogue has no version %.40s of %s: it has %s@%s", major, name, name, b.Major)
		}
	}
	const list = "penstock plugin list shows what is bundled, and Plugin objects add to it"
	if found := Near(name, r.catalogueNames()); found != "" {
		return refuse("UnknownPlugin", "the catalogue has no %.80q: did you mean %s? (%s)", use, found, list)
	}
	return refuse("UnknownPlugin", "the catalogue has no %.80q: %s", use, list)
}

func (r *run) catalogueNames() []string {
	all := []string{annotation.UseCache}
	for _, b := range r.t.o.Bundled {
		all = append(all, b.Name)
	}
	for name := range r.plugins {
		all = append(all, name)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Near returns at most three of names, which are sorted, as "a, b or c": those with the
// fewest edits from name, and no more than a third of its letters; empty: none is near.
func Near(name string, names []string) string {
	if len(name) > maxNearBytes {
		return ""
	}
	type candidate struct {
		name  string
		edits int
	}
	var found []candidate
	limit := max(1, (len(name)+1)/3)
	for _, n := range names {
		if len(n) > maxNearBytes || len(n) > len(name)+limit || len(name) > len(n)+limit {
			continue
		}
		if d := edits(name, n); d <= limit {
			found = append(found, candidate{n, d})
		}
	}
	slices.SortStableFunc(found, func(a, b candidate) int { return cmp.Compare(a.edits, b.edits) })
	var all []string
	for _, c := range found[:min(len(found), maxNear)] {
		all = append(all, c.name)
	}
	return orList(all)
}

// edits is the number of letters that are put in, left out, replaced, or swapped with
// the next one, to make b of a (optimal string alignment). Both have at most
// maxNearBytes.
func edits(a, b string) int {
	var rows [3][maxNearBytes + 1]int // of the last two letters of a, and of this one
	before, last, now := &rows[0], &rows[1], &rows[2]
	for j := range len(b) + 1 {
		last[j] = j
	}
	for i := range len(a) {
		now[0] = i + 1
		for j := range len(b) {
			replaced := last[j]
			if a[i] != b[j] {
				replaced++
			}
			now[j+1] = min(replaced, last[j+1]+1, now[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				now[j+1] = min(now[j+1], before[j-1]+1)
			}
		}
		before, last, now = last, now, before
	}
	return last[len(b)]
}

// orList is "a, b or c".
func orList(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return fmt.Sprintf("%s or %s", strings.Join(names[:len(names)-1], ", "), names[len(names)-1])
}
