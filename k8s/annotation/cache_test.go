package annotation

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/api"
)

// cacheOf parses an entry's text and reads its config.
func cacheOf(t *testing.T, text string) (*config.Cache, error) {
	t.Helper()
	entries, err := Parse(text, "Service")
	if err != nil {
		return nil, err
	}
	return Cache(entries[0].Config)
}

func TestCache(t *testing.T) {
	tests := map[string]struct {
		text string
		want config.Cache
	}{
		"a bare name":     {"- cache", config.Cache{}},
		"an empty config": {"- {use: cache, config: {}}", config.Cache{}},
		"all of it": {
			`
- use: cache
  config:
    ttl: 60s
    negativeTTL: 5s
    staleWhileRevalidate: 30s
    staleIfError: 1h
    key:
      headers: [Accept-Language, x-tenant]
      cookies: [currency]
      query: {allow: [id, "filter[name]"]}
      hostname: false
      consumer: true
    statuses: [200, 301, 404]
    maxObject: 64Mi
    bypass: [{header: X-Preview}, {cookie: session, value: abc}, {query: nocache}]
    ignore: [request, no-store, no-cache, private, max-age, set-cookie]
`,
			config.Cache{
				TTL: time.Minute, NegativeTTL: 5 * time.Second, StaleWhileRevalidate: 30 * time.Second, StaleIfError: time.Hour,
				Key: config.CacheKey{
					Headers: []string{"accept-language", "x-tenant"}, Cookies: []string{"currency"}, QueryAllow: []string{"id", "filter[name]"},
					AnyHostname: true, Consumer: true,
				},
				Statuses: []int{200, 301, 404}, MaxObjectBytes: 64 << 20,
				Bypass: []config.CacheCondition{
					{Kind: config.CacheConditionHeader, Name: "x-preview"}, {Kind: config.CacheConditionCookie, Name: "session", Value: "abc"},
					{Kind: config.CacheConditionQuery, Name: "nocache"},
				},
				Ignore: config.IgnoreRequest | config.IgnoreNoStore | config.IgnoreNoCache | config.IgnorePrivate | config.IgnoreMaxAge | config.IgnoreSetCookie,
			},
		},
		"parameters that do not count": {"- {use: cache, config: {key: {query: {deny: [utm_source]}, hostname: true}}}", config.Cache{Key: config.CacheKey{QueryDeny: []string{"utm_source"}}}},
		"no query":                     {"- {use: cache, config: {key: {query: {none: true}}}}", config.Cache{Key: config.CacheKey{NoQuery: true}}},
		"nothing stale":                {"- {use: cache, config: {staleIfError: 0s, staleWhileRevalidate: 0s}}", config.Cache{}},
		"a size as a number":           {"- {use: cache, config: {maxObject: 4096}}", config.Cache{MaxObjectBytes: 4096}},
		"the bounds":                   {"- {use: cache, config: {ttl: 8760h, negativeTTL: 1s, maxObject: 1024Gi}}", config.Cache{TTL: 365 * 24 * time.Hour, NegativeTTL: time.Second, MaxObjectBytes: 1 << 40}},
		"what any filter may have":     {"- {use: cache, name: b, ports: [http], onError: reject, except: [{path: {value: /x}}], configFrom: [{configMapKeyRef: {name: a, key: b}}]}", config.Cache{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := cacheOf(t, tt.text)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(&tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestCacheRefuses(t *testing.T) {
	many := "[" + strings.TrimSuffix(strings.Repeat("a%d, ", 33), ", ") + "]"
	numbers := make([]any, 33)
	for i := range numbers {
		numbers[i] = i
	}
	many = fmt.Sprintf(many, numbers...)
	config := func(text string) string { return "- {use: cache, config: {" + text + "}}" }
	tests := map[string]struct{ text, want string }{
		"a version":             {"- cache@1", `[0].use: "cache@1": the cache has no versions: write cache`},
		"a canary":              {"- {use: cache, canary: {use: a, weight: 1, mode: live}}", "[0].canary: not allowed beside use: cache"},
		"a canary's cache":      {"- {use: a, canary: {use: cache, weight: 1, mode: live}}", "[0].canary.use: the cache is no version of a plugin"},
		"an image":              {"- {use: cache, image: r.example/a:1}", "has 2 of use, image and chain"},
		"limits":                {"- {use: cache, limits: {memory: 1Mi}}", "[0].limits: not allowed beside use: cache"},
		"a variable":            {"- {use: cache, env: [{name: A, value: b}]}", "[0].env: not allowed"},
		"a root id":             {"- {use: cache, rootId: a}", "[0].rootId: not allowed"},
		"a VM":                  {"- {use: cache, vmId: a}", "[0].vmId: not allowed"},
		"a VM's config":         {"- {use: cache, vmConfig: {}}", "[0].vmConfig: not allowed"},
		"headerStop":            {"- {use: cache, headerStop: all}", "[0].headerStop: not allowed"},
		"pull secrets":          {"- {use: cache, imagePullSecrets: [{name: a}]}", "[0].imagePullSecrets: not allowed"},
		"skip":                  {"- {use: cache, onError: skip}", "[0].onError: skip is not for the cache"},
		"a Secret":              {"- {use: cache, configFrom: [{secretKeyRef: {name: a, key: b}}]}", "[0].configFrom[0]: the cache reads no Secrets"},
		"an unknown key beside": {"- {use: cache, ttl: 60s}", "[0].ttl: unknown key"},
		"text":                  {"- {use: cache, config: ttl}", "[0].config: want a mapping"},
		"a list":                {"- {use: cache, config: []}", "[0].config: want a mapping"},
		"an unknown key":        {config("tll: 60s"), "[0].config.tll: unknown key; known are ttl, negativeTTL"},
		"a number of seconds":   {config("ttl: 60"), `[0].config.ttl: "60": want a duration from 1s to 8760h, as 90s or 12h; leave it out for the default`},
		"no time at all":        {config("ttl: 0s"), `[0].config.ttl: "0s": want a duration from 1s`},
		"a negative time":       {config("ttl: -1s"), "[0].config.ttl"},
		"more than a year":      {config("ttl: 8761h"), "[0].config.ttl"},
		"days":                  {config("ttl: 1d"), "[0].config.ttl"},
		"errors for hours":      {config("negativeTTL: 2h"), `[0].config.negativeTTL: "2h": want a duration from 1s to 1h`},
		"stale for ever":        {config("staleIfError: 9000h"), "[0].config.staleIfError: \"9000h\": want a duration from 0s to 8760h"},
		"stale, a list":         {config("staleWhileRevalidate: [1s]"), "[0].config.staleWhileRevalidate"},
		"no key":                {config("key: [a]"), "[0].config.key: want a mapping"},
		"an unknown part":       {config("key: {header: [a]}"), "[0].config.key.header: unknown key; known are headers"},
		"no headers":            {config("key: {headers: []}"), "[0].config.key.headers: want a list of 1 to 32 header names"},
		"too many headers":      {config("key: {headers: " + many + "}"), "[0].config.key.headers: want a list of 1 to 32"},
		"a header of two words": {config("key: {headers: [a b]}"), "[0].config.key.headers[0]"},
		"a header's colon":      {config("key: {headers: [\":path\"]}"), "[0].config.key.headers[0]"},
		"a header's line break": {config(`key: {headers: ["a\r\nb"]}`), "[0].config.key.headers[0]"},
		"a header twice":        {config("key: {headers: [a, A]}"), "[0].config.key.headers[1]: \"a\" stands there twice"},
		"a cookie of a number":  {config("key: {cookies: [1]}"), "[0].config.key.cookies[0]"},
		"a cookie's separator":  {config("key: {cookies: [\"a;b\"]}"), "[0].config.key.cookies[0]"},
		"a query as text":       {config("key: {query: none}"), "[0].config.key.query: want a mapping"},
		"two kinds of query":    {config("key: {query: {allow: [a], deny: [b]}}"), "[0].config.key.query: has 2 of allow, deny and none: want exactly one"},
		"no kind of query":      {config("key: {query: {}}"), "has 0 of allow, deny and none"},
		"not no query":          {config("key: {query: {none: false}}"), "[0].config.key.query.none: want true"},
		"a parameter's value":   {config("key: {query: {allow: [\"a=b\"]}}"), "[0].config.key.query.allow[0]: \"a=b\": want a parameter's name"},
		"a parameter's escape":  {config("key: {query: {deny: [\"a%20b\"]}}"), "[0].config.key.query.deny[0]"},
		"a hostname":            {config("key: {hostname: a.example}"), "[0].config.key.hostname: want true or false"},
		"a consumer":            {config("key: {consumer: shop}"), "[0].config.key.consumer: want true or false"},
		"no statuses":           {config("statuses: 200"), "[0].config.statuses: want a list of 1 to 32 statuses"},
		"a status of text":      {config("statuses: [\"200\"]"), "[0].config.statuses[0]: want a status from 200 to 599"},
		"an informal status":    {config("statuses: [100]"), "[0].config.statuses[0]: want a status from 200 to 599"},
		"partial content":       {config("statuses: [200, 206]"), "[0].config.statuses[1]: 206 is no response"},
		"a status twice":        {config("statuses: [200, 200]"), "[0].config.statuses[1]: 200 stands there twice"},
		"half a status":         {config("statuses: [200.5]"), "[0].config.statuses[0]"},
		"a small object":        {config("maxObject: 1"), "[0].config.maxObject: \"1\": want a size from 1Ki to 1024Gi"},
		"a huge object":         {config("maxObject: 1025Gi"), "[0].config.maxObject"},
		"a size that overflows": {config("maxObject: 999999999999Gi"), "[0].config.maxObject"},
		"a size of words":       {config("maxObject: big"), "[0].config.maxObject"},
		"bypass of text":        {config("bypass: [x-preview]"), "[0].config.bypass[0]: want a mapping"},
		"bypass of two":         {config("bypass: [{header: a, cookie: b}]"), "[0].config.bypass[0]: has 2 of header, cookie and query"},
		"bypass of nothing":     {config("bypass: [{value: b}]"), "[0].config.bypass[0]: has 0 of header, cookie and query"},
		"bypass of a path":      {config("bypass: [{path: /a}]"), "[0].config.bypass[0].path: unknown key"},
		"bypass of a number":    {config("bypass: [{header: a, value: 1}]"), "[0].config.bypass[0].value: want text: put it in quotes"},
		"bypass of a NUL":       {config(`bypass: [{header: a, value: "a\0"}]`), "[0].config.bypass[0].value: want at most 256 bytes without control characters"},
		"bypass of a novel":     {config("bypass: [{header: a, value: " + strings.Repeat("x", 257) + "}]"), "[0].config.bypass[0].value: want at most 256"},
		"a bad parameter":       {config("bypass: [{query: a&b}]"), "[0].config.bypass[0].query"},
		"ignore, a name":        {config("ignore: [vary]"), "[0].config.ignore[0]: want request, no-store"},
		"ignore, twice":         {config("ignore: [private, private]"), "[0].config.ignore[1]: private stands there twice"},
		"ignore, a mapping":     {config("ignore: [{a: b}]"), "[0].config.ignore[0]: want request"},
		"ignore, text":          {config("ignore: private"), "[0].config.ignore: want a list"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := cacheOf(t, tt.text)
			if err == nil || !strings.Contains(err.Error(), tt.want) || got != nil {
				t.Fatalf("got %v, %v; want %q", got, err, tt.want)
			}
			if Reason(err) != "InvalidAnnotation" {
				t.Errorf("got reason %s", Reason(err))
			}
		})
	}
}

// TestCacheTellsAllProblems: one look is enough.
func TestCacheTellsAllProblems(t *testing.T) {
	_, err := cacheOf(t, "- {use: cache@1, config: {ttl: x, key: {headers: [1], consumer: 2}, bypass: [{}]}}")
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) || len(joined.Unwrap()) != 5 {
		t.Errorf("got %v; want 5 problems", err)
	}
}

// TestCacheStandsWhereAServiceIsKnown: not in a Gateway's part.
func TestCacheStandsWhereAServiceIsKnown(t *testing.T) {
	for _, kind := range []string{"Service", "HTTPRoute", "GRPCRoute", "TCPRoute", "PluginPolicy"} {
		if _, err := Parse("- cache", kind); err != nil {
			t.Errorf("%s: got %v", kind, err)
		}
	}
	if _, err := Check([]api.Entry{{Use: "cache", Name: "cache", Config: json.RawMessage(`{"ttl":"1s"}`)}}, "PluginChain"); err != nil {
		t.Error(err)
	}
	if _, err := Check([]api.Entry{{Use: "cache", Name: "cache", Config: json.RawMessage(`{"ttl":1}`)}}, "PluginChain"); err == nil || !strings.Contains(err.Error(), "[0].config.ttl") {
		t.Errorf("got %v; want the path of ttl", err)
	}
	_, err := Parse("- cache", "Gateway")
	if err == nil || Reason(err) != "NotSupported" || !strings.Contains(err.Error(), "write the cache on the route or the Service") {
		t.Errorf("got %v; want NotSupported, and what to do", err)
	}
}

// TestCacheOfMergedConfig: what configFrom makes of a config is judged as strictly.
func TestCacheOfMergedConfig(t *testing.T) {
	c, err := Cache([]byte(`{"ttl":"1m","statuses":[200]}`))
	if err != nil || c.TTL != time.Minute || len(c.Statuses) != 1 {
		t.Errorf("got %v, %v", c, err)
	}
	for _, text := range []string{`{"ttl":1}`, `[]`, `{`, `{} {}`, `"a"`} {
		if c, err := Cache([]byte(text)); err == nil {
			t.Errorf("%s: got %v", text, c)
		}
	}
}

func TestIgnored(t *testing.T) {
	if got := Ignored(config.IgnoreMaxAge | config.IgnoreRequest); !cmp.Equal(got, []string{"request", "max-age"}) {
		t.Errorf("got %v", got)
	}
}

// FuzzCache: what is accepted is within the ranges that core/config names, and the
// same again once it is written as JSON.
func FuzzCache(f *testing.F) {
	f.Add("{ttl: 60s, negativeTTL: 5s, staleWhileRevalidate: 30s, staleIfError: 1h}")
	f.Add("{key: {headers: [Accept-Language], cookies: [a], query: {deny: [utm_source]}, hostname: false, consumer: true}}")
	f.Add("{statuses: [200, 404], maxObject: 64Mi, bypass: [{header: x, value: a}, {query: 'b[]'}], ignore: [request, set-cookie]}")
	f.Add("{key: {query: {none: true}}, maxObject: 0x1000}")
	f.Fuzz(func(t *testing.T, text string) {
		entries, err := Parse("- use: cache\n  config: "+text, "Service")
		if err != nil || len(entries) != 1 || !IsCache(entries[0].Use) {
			return
		}
		c, err := Cache(entries[0].Config)
		if err != nil {
			t.Fatalf("%q: Parse took it, Cache does not: %v", text, err)
		}
		for name, ok := range map[string]bool{
			"ttl":         c.TTL == 0 || c.TTL >= time.Second && c.TTL <= 8760*time.Hour,
			"negativeTTL": c.NegativeTTL == 0 || c.NegativeTTL >= time.Second && c.NegativeTTL <= time.Hour,
			"stale":       min(c.StaleIfError, c.StaleWhileRevalidate) >= 0 && max(c.StaleIfError, c.StaleWhileRevalidate) <= 8760*time.Hour,
			"maxObject":   c.MaxObjectBytes == 0 || c.MaxObjectBytes >= 1<<10 && c.MaxObjectBytes <= 1<<40,
			"lists":       max(len(c.Statuses), len(c.Bypass), len(c.Key.Headers), len(c.Key.Cookies), len(c.Key.QueryAllow), len(c.Key.QueryDeny)) <= 32,
			"query":       len(c.Key.QueryAllow) == 0 || len(c.Key.QueryDeny) == 0 && !c.Key.NoQuery,
			"headers":     strings.ToLower(strings.Join(c.Key.Headers, " ")) == strings.Join(c.Key.Headers, " "),
			"ignore":      c.Ignore < 1<<6,
		} {
			if !ok {
				t.Errorf("%q: %s of %+v", text, name, *c)
			}
		}
		again, err := json.Marshal(entries)
		if err != nil || len(again) > MaxBytes {
			return
		}
		second, err := cacheOf(t, string(again))
		if err != nil {
			t.Fatalf("%q -> %s: %v", text, again, err)
		}
		if d := cmp.Diff(c, second); d != "" {
			t.Fatalf("%q -> %s:\n%s", text, again, d)
		}
	})
}
