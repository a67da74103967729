package poison

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestFilters: what a filter behind the cache made of a response is not served once it
// is another one, with another config or for other requests.
func TestFilters(t *testing.T) {
	transform := func(value, except string) string {
		return "- cache\n- image: penstock.dev/plugins/transform:1\n  config: {response: {headers: {set: {X-Made: \"" + value + "\"}}}}" + except
	}
	b := start(t, map[string]string{"made.yaml": here("made", transform("1", ""))})
	b.origin.reset(nil)
	made := func() string { return b.raw(t, request("/made/a"), 1).header.Get("X-Made") }
	b.Eventually("the first one runs", func() bool { return made() == "1" })
	for _, step := range []struct{ text, want string }{
		{transform("2", ""), "2"}, {transform("2", "\n  except: [{path: {value: /made/a}}]"), ""}, {"- cache", ""}, {transform("1", ""), "1"},
	} {
		b.Write("made.yaml", strings.ReplaceAll(here("made", step.text), "${ORIGIN}", fmt.Sprint(b.origin.port)))
		b.Eventually(step.text, func() bool { return made() == step.want })
		for range 20 {
			if got := made(); got != step.want {
				t.Errorf("%s: X-Made is %q; want %q", step.text, got, step.want)
			}
		}
	}
}

// TestChange: a change of the origin ends what is stored, and what is being fetched, but
// for other origins.
func TestChange(t *testing.T) {
	b := start(t, nil)
	put := func(target string) string {
		return "PUT" + strings.TrimPrefix(request(target, "Content-Length: 0"), "GET")
	}
	t.Run("while the old version comes, and the key is not stored as a rule", func(t *testing.T) {
		place := b.place("plain")
		held, reached := make(chan struct{}), make(chan struct{})
		b.origin.reset(func(a *asked) string {
			switch {
			case a.n == 1:
				return answer("200 OK", "Cache-Control: no-store", "private") // it is marked
			case a.Method == "PUT":
				return answer("204 No Content", "", "")
			case a.n == 2:
				close(reached)
				<-held
				return fresh("", "evil")
			}
			return good
		})
		b.raw(t, request(place), 1)
		done := make(chan struct{})
		go func() {
			defer close(done)
			b.raw(t, request(place), 1)
		}()
		<-reached
		b.raw(t, put(place), 1)
		close(held)
		<-done
		if g := b.raw(t, request(place), 1); g.body != "good" {
			t.Errorf("what was before the change: %v", g)
		}
	})
	t.Run("by a Location of another origin", func(t *testing.T) {
		for _, where := range []string{"http://other.example$P", "//other.example$P", "https://shop.example$P", "http://shop.example:81$P", "http://shop.example.evil$P", "http://shop.example@evil$P", `http://shop.example\@evil$P`} {
			place := b.place("plain")
			b.origin.reset(func(a *asked) string {
				if a.Method == "PUT" {
					return answer("201 Created", "Location: "+strings.ReplaceAll(where, "$P", place)+"\nContent-Location: "+strings.ReplaceAll(where, "$P", place), "")
				}
				return fresh("", fmt.Sprint(a.n))
			})
			b.raw(t, request(place), 1)
			b.raw(t, put(b.place("plain")), 1)
			if g := b.raw(t, request(place), 1); g.body != "1" {
				t.Errorf("%s: it is gone: %v", where, g)
			}
		}
	})
	t.Run("that was refused", func(t *testing.T) {
		place := b.place("plain")
		b.origin.reset(func(a *asked) string {
			if a.Method == "PUT" {
				return answer("403 Forbidden", "Location: "+place, "")
			}
			return fresh("", fmt.Sprint(a.n))
		})
		b.raw(t, request(place), 1)
		b.raw(t, put(place), 1)
		if g := b.raw(t, request(place), 1); g.body != "1" {
			t.Errorf("it is gone: %v", g)
		}
	})
}

// TestWaiting: who waits for the answer to an attacker's request does not get what only
// that brought about.
func TestWaiting(t *testing.T) {
	b := start(t, nil)
	stale := answer("200 OK", "Cache-Control: max-age=1\nETag: \"a\"", "good")
	for name, test := range map[string]struct {
		attack []string
		before string // the answer to a first request; empty: there is none
		evil   string // to the attacker
	}{
		"an origin that breaks off":       {[]string{"X-Attack: 1"}, "", "<close>"},
		"an answer that is none":          {[]string{"X-Attack: 1"}, "", "EVIL\r\n\r\n<close>"},
		"a private page":                  {[]string{"X-Attack: 1"}, "", answer("200 OK", "Cache-Control: private", "evil")},
		"fields that are too large":       {[]string{"X-Attack: " + strings.Repeat("a", 6000)}, "", answer("400 Bad Request", "Cache-Control: max-age=60", "evil")},
		"a 304 that is private":           {[]string{"X-Attack: 1"}, stale, "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nCache-Control: private\r\nX-Evil: 1\r\n\r\n"},
		"a 304 that sets a cookie":        {[]string{"X-Attack: 1"}, stale, "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nCache-Control: max-age=60\r\nSet-Cookie: evil=1\r\nX-Evil: 1\r\n\r\n"},
		"another language than what came": {[]string{"Accept-Language: evil", "X-Attack: 1"}, "", fresh("Vary: Accept-Language", "evil")},
	} {
		t.Run(name, func(t *testing.T) {
			place := b.place("plain")
			if test.before != "" {
				b.origin.reset(func(*asked) string { return test.before })
				b.raw(t, request(place), 1)
				time.Sleep(1100 * time.Millisecond) // now it is stale
			}
			reached := make(chan struct{})
			b.origin.reset(func(a *asked) string {
				if a.Header.Get("X-Attack") != "" && a.n == 1 {
					close(reached)
					time.Sleep(200 * time.Millisecond) // others come meanwhile
					return test.evil
				}
				return good
			})
			var group sync.WaitGroup
			group.Go(func() { b.raw(t, request(place, test.attack...), 1) })
			<-reached
			for range 8 {
				group.Go(func() {
					if g := b.raw(t, request(place), 1); g.status != 200 || g.body != "good" || !g.whole || g.evil() {
						t.Errorf("a victim got %v", g)
					}
				})
			}
			group.Wait()
		})
	}
}
