package cache_test

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"penstock.dev/penstock/core/cache"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
)

// TestHeadAsksByGet: a HEAD that validates, or has something refreshed, brings a body.
func TestHeadAsksByGet(t *testing.T) {
	for name, control := range map[string]string{"validated": "max-age=0, must-revalidate", "refreshed": "max-age=0, stale-while-revalidate=60"} {
		t.Run(name, func(t *testing.T) {
			alone(t, func(t *testing.T, b *bed) {
				chain := b.chain(&config.Cache{}, 0)
				c := b.get(chain, "/a")
				b.next(t).reply <- says(control, "old", "ETag", `"a"`)
				c.wants(t, 200, "old", "fwd=uri-miss")
				head := b.start("HEAD", chain, "/a")
				a := b.next(t)
				if a.method != "GET" {
					t.Errorf("the origin was asked by %s", a.method)
				}
				r := says("max-age=60", "new")
				r.length = -1
				a.reply <- r
				synctest.Wait()
				if !head.finished() || head.status != 200 || len(head.body) > 0 || name == "validated" && head.x.Response.ContentLength != -1 {
					t.Errorf("the HEAD: %d %q, length %d", head.status, head.body, head.x.Response.ContentLength)
				}
				b.get(chain, "/a").wants(t, 200, "new", "hit")
			})
		})
	}
}

// TestNotModifiedForOne: a 304 that makes a response one client's own is for the client
// that asked alone, and nothing of it stays.
func TestNotModifiedForOne(t *testing.T) {
	for name, fields := range map[string][][2]string{
		"private":            {{"Cache-Control", "private, max-age=60"}},
		"a cookie":           {{"Cache-Control", "max-age=60"}, {"Set-Cookie", "a=b"}},
		"it varies by more":  {{"Cache-Control", "max-age=60"}, {"Vary", "X-Who"}},
		"it varies by all":   {{"Cache-Control", "max-age=60"}, {"Vary", "*"}},
		"it has other tags":  {{"Cache-Control", "max-age=60"}, {"Surrogate-Key", "other"}},
		"it has a tag fewer": {{"Cache-Control", "max-age=60"}, {"Surrogate-Key", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			alone(t, func(t *testing.T, b *bed) {
				chain := b.chain(&config.Cache{}, 0)
				c := b.get(chain, "/a")
				b.next(t).reply <- says("max-age=1", "body", "ETag", `"a"`, "Surrogate-Key", "t")
				c.wants(t, 200, "body", "fwd=uri-miss")
				time.Sleep(2 * time.Second)
				leader := b.get(chain, "/a")
				follower := b.get(chain, "/a")
				b.next(t).reply <- &reply{status: 304, length: -1, header: append(fields, [2]string{"ETag", `"a"`}, [2]string{"X-Own", "1"})}
				leader.wants(t, 200, "body", "fwd=stale; fwd-status=304; detail=")
				if leader.header["X-Own"] != "1" || name == "a cookie" && leader.header["Set-Cookie"] != "a=b" {
					t.Errorf("the leader misses fields: %v", leader.header)
				}
				b.next(t).reply <- says("max-age=60", "others")
				follower.wants(t, 200, "others", "fwd=uri-miss")
				after := b.get(chain, "/a")
				b.next(t).reply <- says("max-age=60", "others")
				after.wants(t, 200, "others", "fwd=uri-miss; fwd-status=200; stored")
			})
		})
	}
}

