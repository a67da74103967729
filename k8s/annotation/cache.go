package annotation

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/api"
)

// UseCache is the `use` of the response cache, which is no plugin and has no versions.
const UseCache = "cache"

// IsCache reports whether a `use` names the response cache, with a version or without.
func IsCache(use string) bool {
	name, _, _ := strings.Cut(use, "@")
	return name == UseCache
}

// The ranges of a cache's config (core/config, Cache).
const (
	maxFresh             = 365 * 24 * time.Hour
	maxNegative          = time.Hour
	minObject, maxObject = 1 << 10, 1 << 40
	maxCacheList         = 32
	maxCacheValue        = 256
)

var (
	tokenForm = regexp.MustCompile("^[-!#$%&'*+.^_`|~0-9A-Za-z]{1,128}$")
	// A parameter's name as a query spells it out; & = # + and % mean something there.
	parameterForm = regexp.MustCompile(`^[!-~]{1,128}$`)
)

// Cache reads the config of an entry that is the response cache, as JSON; empty: by
// RFC 9111 alone. The error joins one *Error for each problem, with its path in the
// config.
func Cache(text []byte) (*config.Cache, error) {
	if len(text) == 0 {
		return &config.Cache{}, nil
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, errors.New("no JSON")
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("more than one JSON value")
	}
	p := &problems{}
	c := cache(v, "config", p)
	if len(p.list) > 0 {
		return nil, errors.Join(p.list...)
	}
	return c, nil
}

// cacheEntry judges an entry that is the response cache, of an object of that kind.
func cacheEntry(f fields, e *api.Entry, kind string) {
	if e.Use != UseCache {
		f.p.add(join(f.path, "use"), "%q: the cache has no versions: write cache", e.Use)
	}
	if kind == "Gateway" {
		f.p.list = append(f.p.list, &Error{Path: join(f.path, "use"), Reason: "NotSupported", Message: NoService})
	}
	if kind == "Consumer" {
		f.p.list = append(f.p.list, &Error{Path: join(f.path, "use"), Reason: "NotSupported", Message: NoConsumer})
	}
	for _, key := range []string{"canary", "env", "headerStop", "imagePullSecrets", "limits", "rootId", "vmConfig", "vmId"} {
		if _, ok := f.m[key]; ok {
			f.p.add(join(f.path, key), "not allowed beside use: cache, which is no plugin: remove it")
		}
	}
	if e.OnError == "skip" {
		f.p.add(join(f.path, "onError"), "skip is not for the cache, which has no failure of its own to leave out: remove it")
	}
	for i := range e.ConfigFrom {
		if e.ConfigFrom[i].SecretKeyRef != nil {
			f.p.add(fmt.Sprintf("%s[%d]", join(f.path, "configFrom"), i), "the cache reads no Secrets: want a configMapKeyRef")
		}
	}
	if v, ok := f.m["config"]; ok {
		cache(v, join(f.path, "config"), f.p)
	}
}

// NoService says why a cache may not stand in a Gateway's part of the chain.
const NoService = "a Gateway's filters run before a Service is chosen, and what is stored is a Service's: write the cache on the route or the Service"

// NoConsumer says why a cache may not stand among the plugins of a Consumer.
const NoConsumer = "a Consumer's plugins run behind the one that has found it, wherever that stands, and what is stored is a Service's: write the cache on the route or the Service"

// cache reads the config of a cache.
func cache(v any, path string, p *problems) *config.Cache {
	c := &config.Cache{}
	if v == nil { // as a plugin's
		return c
	}
	f, ok := mapping(v, path, p)
	if !ok {
		return c
	}
	const leaveOut = "; leave it out for the default"
	f.duration("ttl", &c.TTL, time.Second, maxFresh, leaveOut)
	f.duration("negativeTTL", &c.NegativeTTL, time.Second, maxNegative, leaveOut)
	f.duration("staleWhileRevalidate", &c.StaleWhileRevalidate, 0, maxFresh, "")
	f.duration("staleIfError", &c.StaleIfError, 0, maxFresh, "")
	if key, ok := f.m["key"]; ok {
		if m, ok := mapping(key, join(path, "key"), p); ok {
			c.Key = cacheKey(m)
		}
	}
	c.Statuses = statuses(f)
	f.size("maxObject", &c.MaxObjectBytes, minObject, maxObject, "1Ki to 1024Gi")
	for i, item := range f.items("bypass", "conditions") {
		if m, ok := mapping(item, fmt.Sprintf("%s[%d]", join(path, "bypass"), i), p); ok {
			c.Bypass = append(c.Bypass, condition(m))
		}
	}
	c.Ignore = ignore(f)
	f.unknown([]string{"ttl", "negativeTTL", "staleWhileRevalidate", "staleIfError", "key", "statuses", "maxObject", "bypass", "ignore"})
	return c
}

