package cache_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"penstock.dev/penstock/core/config"
)

// place is a Service's config and the filters behind its cache.
type place struct {
	config int
	after  byte
}

// rules is what an answer said of caching.
type rules struct {
	lifetime, while, onError                        time.Duration
	saidWhile, saidError                            bool
	private, noStore, noCache, must, public, cookie bool
	alone                                           bool // a 304 that says more than what was stored
}

// version is an answer of the origin with a body of its own.
type version struct {
	rules
	id     int
	ask    *ask
	at     time.Time
	place  place
	tokens int
	vary   bool
	tag    string
	cut    bool
	// confirmed are the times that the origin said that it is current.
	confirmed []confirmation
}

// confirmation is a 304, or the rest of what was cut.
type confirmation struct {
	rules
	ask   *ask
	whole bool
}

func (v *version) etag() string { return fmt.Sprintf(`"v%d"`, v.id) }

// history is all that the oracle knows.
type history struct {
	versions []*version
	places   map[*client]place
	purges   []purged
	changes  []change
	failures []failure
}

type purged struct {
	step      int
	path, tag string
	all, soft bool
}

type change struct {
	step int
	by   *client
}

type failure struct {
	step int
	at   time.Time
	path string
	place
}

func (h *history) changed(a *ask, step int) { h.changes = append(h.changes, change{step, a.by}) }

func (h *history) failed(a *ask, step int) {
	h.failures = append(h.failures, failure{step, time.Now(), a.path, h.places[a.by]})
}

// purgeSome purges something, hard or soft.
func (w *world) purgeSome() {
	p := &config.Purge{Namespace: "ns", Soft: w.chance(50)}
	done := purged{step: w.now, soft: p.Soft}
	switch w.r.IntN(8) {
	case 0:
		p.Hostnames, done.all = []string{"shop.example"}, true
	case 1, 2, 3:
		done.tag = w.one("t0", "t1")
		p.Tags = []string{done.tag}
	default:
		done.path = fmt.Sprintf("/%d", w.r.IntN(4))
		p.URLs = []string{"https://shop.example" + done.path}
	}
	if _, err := w.cache.Purge(p); err != nil {
		w.t.Error(err)
	}
	w.history.purges = append(w.history.purges, done)
	w.seen["purges"]++
}

// judge checks an answer against all that is known.
func (w *world) judge(c *client) {
	where := w.history.places[c]
	fault := func(format string, args ...any) {
		w.t.Errorf("turn %d: %s %s %v of %q at %v, begun in turn %d: %d %v, %d bytes: %s", w.now, c.method, c.path, c.fields, c.who, where, c.started, c.status, c.header, len(c.body), fmt.Sprintf(format, args...))
	}
	var id int
	if _, err := fmt.Sscanf(c.header["ETag"], `"v%d"`, &id); err != nil || c.status >= 400 {
		w.seen[fmt.Sprint("others ", c.status)]++
		if c.status == 200 || c.status == 206 {
			fault("nobody knows this")
		}
		return
	}
	v := w.history.versions[id]
	if v.place != where || v.ask.path != c.path {
		fault("it is %v at %v", v.ask.path, v.place)
	}
	w.bytes(c, v, fault)
	if v.vary && lang(c.fields) != v.ask.field("x-lang") || where.config == 3 && lang(c.fields) != v.ask.field("x-lang") {
		fault("it was for X-Lang %q", v.ask.field("x-lang"))
	}
	if v.ask.by == c { // the origin's answer to its own request
		w.seen["misses"]++
		return
	}
	w.shared(c, v, where, fault)
}

// bytes checks that a body is of one version, and whole if it looks so.
func (w *world) bytes(c *client, v *version, fault func(string, ...any)) {
	all := content(v.id, v.tokens)
	if c.method == "HEAD" || c.status == 304 {
		if len(c.body) > 0 {
			fault("it has a body")
		}
		return
	}
	want := all
	if c.status == 206 {
		var first, last, size int
		if n, _ := fmt.Sscanf(c.header["Content-Range"], "bytes %d-%d/%d", &first, &last, &size); n == 3 {
			if size != len(all) || first > last || last >= len(all) {
				fault("it is no part of %d bytes", len(all))
				return
			}
			want = all[first : last+1]
		} else if strings.HasPrefix(c.header["Content-Type"], "multipart/byteranges") {
			// Who leaves while others wait for what it began may have some of it.
			if c.whole && (!bytes.Contains(c.body, all[0:8]) || !bytes.Contains(c.body, all[16:24])) {
				fault("its parts are wrong")
			}
			return
		}
	}
	if c.whole && !bytes.Equal(c.body, want) || !bytes.HasPrefix(want, c.body) {
		fault("it is not what the origin sent of version %d, %d bytes: %.40q ... %.40q", v.id, len(want), c.body, c.body[max(len(c.body)-40, 0):])
	}
	if c.whole {
		w.seen[fmt.Sprint("whole ", c.status)]++
	}
}