// TestNotForOthers: what fields of one request bring about is not stored for those
// without.
func TestNotForOthers(t *testing.T) {
	for name, test := range map[string]struct {
		fields []string
		answer func() *reply
		stored bool
	}{
		"an error to large fields": {[]string{"X-Large", strings.Repeat("x", 5000)}, func() *reply { return status(400, says("max-age=60", "evil")) }, false},
		"an error to few":          {[]string{"X-Small", "x"}, func() *reply { return status(400, says("max-age=60", "evil")) }, true},
		"a page to large fields":   {[]string{"X-Large", strings.Repeat("x", 5000)}, func() *reply { return says("max-age=60", "fine") }, true},
		"an error to a range":      {[]string{"Range", "bytes=9999999-"}, func() *reply { return status(404, says("max-age=60", "evil")) }, false},
		"a coding":                 {[]string{"Accept-Encoding", "gzip"}, func() *reply { return says("max-age=60", "evil", "Content-Encoding", "gzip") }, false},
		"X-HTTP-Method-Override":   {[]string{"X-HTTP-Method-Override", "PUT"}, func() *reply { return says("max-age=60", "evil") }, false},
		"x_http_method_override":   {[]string{"x_http_method_override", "PUT"}, func() *reply { return says("max-age=60", "evil") }, false},
		"X-HTTP-Method":            {[]string{"X-HTTP-Method", "PUT"}, func() *reply { return says("max-age=60", "evil") }, false},
		"X-Method-Override":        {[]string{"X-Method-Override", "PUT"}, func() *reply { return says("max-age=60", "evil") }, false},
		"X-Original-URL":           {[]string{"X-Original-URL", "/b"}, func() *reply { return says("max-age=60", "evil") }, false},
		"X-Original-URI":           {[]string{"X-ORIGINAL-URI", "/b"}, func() *reply { return says("max-age=60", "evil") }, false},
		"X-Rewrite-URL":            {[]string{"X-Rewrite-URL", "/b"}, func() *reply { return says("max-age=60", "evil") }, false},
		"X-Host":                   {[]string{"X-Host", "b"}, func() *reply { return says("max-age=60", "evil") }, false},
		"X-Original-Host":          {[]string{"X-Original-Host", "b"}, func() *reply { return says("max-age=60", "evil") }, false},
		"X-Host-Override":          {[]string{"X-Host-Override", "b"}, func() *reply { return says("max-age=60", "evil") }, false},
		"X-HTTP-Host-Override":     {[]string{"X-HTTP-Host-Override", "b"}, func() *reply { return says("max-age=60", "evil") }, false},
		"a name that is near one":  {[]string{"X-Hosts", "b", "X@Host", "b", "Y-Host", "b"}, func() *reply { return says("max-age=60", "fine") }, true},
	} {
		t.Run(name, func(t *testing.T) {
			alone(t, func(t *testing.T, b *bed) {
				chain := b.chain(&config.Cache{}, 0)
				b.get(chain, "/a", test.fields...)
				b.next(t).reply <- test.answer()
				synctest.Wait()
				c := b.get(chain, "/a")
				synctest.Wait()
				if c.finished() != test.stored {
					t.Errorf("it was stored: %v; want %v", c.finished(), test.stored)
				}
				if !c.finished() {
					b.next(t).reply <- says("max-age=60", "good")
					c.wants(t, 200, "good", "fwd=")
				}
			})
		})
	}
}

func status(n int, r *reply) *reply {
	r.status = n
	return r
}

// TestRestForWhoMayNotHaveItStored: the rest of what was cut is no answer to a request
// for the whole, though what it completes may not be stored.
func TestRestForWhoMayNotHaveItStored(t *testing.T) {
	alone(t, func(t *testing.T, b *bed) {
		const size, half = 256 << 10, 128 << 10
		chain := b.chain(&config.Cache{}, 0)
		cut := b.get(chain, "/a")
		r := says("max-age=60", strings.Repeat("a", half), "ETag", `"a"`)
		r.length, r.body = size, newBody([]byte(strings.Repeat("a", half)), io.ErrUnexpectedEOF)
		b.next(t).reply <- r
		synctest.Wait()
		if cut.whole {
			t.Fatal("what was cut looks whole")
		}
		c := b.get(chain, "/a", "Authorization", "x")
		a := b.next(t)
		if a.field("range") != fmt.Sprintf("bytes=%d-", half) {
			t.Fatalf("the origin was asked for %q", a.field("range"))
		}
		a.reply <- status(206, says("max-age=60", strings.Repeat("b", half), "ETag", `"a"`, "Content-Range", fmt.Sprintf("bytes %d-%d/%d", half, size-1, size)))
		synctest.Wait()
		if a = b.next(t); a.field("range") != "" {
			t.Errorf("the origin was asked for %q again", a.field("range"))
		}
		a.reply <- says("max-age=60", "mine")
		c.wants(t, 200, "mine", "fwd=uri-miss; fwd-status=200; detail=authorization")
	})
}

// moves is a filter that sends requests elsewhere.
type moves struct{}

func (moves) Callbacks() filter.Callbacks { return filter.OnRequestHeaders }
func (moves) Begin(x *exchange.Exchange, _ *filter.Waker) (filter.Stream, error) {
	return &move{x: x}, nil
}

type move struct {
	filter.Stream
	x *exchange.Exchange
}

func (m *move) RequestHeaders(bool) (filter.Verdict, error) {
	m.x.Request.Path, m.x.Request.Authority = []byte("/elsewhere"), []byte("in.example")
	return filter.Continue, nil
}
func (m *move) Done() {}

