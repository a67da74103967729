package config

import (
	"fmt"
	"net/url"
	"strings"
	"time"
)

// Purge removes stored responses of one namespace, once on every proxy. Whoever carries
// it out tells what became of it by its ID. It stays in the config for a while after it
// was completed, for proxies that were away.
type Purge struct {
	// ID is "namespace/name/uid" of the CachePurge: one that is made again is another.
	// Empty for one that is carried out on one proxy alone, and is in no config.
	ID string
	// Namespace is whose Services' responses it is about, and no others'.
	Namespace string
	// URLs are absolute, http or https, with their query and without a fragment, as they
	// were written; so are Prefixes, without a query, each for its own path and all that
	// continue it after a slash. The scheme and the port do not count. Hostnames are lower
	// case. Tags are what responses had in Surrogate-Key or Cache-Tag. At most
	// MaxPurgeList of each; PurgeFaults says what else they have to be.
	URLs, Prefixes, Hostnames, Tags []string
	// Soft: they become stale in place of being removed: they still serve while a fresh
	// one is fetched, or when that fails, as far as stale ones may.
	Soft bool
	// Created is when the object was made, by the API server's clock, in whole seconds;
	// zero: not known.
	Created time.Time
}

const (
	// MaxPurgeList is how many of each a Purge may name.
	MaxPurgeList = 256
	// Bounds on what it names, in bytes.
	maxPurgeURL, maxPurgeTag = 2048, 256
)

// validate is for purges of a config. What they name is looked at by whoever makes and
// whoever carries out a purge, not with every config that it is in.
func (p *Purge) validate(errs *joined) {
	if p.Namespace == "" || len(p.ID) <= len(p.Namespace) || p.ID[:len(p.Namespace)+1] != p.Namespace+"/" {
		errs.add("purge %q: not of namespace %q", p.ID, p.Namespace)
	}
	if n := max(len(p.URLs), len(p.Prefixes), len(p.Hostnames), len(p.Tags)); n > MaxPurgeList {
		errs.add("purge %s: %d of one kind, at most %d", p.ID, n, MaxPurgeList)
	}
}

// PurgeFault is what is wrong with a purge.
type PurgeFault struct {
	Field string // such as "urls[2]"; empty: the purge as a whole
	Why   string // and what would be right
}

// PurgeFaults returns what is wrong with what p names, in its order; nil: nothing is. The
// elements of a list that is too long are not looked at. These are the rules of a
// CachePurge, which its CustomResourceDefinition has too.
func PurgeFaults(p *Purge) (faults []PurgeFault) {
	if len(p.URLs)+len(p.Prefixes)+len(p.Hostnames)+len(p.Tags) == 0 {
		return []PurgeFault{{"", "empty: want urls, prefixes, hostnames or tags"}}
	}
	for _, list := range []struct {
		name  string
		items []string
		wrong func(string) string
	}{
		{"urls", p.URLs, func(text string) string { return wrongPurgeURL(text, true) }},
		{"prefixes", p.Prefixes, func(text string) string { return wrongPurgeURL(text, false) }},
		{"hostnames", p.Hostnames, wrongPurgeHostname},
		{"tags", p.Tags, wrongPurgeTag},
	} {
		if len(list.items) > MaxPurgeList {
			faults = append(faults, PurgeFault{list.name, fmt.Sprintf("%d, at most %d: make more purges", len(list.items), MaxPurgeList)})
			continue
		}
		for i, text := range list.items {
			if why := list.wrong(text); why != "" {
				faults = append(faults, PurgeFault{fmt.Sprintf("%s[%d]", list.name, i), fmt.Sprintf("%.100q: %s", text, why)})
			}
		}
	}
	return faults
}

// wrongPurgeURL says what is wrong with a URL, or with a prefix of URLs; empty: nothing.
func wrongPurgeURL(text string, query bool) string {
	want := "want an absolute URL of http or https without a fragment"
	if !query {
		want = "want an absolute URL of http or https without a query or fragment"
	}
	if len(text) > maxPurgeURL {
		return fmt.Sprintf("%d bytes, at most %d", len(text), maxPurgeURL)
	}
	u, err := url.Parse(text)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "", u.User != nil, strings.Contains(text, "#"), !query && strings.Contains(text, "?"),
		strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c >= 0x7f }):
		return want
	}
	return ""
}

func wrongPurgeHostname(text string) string {
	if !ValidHostname(text) || text != strings.ToLower(text) {
		return "want a hostname in lower case, without a wildcard"
	}
	return ""
}

func wrongPurgeTag(text string) string {
	if text == "" || len(text) > maxPurgeTag || strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c >= 0x7f || c == ',' }) {
		return fmt.Sprintf("want a tag: at most %d visible characters without spaces and commas", maxPurgeTag)
	}
	return ""
}

// ValidHostname reports whether s is a name without wildcard, in any case.
func ValidHostname(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' || strings.ContainsFunc(label, func(c rune) bool {
			return c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
		}) {
			return false
		}
	}
	return true
}