func lang(fields [][2]string) string { return value(fields, "X-Lang") }

func value(fields [][2]string, name string) string {
	for _, f := range fields {
		if f[0] == name {
			return f[1]
		}
	}
	return ""
}

// shared checks whether a client may get what another one's request brought.
func (w *world) shared(c *client, v *version, where place, fault func(string, ...any)) {
	w.seen["shared"]++
	own := where.config == 2 // each consumer has a key
	if own && v.ask.by.who != c.who {
		fault("it is of %q", v.ask.by.who)
	}
	known := own && c.who != ""
	authorized := v.ask.field("authorization") != "" || v.ask.by.who != ""
	switch {
	case v.noStore, v.private && !known, v.cookie:
		fault("it was not to be stored: %+v", v.rules)
	case authorized && !known && !v.public && !v.must:
		fault("it was for credentials")
	case value(v.ask.by.fields, "Cache-Control") == "no-store":
		fault("its request was not to be stored")
	}
	for _, p := range w.history.purges {
		if hit := p.all || p.path == c.path || p.tag != "" && p.tag == v.tag; hit && !p.soft && v.ask.step <= p.step && c.started > p.step {
			fault("it was purged in turn %d, asked for in %d", p.step, v.ask.step)
		}
	}
	for _, p := range w.history.changes {
		by := w.history.places[p.by]
		if by == where && p.by.path == c.path && (!own || p.by.who == c.who) && (where.config != 3 || lang(p.by.fields) == lang(c.fields)) && v.ask.step <= p.step && c.started > p.step {
			fault("it was changed in turn %d, asked for in %d", p.step, v.ask.step)
		}
	}
	var why []string
	says := append([]confirmation{{rules: v.rules, ask: v.ask}}, v.confirmed...)
	for i := range says {
		if text := w.serves(c, v, &says[i], where); text != "" {
			why = append(why, text)
			continue
		}
		return
	}
	fault("version %d may not serve: %s", v.id, strings.Join(why, "; "))
}

// serves reports why what the origin said once of a version does not let it serve a
// client; empty: it does.
func (w *world) serves(c *client, v *version, s *confirmation, where place) string {
	known := where.config == 2 && c.who != ""
	if s.ask.step > c.headStep {
		return "it came later"
	}
	if s.ask.by == c && !s.ask.direct {
		return "" // it asked itself
	}
	if s.noStore || s.private && !known || s.cookie || s.alone {
		return "for another one alone"
	}
	failed := slices.ContainsFunc(w.history.failures, func(f failure) bool {
		return f.path == c.path && f.place == where && f.step <= c.headStep && (f.step >= c.started || !c.headAt.Add(-time.Second).After(f.at))
	})
	cc := value(c.fields, "Cache-Control")
	if (cc == "no-cache" || s.noCache) && s.ask.step < c.started {
		return "it was to be asked for"
	}
	set := configs()[where.config]
	while, onError := set.StaleWhileRevalidate, set.StaleIfError
	if s.saidWhile {
		while = s.while
	}
	if s.saidError {
		onError = s.onError
	}
	if s.must || s.noCache {
		while, onError = 0, 0
	}
	age := c.headAt.Sub(s.ask.at)
	stale := age - s.lifetime
	soft := slices.ContainsFunc(w.history.purges, func(p purged) bool {
		return p.soft && (p.all || p.path == c.path || p.tag != "" && p.tag == v.tag) && s.ask.step <= p.step && c.started > p.step
	})
	if failed && (stale < 0 || stale <= onError || cc == "max-stale=4" && !s.must && stale <= 4*time.Second) && cc != "no-cache" && !s.noCache {
		return ""
	}
	var most, least time.Duration = 1 << 62, 0
	switch cc {
	case "max-age=0":
		most = 0
	case "max-age=2":
		most = 2 * time.Second
	case "min-fresh=2":
		least = 2 * time.Second
	}
	switch {
	case age > most, -stale < least && least > 0:
		return fmt.Sprintf("%v old, which the client does not want", age)
	case stale < 0 && !soft, while > 0 && (stale < while || stale < 0):
		return ""
	case soft && stale < 0:
		return "purged softly"
	case cc == "max-stale=4" && !s.must && stale <= 4*time.Second:
		return ""
	}
	return fmt.Sprintf("stale for %v", stale)
}