// TestChangeBehindAMove: a change counts for the target that the cache saw, and for what
// Location says relative to that.
func TestChangeBehindAMove(t *testing.T) {
	alone(t, func(t *testing.T, b *bed) {
		chain := b.chain(&config.Cache{}, 0)
		for _, path := range []string{"/dir/a", "/dir/list", "/elsewhere"} {
			c := b.get(chain, path)
			b.next(t).reply <- says("max-age=60", "old")
			c.wants(t, 200, "old", "fwd=uri-miss")
		}
		moved := filter.New([]filter.Entry{
			{Filter: b.cache.Filter(&config.Cache{}, cache.Fingerprint{0}), ID: "service/cache"}, {Filter: moves{}, ID: "service/moves"},
		})
		b.start("PUT", moved, "/dir/a")
		b.next(t).reply <- &reply{status: 204, header: [][2]string{{"Location", "list"}}}
		synctest.Wait()
		b.get(chain, "/elsewhere").wants(t, 200, "old", "hit")
		for _, path := range []string{"/dir/a", "/dir/list"} {
			c := b.get(chain, path)
			b.next(t).reply <- says("max-age=60", "new")
			c.wants(t, 200, "new", "fwd=uri-miss")
		}
	})
}

// TestChangeWhileAlone: a change also ends fetches that nobody waits for.
func TestChangeWhileAlone(t *testing.T) {
	alone(t, func(t *testing.T, b *bed) {
		chain := b.chain(&config.Cache{}, 0)
		b.get(chain, "/a")
		b.next(t).reply <- says("no-store", "1") // from now on nobody waits for another
		synctest.Wait()
		c := b.get(chain, "/a")
		before := b.next(t)
		b.start("PUT", chain, "/a")
		b.next(t).reply <- &reply{status: 204}
		synctest.Wait()
		before.reply <- says("max-age=60", "old")
		c.wants(t, 200, "old", "fwd=uri-miss")
		c = b.get(chain, "/a")
		b.next(t).reply <- says("max-age=60", "new")
		c.wants(t, 200, "new", "fwd=uri-miss")
	})
}

// TestAnotherKey: under another `key` or `ignore` nothing is found that was stored
// before, though the bytes of the keys would be the same.
func TestAnotherKey(t *testing.T) {
	alone(t, func(t *testing.T, b *bed) {
		before := &config.Cache{Key: config.CacheKey{Headers: []string{"x-a"}}, Ignore: config.IgnorePrivate}
		c := b.get(b.chain(before, 0), "/a", "X-A", "1", "X-B", "1")
		b.next(t).reply <- says("private, max-age=60", "one")
		c.wants(t, 200, "one", "fwd=uri-miss")
		b.get(b.chain(before, 0), "/a", "X-A", "1").wants(t, 200, "one", "hit")
		for name, after := range map[string]*config.Cache{
			"another field": {Key: config.CacheKey{Headers: []string{"x-b"}}, Ignore: config.IgnorePrivate},
			"private holds": {Key: config.CacheKey{Headers: []string{"x-a"}}},
		} {
			c := b.get(b.chain(after, 0), "/a", "X-A", "1", "X-B", "1")
			if synctest.Wait(); c.finished() {
				t.Errorf("%s: got %q", name, c.body)
				continue
			}
			b.next(t).reply <- says("no-store", "two")
			c.wants(t, 200, "two", "fwd=uri-miss")
		}
	})
}

// TestPurgedHostnames: an address in brackets, a final dot and a port do not hide what is
// stored from a purge.
func TestPurgedHostnames(t *testing.T) {
	for authority, purge := range map[string]string{
		"shop.example.": "shop.example", "shop.example:8080": "SHOP.example.", "[2001:db8::1]:8080": "[2001:db8::1]", "SHOP.EXAMPLE": "shop.example",
	} {
		list := []config.Purge{{URLs: []string{"http://" + purge + "/a"}}, {Prefixes: []string{"https://" + purge + "/"}}}
		if config.ValidHostname(purge) && purge == strings.ToLower(purge) { // hostnames have one form
			list = append(list, config.Purge{Hostnames: []string{purge}})
		}
		for _, p := range list {
			alone(t, func(t *testing.T, b *bed) {
				c := &client{b: b, id: 1, method: "GET", path: "/a", scope: "ns/shop:80", chain: b.chain(&config.Cache{}, 0), step: func() int { return 0 }, authority: authority}
				c.run()
				b.next(t).reply <- says("max-age=60", "body")
				c.wants(t, 200, "body", "fwd=uri-miss")
				p.Namespace = "ns"
				if n, err := b.cache.Purge(&p); n != 1 || err != nil {
					t.Errorf("%s, purged by %+v: %d, %v; want 1", authority, p, n, err)
				}
			})
		}
	}
}

