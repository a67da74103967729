package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	sdk "penstock.dev/penstock/wasm-sdk/go"
)

// Bounds on a configuration.
const (
	maxTexts = 512
	maxText  = 256
)

// config is the plugin's configuration.
type config struct {
	// Refuse are groups of known agents that may not.
	Refuse []string `json:"refuse"`
	// Deny are parts of agents that may not, Allow of those that may before all else.
	Deny  []string `json:"deny"`
	Allow []string `json:"allow"`
	// WithoutAgent is "refuse" or "allow".
	WithoutAgent string `json:"withoutAgent"`
	Status       int    `json:"status"`
}

// rules are a configuration, ready to be used. All texts are in lower case.
type rules struct {
	allow, deny  *finder
	withoutAgent bool // may
	status       int
}

// parse reads the configuration strictly and reports all problems at once.
func parse(text []byte) (*rules, error) {
	c, err := sdk.ParseConfig(text, config{Refuse: []string{"scanners"}, WithoutAgent: "refuse", Status: 403})
	if err != nil {
		return nil, err
	}
	var errs []error
	texts := func(field string, list []string) (all []string) {
		if len(list) > maxTexts {
			errs = append(errs, fmt.Errorf("config.%s: %d of them; want %d at most", field, len(list), maxTexts))
			return nil
		}
		for i, s := range list {
			if s == "" || len(s) > maxText || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
				errs = append(errs, fmt.Errorf("config.%s[%d]: want 1 to %d visible ASCII characters", field, i, maxText))
				continue
			}
			all = append(all, lower(s))
		}
		return all
	}
	deny := texts("deny", c.Deny)
	allow := texts("allow", c.Allow)
	for i, name := range c.Refuse {
		group, ok := groups[name]
		if !ok {
			errs = append(errs, fmt.Errorf("config.refuse[%d]: want one of %s", i, strings.Join(groupNames(), ", ")))
		} else if slices.Contains(c.Refuse[:i], name) {
			errs = append(errs, fmt.Errorf("config.refuse[%d]: it is there twice", i))
		}
		deny = append(deny, group...)
	}
	if c.WithoutAgent != "refuse" && c.WithoutAgent != "allow" {
		errs = append(errs, errors.New("config.withoutAgent: want refuse or allow"))
	}
	if !slices.Contains([]int{403, 404, 429}, c.Status) {
		errs = append(errs, errors.New("config.status: want 403, 404 or 429"))
	}
	return &rules{allow: newFinder(allow), deny: newFinder(deny), withoutAgent: c.WithoutAgent == "allow", status: c.Status}, errors.Join(errs...)
}

// refuse says why an agent may not; "" if it may.
func (r *rules) refuse(agent string) string {
	agent = lower(agent)
	switch {
	case strings.Trim(agent, " \t") == "":
		if r.withoutAgent {
			return ""
		}
		return "no user agent"
	case r.allow.in(agent) || !r.deny.in(agent):
		return ""
	}
	return "user agent refused"
}

// lower is strings.ToLower for ASCII only: an agent is bytes.
func lower(s string) string {
	for i := range len(s) {
		if 'A' <= s[i] && s[i] <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if 'A' <= b[i] && b[i] <= 'Z' {
					b[i] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}
