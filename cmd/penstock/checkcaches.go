package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/annotation"
)

// tellCaches writes what the cache of each Service's port does, with its defaults.
func tellCaches(w io.Writer, c *config.Config) {
	type cache struct {
		upstream string
		filter   *config.Filter
	}
	seen := map[string]bool{}
	var all []cache
	for _, g := range c.Gateways {
		for _, l := range g.Listeners {
			if l.Routes == nil {
				continue
			}
			for _, e := range l.Routes.Entries {
				for _, rule := range e.Route.Rules {
					for i := range rule.Backends {
						b := &rule.Backends[i]
						f := cacheOf(b)
						if f == nil || seen[b.Upstream+" "+f.Hash] {
							continue
						}
						seen[b.Upstream+" "+f.Hash] = true
						all = append(all, cache{b.Upstream, f})
					}
				}
			}
		}
	}
	slices.SortStableFunc(all, func(a, b cache) int {
		return cmp.Or(cmp.Compare(a.upstream, b.upstream), cmp.Compare(a.filter.Owner.String(), b.filter.Owner.String()), cmp.Compare(a.filter.ID(), b.filter.ID()))
	})
	for _, one := range all {
		name, _, _ := strings.Cut(one.upstream, "/h2c")
		fmt.Fprintf(w, "Service %s: cache %s of %s\n", name, one.filter.ID(), one.filter.Owner)
		for _, line := range cacheLines(one.filter.Cache) {
			fmt.Fprintf(w, "  %s\n", line)
		}
	}
}

// cacheOf returns the cache that counts on the way to a backend; nil: none.
func cacheOf(b *config.Backend) *config.Filter {
	if b.CacheScope == "" {
		return nil
	}
	for _, p := range slices.Backward(b.Chain.Parts) {
		for _, f := range slices.Backward(p.Filters) {
			if f.Cache != nil {
				return f
			}
		}
	}
	return nil
}

// cacheLines says what a cache's config means, a line for each field.
func cacheLines(c *config.Cache) []string {
	var lines []string
	add := func(field, text, or string) { lines = append(lines, field+": "+cmp.Or(text, or)) }
	add("ttl", lasting(c.TTL), "by Last-Modified (RFC 9111, 4.2.2)")
	if c.NegativeTTL == 0 && c.TTL > 0 {
		add("negativeTTL", lasting(min(c.TTL, 10*time.Second)), "")
	} else {
		add("negativeTTL", lasting(c.NegativeTTL), "as ttl")
	}
	add("staleWhileRevalidate", lasting(c.StaleWhileRevalidate), "as the response says")
	add("staleIfError", lasting(c.StaleIfError), "as the response says")
	add("key.headers", strings.Join(c.Key.Headers, ", "), "those of Vary")
	add("key.cookies", strings.Join(c.Key.Cookies, ", "), "none")
	switch k := &c.Key; {
	case k.NoQuery:
		add("key.query", "does not count", "")
	case len(k.QueryAllow) > 0:
		add("key.query", strings.Join(k.QueryAllow, ", ")+", and no other", "")
	case len(k.QueryDeny) > 0:
		add("key.query", "all but "+strings.Join(k.QueryDeny, ", "), "")
	default:
		add("key.query", "as it was sent", "")
	}
	add("key.hostname", fmt.Sprint(!c.Key.AnyHostname), "")
	add("key.consumer", fmt.Sprint(c.Key.Consumer), "")
	statuses := c.Statuses
	if len(statuses) == 0 { // RFC 9110, 15.1, but for 206
		statuses = []int{200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501}
	}
	add("statuses", strings.Trim(strings.ReplaceAll(fmt.Sprint(statuses), " ", ", "), "[]"), "")
	size := ""
	if c.MaxObjectBytes > 0 {
		size = fmt.Sprintf("%d bytes", c.MaxObjectBytes)
	}
	add("maxObject", size, "a sixteenth of what the cache may take, 1Gi at most")
	var bypass []string
	for _, b := range c.Bypass {
		text := [...]string{"header ", "cookie ", "query "}[b.Kind] + b.Name
		if b.Value != "" {
			text += fmt.Sprintf(" of value %q", b.Value)
		}
		bypass = append(bypass, text)
	}
	add("bypass", strings.Join(bypass, ", "), "none")
	add("ignore", strings.Join(annotation.Ignored(c.Ignore), ", "), "nothing")
	return lines
}

// lasting writes a time without the units that are zero; empty for none.
func lasting(d time.Duration) string {
	if d == 0 {
		return ""
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