// TestMaxForwards: it is not sent on, since one answer is for many.
func TestMaxForwards(t *testing.T) {
	alone(t, func(t *testing.T, b *bed) {
		c := b.get(b.chain(&config.Cache{}, 0), "/a", "Max-Forwards", "0")
		a := b.next(t)
		if v := a.field("max-forwards"); v != "" {
			t.Errorf("the origin was told %q", v)
		}
		a.reply <- says("max-age=60", "body")
		c.wants(t, 200, "body", "fwd=uri-miss")
	})
}

// TestVariesByWhoAsks: what the proxy says of the client behind the cache tells no
// requests apart there, so that a response that varies by it is not stored.
func TestVariesByWhoAsks(t *testing.T) {
	for name, stored := range map[string]bool{
		"X-Forwarded-For": false, "x-forwarded-host": false, "X-Forwarded-Port": false, "X-Forwarded-Client-Cert": false, "Forwarded": false, "X-Consumer-Username": false,
		"X-Consumer-Groups": false, "Client-Cert": false, "Client-Cert-Chain": false, "Accept, Forwarded": false, "X-Forwarded-Proto": true, "X-Forward": true, "Accept": true,
	} {
		t.Run(name, func(t *testing.T) {
			alone(t, func(t *testing.T, b *bed) {
				chain := b.chain(&config.Cache{}, 0)
				b.get(chain, "/a")
				b.next(t).reply <- says("max-age=60", "one", "Vary", name)
				synctest.Wait()
				c := b.get(chain, "/a")
				if c.finished() != stored {
					t.Errorf("it was stored: %v; want %v", c.finished(), stored)
				}
				if !c.finished() {
					b.next(t).reply <- says("no-store", "two")
					c.wants(t, 200, "two", "fwd=")
				}
			})
		})
	}
}

// TestIfRangeOfAnother: who has part of one version does not get another part with who
// has none.
func TestIfRangeOfAnother(t *testing.T) {
	alone(t, func(t *testing.T, b *bed) {
		chain := b.chain(&config.Cache{}, 0)
		part := func() *reply {
			return status(206, says("max-age=60", "part", "ETag", `"new"`, "Content-Range", "bytes 2000000-2000003/4000000"))
		}
		one := b.get(chain, "/a", "Range", "bytes=2000000-2000003")
		two := b.get(chain, "/a", "Range", "bytes=2000000-2000003", "If-Range", `"old"`)
		three := b.get(chain, "/a", "Range", "bytes=2000000-2000003")
		b.next(t).reply <- part()
		one.wants(t, 206, "part", "fwd=uri-miss")
		three.wants(t, 206, "part", "fwd=uri-miss")
		if synctest.Wait(); two.finished() {
			t.Fatalf("it got %d %q", two.status, two.body)
		}
		a := b.next(t)
		if a.field("if-range") != `"old"` {
			t.Errorf("the origin was asked with If-Range %q", a.field("if-range"))
		}
		a.reply <- says("no-store", "whole")
		two.wants(t, 200, "whole", "fwd=uri-miss")
	})
}

// TestNoStoreOfARequest: it neither takes away what is stored nor has others ask the
// origin one by one.
func TestNoStoreOfARequest(t *testing.T) {
	alone(t, func(t *testing.T, b *bed) {
		chain := b.chain(&config.Cache{}, 0)
		first := b.get(chain, "/a")
		b.next(t).reply <- says("max-age=60", "one", "ETag", `"1"`)
		first.wants(t, 200, "one", "fwd=uri-miss")
		time.Sleep(2 * time.Minute)
		own := b.get(chain, "/a", "Cache-Control", "no-store")
		b.next(t).reply <- &reply{status: 304, header: [][2]string{{"ETag", `"1"`}, {"Cache-Control", "max-age=60"}}}
		own.wants(t, 200, "one", "fwd=stale; fwd-status=304; detail=request-no-store")

		own = b.get(chain, "/a", "Cache-Control", "no-store") // nothing of that answer was stored
		b.next(t).reply <- says("max-age=60", "two", "ETag", `"2"`)
		own.wants(t, 200, "two", "fwd=stale; fwd-status=200; detail=request-no-store")

		own = b.get(chain, "/a", "Cache-Control", "no-store")
		synctest.Wait()
		others := []*client{b.get(chain, "/a"), b.get(chain, "/a")} // and nobody waits for one
		b.next(t).reply <- says("max-age=60", "own")
		own.wants(t, 200, "own", "fwd=stale; fwd-status=200; detail=request-no-store")
		a := b.next(t)
		if a.field("if-none-match") != `"1"` {
			t.Errorf("the origin was asked with If-None-Match %q", a.field("if-none-match"))
		}
		a.reply <- says("max-age=60", "three")
		for _, c := range others {
			c.wants(t, 200, "three", "fwd=stale")
		}
	})
}