func cacheKey(f fields) config.CacheKey {
	k := config.CacheKey{Headers: f.names("headers", tokenForm, "header names", true), Cookies: f.names("cookies", tokenForm, "cookie names", false)}
	if v, ok := f.m["query"]; ok {
		if m, ok := mapping(v, join(f.path, "query"), f.p); ok {
			cacheQuery(m, &k)
		}
	}
	if _, ok := f.m["hostname"]; ok {
		k.AnyHostname = !f.flag("hostname")
	}
	k.Consumer = f.flag("consumer")
	f.unknown([]string{"headers", "cookies", "query", "hostname", "consumer"})
	return k
}

func cacheQuery(f fields, k *config.CacheKey) {
	known := []string{"allow", "deny", "none"}
	n := 0
	for _, key := range known {
		if _, ok := f.m[key]; ok {
			n++
		}
	}
	if n != 1 {
		f.p.add(f.path, "has %d of allow, deny and none: want exactly one", n)
	}
	k.QueryAllow = f.names("allow", parameterForm, "query parameters", false)
	k.QueryDeny = f.names("deny", parameterForm, "query parameters", false)
	if v, ok := f.m["none"]; ok {
		if k.NoQuery = v == true; !k.NoQuery {
			f.p.add(join(f.path, "none"), "want true; leave query out if all parameters count")
		}
	}
	f.unknown(known)
}

// statuses reads a list of the statuses of final responses.
func statuses(f fields) (list []int) {
	for i, item := range f.items("statuses", "statuses") {
		at := fmt.Sprintf("%s[%d]", join(f.path, "statuses"), i)
		number, isNumber := item.(json.Number)
		status, err := strconv.Atoi(number.String())
		switch {
		case !isNumber || err != nil || status < 200 || status > 599:
			f.p.add(at, "want a status from 200 to 599")
		case status == 206 || status == 304:
			f.p.add(at, "%d is no response that stands for itself: the cache makes these of a whole one", status)
		case slices.Contains(list, status):
			f.p.add(at, "%d stands there twice", status)
		default:
			list = append(list, status)
		}
	}
	return list
}

// condition reads one condition of bypass.
func condition(f fields) (c config.CacheCondition) {
	known := []string{"header", "cookie", "query", "value"}
	kinds := []config.CacheConditionKind{config.CacheConditionHeader, config.CacheConditionCookie, config.CacheConditionQuery}
	n := 0
	for i, kind := range kinds {
		if _, ok := f.m[known[i]]; !ok {
			continue
		}
		n++
		form, want := tokenForm, "a name without spaces and separators"
		if kind == config.CacheConditionQuery {
			form, want = parameterForm, wantParameter
		}
		c.Kind = kind
		if c.Name = f.text(known[i], form, want); kind == config.CacheConditionQuery {
			f.spelled(join(f.path, known[i]), c.Name)
		}
		if kind == config.CacheConditionHeader {
			c.Name = strings.ToLower(c.Name)
		}
	}
	if n != 1 {
		f.p.add(f.path, "has %d of header, cookie and query: want exactly one", n)
	}
	if _, ok := f.m["value"]; ok {
		if _, ok := f.m["value"].(string); !ok {
			f.p.add(join(f.path, "value"), "want text: put it in quotes")
		} else if c.Value = f.text("value", nil, ""); len(c.Value) > maxCacheValue || strings.ContainsFunc(c.Value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			f.p.add(join(f.path, "value"), "want at most %d bytes without control characters", maxCacheValue)
		}
	}
	f.unknown(known)
	return c
}

// The names of what can be ignored.
var ignorable = []struct {
	name string
	bit  config.CacheIgnore
}{
	{"request", config.IgnoreRequest},
	{"no-store", config.IgnoreNoStore},
	{"no-cache", config.IgnoreNoCache},
	{"private", config.IgnorePrivate},
	{"max-age", config.IgnoreMaxAge},
	{"set-cookie", config.IgnoreSetCookie},
	{"cookie", config.IgnoreCookie},
}

func ignore(f fields) (set config.CacheIgnore) {
next:
	for i, item := range f.items("ignore", "names") {
		at := fmt.Sprintf("%s[%d]", join(f.path, "ignore"), i)
		for _, one := range ignorable {
			if item != any(one.name) {
				continue
			}
			if set&one.bit != 0 {
				f.p.add(at, "%s stands there twice", one.name)
			}
			set |= one.bit
			continue next
		}
		f.p.add(at, "want request, no-store, no-cache, private, max-age, set-cookie or cookie")
	}
	return set
}

// Ignored returns the names of what a cache ignores, as its config has them.
func Ignored(set config.CacheIgnore) (names []string) {
	for _, one := range ignorable {
		if set&one.bit != 0 {
			names = append(names, one.name)
		}
	}
	return names
}

// duration reads a time in a range; hint ends the error.
func (f fields) duration(key string, to *time.Duration, low, high time.Duration, hint string) {
	v, ok := f.m[key]
	if !ok {
		return
	}
	s, _ := v.(string)
	d, err := time.ParseDuration(s)
	if err != nil || d < low || d > high {
		if number, ok := v.(json.Number); ok {
			s = number.String()
		}
		f.p.add(join(f.path, key), "%.40q: want a duration from %s to %s, as 90s or 12h%s", s, plain(low), plain(high), hint)
		return
	}
	*to = d
}

// plain writes a whole number of hours or seconds.
func plain(d time.Duration) string {
	if d >= time.Hour && d%time.Hour == 0 {
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

// size reads a size in a range.
func (f fields) size(key string, to *int64, low, high int64, want string) {
	v, ok := f.m[key]
	if !ok {
		return
	}
	s, _ := v.(string)
	if number, ok := v.(json.Number); ok {
		s = number.String()
	}
	n, ok := Bytes(s)
	if !ok || n < low || n > high {
		f.p.add(join(f.path, key), "%.40q: want a size from %s", s, want)
		return
	}
	*to = n
}

// items returns the elements of a list that is neither empty nor long; of says what
// they are.
func (f fields) items(key, of string) []any {
	v, ok := f.m[key]
	if !ok {
		return nil
	}
	list, ok := v.([]any)
	if !ok || len(list) == 0 || len(list) > maxCacheList {
		f.p.add(join(f.path, key), "want a list of 1 to %d %s", maxCacheList, of)
		return nil
	}
	return list
}

const wantParameter = "a parameter's name without spaces and & = # + %"

// spelled refuses a parameter's name that a query cannot spell out.
func (f fields) spelled(at, name string) {
	if strings.ContainsAny(name, "&=#+%") {
		f.p.add(at, "%.80q: want %s", name, wantParameter)
	}
}

// names reads a list of names, each once; lower has them in lower case.
func (f fields) names(key string, form *regexp.Regexp, of string, lower bool) (list []string) {
	for i, item := range f.items(key, of) {
		at := fmt.Sprintf("%s[%d]", join(f.path, key), i)
		s, ok := item.(string)
		if !ok || !form.MatchString(s) {
			want := "a name without spaces and separators"
			if form == parameterForm {
				want = wantParameter
			}
			f.p.add(at, "%.80q: want %s", s, want)
			continue
		}
		if form == parameterForm {
			f.spelled(at, s)
		}
		if lower {
			s = strings.ToLower(s)
		}
		if slices.Contains(list, s) {
			f.p.add(at, "%.80q stands there twice", s)
			continue
		}
		list = append(list, s)
	}
	return list
}