// TestConditionsForTheOrigin: whether If-Match holds is not judged by what is stored,
// which may be older than what the client has; but nobody gets parts of that.
func TestConditionsForTheOrigin(t *testing.T) {
	alone(t, func(t *testing.T, b *bed) {
		chain := b.chain(&config.Cache{StaleIfError: time.Hour}, 0)
		says := func() *reply { return says("max-age=60", "old one", "ETag", `"old"`) }
		first := b.get(chain, "/a", "If-Match", `"new"`)
		if a := b.next(t); a.field("if-match") != "" {
			t.Errorf("the origin was asked with If-Match %q", a.field("if-match"))
		} else {
			a.reply <- says()
		}
		first.wants(t, 412, "", "fwd=uri-miss")
		b.get(chain, "/a", "If-Match", `"new"`).wants(t, 200, "old one", "hit")
		b.get(chain, "/a", "If-Unmodified-Since", "Mon, 01 Jan 1990 00:00:00 GMT").wants(t, 200, "old one", "hit")
		b.get(chain, "/a", "If-Match", `"new"`, "Range", "bytes=0-2").wants(t, 200, "old one", "hit")
		b.get(chain, "/a", "If-Match", `"old"`, "Range", "bytes=0-2").wants(t, 206, "old", "hit")
		time.Sleep(2 * time.Minute)
		spared := b.get(chain, "/a", "If-Match", `"new"`)
		b.next(t).reply <- status(503, says())
		spared.wants(t, 200, "old one", "fwd=stale; fwd-status=503; detail=origin-failed")
	})
}

// finds is a filter that finds out who the consumer is, or what a token says alone.
type finds struct{ claims bool }

func (finds) Callbacks() filter.Callbacks { return filter.OnRequestHeaders }
func (f finds) Begin(x *exchange.Exchange, _ *filter.Waker) (filter.Stream, error) {
	if f.claims {
		x.Claims = []byte("{}")
	} else {
		x.Consumer.Name = string(x.Request.Path)
	}
	return &found{x: x}, nil
}

type found struct {
	filter.Stream
	x *exchange.Exchange
}

func (*found) RequestHeaders(bool) (filter.Verdict, error) { return filter.Continue, nil }

func (*found) Done() {}

// TestConsumerFoundLater: a consumer that a filter behind the cache found out counts as
// one that was known before, and so does a token of nobody by name.
func TestConsumerFoundLater(t *testing.T) {
	alone(t, func(t *testing.T, b *bed) {
		for i, test := range []struct {
			control string
			stored  bool
		}{{"max-age=60", false}, {"private, max-age=60", false}, {"public, max-age=60", true}} {
			for j, c := range []*config.Cache{{}, {Key: config.CacheKey{Consumer: true}}} {
				own := filter.Entry{Filter: b.cache.Filter(c, cache.Fingerprint{}), ID: "service/cache"}
				named, claimed := filter.Entry{Filter: finds{}, ID: "service/finds"}, filter.Entry{Filter: finds{claims: true}, ID: "service/finds"}
				for k, list := range [][]filter.Entry{{own, named}, {own, claimed}, {claimed, own}} {
					chain, path := filter.New(list), fmt.Sprintf("/%d%d%d", i, j, k)
					b.get(chain, path)
					b.next(t).reply <- says(test.control, "mine")
					synctest.Wait()
					again := b.get(chain, path)
					if again.finished() != test.stored {
						t.Errorf("%s, %+v, %d: it was stored: %v; want %v", test.control, c.Key, k, again.finished(), test.stored)
					}
					if !again.finished() {
						b.next(t).reply <- says("no-store", "")
						synctest.Wait()
					}
				}
			}
		}
	})
}
