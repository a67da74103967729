package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"penstock.dev/penstock/core/config"
)

// cached starts an origin behind a cache and returns the bed and how many requests
// came to the origin.
func cached(t testing.TB, c *config.Cache, origin http.HandlerFunc) (*bed, *atomic.Int64) {
	t.Helper()
	b := newBed(t)
	var asked atomic.Int64
	r := rule("shop", "/", "shop")
	cfg := newConfig(b.port, r)
	service(t, cfg, "shop", func(w http.ResponseWriter, q *http.Request) {
		asked.Add(1)
		origin(w, q)
	})
	r.Backends[0].CacheScope = "ns/uid:80"
	r.Backends[0].Chain = &config.Chain{Parts: []*config.Part{cachePart(c)}}
	if err := b.store.Apply(cfg); err != nil {
		t.Fatal(err)
	}
	return b, &asked
}

func cachePart(c *config.Cache) *config.Part {
	owner := config.Object{Kind: "Service", Namespace: "ns", Name: "shop"}
	return &config.Part{Name: "service", Object: owner, Hash: "cache-part", Filters: []*config.Filter{
		{Part: "service", Name: "cache", Owner: owner, Namespace: "ns", Hash: "cache", Cache: c},
	}}
}

func (b *bed) get(t testing.TB, target string, header ...string) (*http.Response, string) {
	t.Helper()
	h := http.Header{}
	for i := 0; i < len(header); i += 2 {
		h.Add(header[i], header[i+1])
	}
	return b.do(t, "GET", target, "", h)
}

// did checks what Cache-Status begins with after the cache's name.
func did(t testing.TB, r *http.Response, want string) {
	t.Helper()
	if got := r.Header.Get("Cache-Status"); !strings.HasPrefix(got, "Penstock; "+want) {
		t.Errorf("%s %s: Cache-Status is %q; want Penstock; %s", r.Request.Method, r.Request.URL.Path, got, want)
	}
}

func fresh(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("ETag", `"v1"`)
		_, _ = io.WriteString(w, body)
	}
}

func TestCacheHit(t *testing.T) {
	b, asked := cached(t, &config.Cache{}, fresh("0123456789"))
	r, body := b.get(t, "/a")
	did(t, r, "fwd=uri-miss; fwd-status=200; stored")
	if body != "0123456789" || r.ContentLength != 10 {
		t.Errorf("%q of %d bytes; want ten", body, r.ContentLength)
	}
	tests := map[string]struct {
		method string
		header []string
		status int
		body   string
		fields map[string]string
	}{
		"a GET gets it whole":              {"GET", nil, 200, "0123456789", map[string]string{"Content-Length": "10", "Age": "0", "Etag": `"v1"`}},
		"a HEAD gets its fields":           {"HEAD", nil, 200, "", map[string]string{"Content-Length": "10"}},
		"what the client has is a 304":     {"GET", []string{"If-None-Match", `"v1"`}, 304, "", map[string]string{"Etag": `"v1"`}},
		"another one is sent":              {"GET", []string{"If-None-Match", `"v2"`}, 200, "0123456789", nil},
		"what only an origin can judge":    {"GET", []string{"If-Match", `"v2"`, "Range", "bytes=2-4"}, 200, "0123456789", nil},
		"a range is a 206":                 {"GET", []string{"Range", "bytes=2-4"}, 206, "234", map[string]string{"Content-Range": "bytes 2-4/10"}},
		"the last bytes":                   {"GET", []string{"Range", "bytes=-3"}, 206, "789", map[string]string{"Content-Range": "bytes 7-9/10"}},
		"a range of what the client has":   {"GET", []string{"Range", "bytes=0-0", "If-Range", `"v1"`}, 206, "0", nil},
		"a range of another version":       {"GET", []string{"Range", "bytes=0-0", "If-Range", `"v2"`}, 200, "0123456789", nil},
		"a range beyond the end is a 416":  {"GET", []string{"Range", "bytes=10-"}, 416, "", map[string]string{"Content-Range": "bytes */10"}},
		"only what is stored, and that is": {"GET", []string{"Cache-Control", "only-if-cached"}, 200, "0123456789", nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h := http.Header{}
			for i := 0; i < len(test.header); i += 2 {
				h.Set(test.header[i], test.header[i+1])
			}
			r, body := b.do(t, test.method, "/a", "", h)
			did(t, r, "hit; ttl=")
			if r.StatusCode != test.status || body != test.body {
				t.Errorf("%d %q; want %d %q", r.StatusCode, body, test.status, test.body)
			}
			for name, want := range test.fields {
				if got := r.Header.Get(name); got != want {
					t.Errorf("%s is %q; want %q", name, got, want)
				}
			}
		})
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("the origin was asked %d times; want once", n)
	}
	if r, _ := b.get(t, "/other", "Cache-Control", "only-if-cached"); r.StatusCode != 504 {
		t.Errorf("%d for what is not stored; want 504", r.StatusCode)
	}
}

func TestCacheMultipart(t *testing.T) {
	content := strings.Repeat("0123456789", 100)
	b, _ := cached(t, &config.Cache{}, fresh(content))
	b.get(t, "/a")
	r, body := b.get(t, "/a", "Range", "bytes=0-4,-5")
	did(t, r, "hit")
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if r.StatusCode != 206 || kind != "multipart/byteranges" || err != nil || int(r.ContentLength) != len(body) {
		t.Fatalf("%d %q %v, %d of %d bytes", r.StatusCode, kind, err, r.ContentLength, len(body))
	}
	m := multipart.NewReader(strings.NewReader(body), params["boundary"])
	for _, want := range []struct{ at, bytes string }{{"bytes 0-4/1000", "01234"}, {"bytes 995-999/1000", "56789"}} {
		p, err := m.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(p)
		if err != nil || string(got) != want.bytes || p.Header.Get("Content-Range") != want.at {
			t.Errorf("%q at %q, %v; want %q at %q", got, p.Header.Get("Content-Range"), err, want.bytes, want.at)
		}
	}
}

func TestCacheRefuses(t *testing.T) {
	tests := map[string]struct {
		config  config.Cache
		request []string
		method  string
		answer  http.Header
	}{
		"private":                                  {answer: http.Header{"Cache-Control": {"private, max-age=60"}}},
		"no-store":                                 {answer: http.Header{"Cache-Control": {"no-store"}}},
		"a cookie is set":                          {answer: http.Header{"Cache-Control": {"max-age=60"}, "Set-Cookie": {"a=b"}}},
		"credentials":                              {request: []string{"Authorization", "x"}, answer: http.Header{"Cache-Control": {"max-age=60"}}},
		"credentials, and ttl permits nothing":     {config: config.Cache{TTL: time.Minute}, request: []string{"Authorization", "x"}, answer: http.Header{}},
		"nothing says for how long":                {answer: http.Header{}},
		"a cookie came, and only ttl says":         {config: config.Cache{TTL: time.Minute}, request: []string{"Cookie", "session=1"}, answer: http.Header{}},
		"Vary: *":                                  {answer: http.Header{"Cache-Control": {"max-age=60"}, "Vary": {"*"}}},
		"a header that asks to bypass":             {config: config.Cache{Bypass: []config.CacheCondition{{Kind: config.CacheConditionHeader, Name: "x-preview"}}}, request: []string{"X-Preview", "1"}, answer: http.Header{"Cache-Control": {"max-age=60"}}},
		"a cookie that asks to bypass":             {config: config.Cache{Bypass: []config.CacheCondition{{Kind: config.CacheConditionCookie, Name: "s", Value: "1"}}}, request: []string{"Cookie", "a=2; s=1"}, answer: http.Header{"Cache-Control": {"max-age=60"}}},
		"a field that asks for another method":     {request: []string{"X-HTTP-Method-Override", "POST"}, answer: http.Header{"Cache-Control": {"max-age=60"}}},
		"a field that asks for another target":     {request: []string{"X-Original-URL", "/admin"}, answer: http.Header{"Cache-Control": {"max-age=60"}}},
		"a larger one than maxObject":              {config: config.Cache{MaxObjectBytes: 3}, answer: http.Header{"Cache-Control": {"max-age=60"}}},
		"a status that is not in the list, by ttl": {config: config.Cache{TTL: time.Minute, Statuses: []int{404}}, answer: http.Header{}},
		"another method":                           {method: "POST", answer: http.Header{"Cache-Control": {"max-age=60"}}},
		"too many tags":                            {answer: http.Header{"Cache-Control": {"max-age=60"}, "Surrogate-Key": {strings.Repeat("a b ", 100)}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b, asked := cached(t, &test.config, func(w http.ResponseWriter, _ *http.Request) {
				for name, values := range test.answer {
					w.Header()[name] = values
				}
				_, _ = io.WriteString(w, "body")
			})
			method := test.method
			if method == "" {
				method = "GET"
			}
			for range 2 {
				h := http.Header{}
				for i := 0; i < len(test.request); i += 2 {
					h.Set(test.request[i], test.request[i+1])
				}
				if r, body := b.do(t, method, "/a", "", h); body != "body" || !strings.Contains(r.Header.Get("Cache-Status"), "fwd=") {
					t.Errorf("%q, %q", body, r.Header.Get("Cache-Status"))
				}
			}
			if n := asked.Load(); n != 2 {
				t.Errorf("the origin was asked %d times; want both", n)
			}
		})
	}
}

func TestCacheKeys(t *testing.T) {
	tests := map[string]struct {
		key    config.CacheKey
		a, b   [3]string // target, field, value
		shared bool
	}{
		"queries differ":                        {config.CacheKey{}, [3]string{"/?a=1"}, [3]string{"/?a=2"}, false},
		"order counts as it was sent":           {config.CacheKey{}, [3]string{"/?a=1&b=2"}, [3]string{"/?b=2&a=1"}, false},
		"a parameter that does not count":       {config.CacheKey{QueryDeny: []string{"utm"}}, [3]string{"/?a=1&utm=x"}, [3]string{"/?utm=y&a=1"}, true},
		"the same hidden in percent":            {config.CacheKey{QueryAllow: []string{"id"}}, [3]string{"/?id=1"}, [3]string{"/?%69d=2"}, false},
		"one behind a semicolon counts":         {config.CacheKey{QueryDeny: []string{"utm"}}, [3]string{"/?utm=1;id=2"}, [3]string{"/?utm=1;id=3"}, false},
		"only these count, in their order":      {config.CacheKey{QueryAllow: []string{"b", "a"}}, [3]string{"/?b=1&x=1&a=2"}, [3]string{"/?a=2&b=1&y=3"}, true},
		"no query counts":                       {config.CacheKey{NoQuery: true}, [3]string{"/?a=1"}, [3]string{"/"}, true},
		"hostnames differ":                      {config.CacheKey{}, [3]string{"/", "Host", "a.example"}, [3]string{"/", "Host", "b.example"}, false},
		"hostnames are one in any case":         {config.CacheKey{}, [3]string{"/", "Host", "a.example"}, [3]string{"/", "Host", "A.EXAMPLE:80"}, true},
		"any hostname":                          {config.CacheKey{AnyHostname: true}, [3]string{"/", "Host", "a.example"}, [3]string{"/", "Host", "b.example"}, true},
		"a header of the key":                   {config.CacheKey{Headers: []string{"x-lang"}}, [3]string{"/", "X-Lang", "de"}, [3]string{"/", "X-Lang", "fr"}, false},
		"a header that is missing is its own":   {config.CacheKey{Headers: []string{"x-lang"}}, [3]string{"/", "X-Lang", ""}, [3]string{"/"}, false},
		"a cookie of the key":                   {config.CacheKey{Cookies: []string{"c"}}, [3]string{"/", "Cookie", "c=1"}, [3]string{"/", "Cookie", "c=2"}, false},
		"other cookies":                         {config.CacheKey{Cookies: []string{"c"}}, [3]string{"/", "Cookie", "c=1; d=1"}, [3]string{"/", "Cookie", "d=2; c=1"}, true},
		"a double slash is another path":        {config.CacheKey{}, [3]string{"/a/b"}, [3]string{"/a//b"}, false},
		"dots are done away with before":        {config.CacheKey{}, [3]string{"/a/b"}, [3]string{"/a/c/../b"}, true},
		"an encoded slash is another path":      {config.CacheKey{}, [3]string{"/a/b"}, [3]string{"/a%2Fb"}, false},
		"a header that is not of the key":       {config.CacheKey{}, [3]string{"/", "X-Any", "1"}, [3]string{"/", "X-Any", "2"}, true},
		"X-Forwarded-Host of a stranger is not": {config.CacheKey{}, [3]string{"/", "X-Forwarded-Host", "evil.example"}, [3]string{"/"}, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b, asked := cached(t, &config.Cache{Key: test.key}, func(w http.ResponseWriter, q *http.Request) {
				w.Header().Set("Cache-Control", "public, max-age=60")
				_, _ = io.WriteString(w, q.Host+q.RequestURI+q.Header.Get("X-Forwarded-Host"))
			})
			var bodies []string
			for _, q := range [][3]string{test.a, test.b} {
				h := http.Header{}
				if q[1] != "" {
					h[q[1]] = []string{q[2]}
				}
				_, body := b.do(t, "GET", q[0], "", h)
				bodies = append(bodies, body)
			}
			if shared := asked.Load() == 1; shared != test.shared {
				t.Errorf("the origin was asked %d times; shared: want %v", asked.Load(), test.shared)
			}
			if strings.Contains(bodies[0], "evil") {
				t.Errorf("%q is stored", bodies[0])
			}
		})
	}
}

func TestCacheVary(t *testing.T) {
	b, asked := cached(t, &config.Cache{}, func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Vary", "Accept-Language, X-Forwarded-Proto")
		_, _ = io.WriteString(w, q.Header.Get("Accept-Language"))
	})
	for _, test := range []struct{ lang, did string }{
		{"de", "fwd=uri-miss"}, {"fr", "fwd=vary-miss"}, {"de", "hit"}, {"DE", "hit"}, {"fr", "hit"}, {"de;q=0.5, fr", "fwd=vary-miss"},
	} {
		r, body := b.get(t, "/a", "Accept-Language", test.lang)
		did(t, r, test.did)
		if !strings.EqualFold(body, test.lang) {
			t.Errorf("%q for %q", body, test.lang)
		}
	}
	if n := asked.Load(); n != 3 {
		t.Errorf("the origin was asked %d times; want 3", n)
	}
}

// crowd sends n requests at once and returns what each got.
func (b *bed) crowd(n int, target string, header func(i int) http.Header) []string {
	var group sync.WaitGroup
	all := make([]string, n)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for i := range n {
		group.Go(func() {
			r, err := http.NewRequest("GET", b.url+target, nil)
			if err == nil {
				if header != nil {
					r.Header = header(i)
				}
				var response *http.Response
				if response, err = client.Do(r); err == nil {
					defer response.Body.Close()
					var body []byte
					body, err = io.ReadAll(response.Body)
					all[i] = fmt.Sprint(response.StatusCode, " ", string(body))
				}
			}
			if err != nil {
				all[i] = err.Error()
			}
		})
	}
	group.Wait()
	return all
}

func TestCacheCollapses(t *testing.T) {
	const clients = 50
	content := strings.Repeat("x", 300<<10)
	var b *bed
	b, asked := cached(t, &config.Cache{}, func(w http.ResponseWriter, _ *http.Request) {
		waitFor(t, func() bool { return b.flying() == clients })
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = io.WriteString(w, content)
	})
	for i, got := range b.crowd(clients, "/a", nil) {
		if got != "200 "+content {
			t.Errorf("client %d: %.60q of %d bytes", i, got, len(got))
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("the origin was asked %d times; want once", n)
	}
}

// waitFor waits until something is so.
func waitFor(t testing.TB, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Error("it never came to that")
			return
		}
	}
}

// flying returns how many clients wait for what the origin is asked.
func (b *bed) flying() int { return b.cache.Waiting() }

func TestCacheDoesNotPileUp(t *testing.T) {
	const clients = 20
	var at atomic.Int64
	var b *bed
	all := make(chan struct{})
	b, asked := cached(t, &config.Cache{}, func(w http.ResponseWriter, _ *http.Request) {
		if at.Add(1) == 1 {
			waitFor(t, func() bool { return b.flying() == clients })
		} else if at.Load() == clients {
			close(all) // all others are here at once: none waits for another
		}
		w.Header().Set("Cache-Control", "private")
		if at.Load() > 1 {
			<-all
		}
		_, _ = io.WriteString(w, "mine")
	})
	for i, got := range b.crowd(clients, "/a", nil) {
		if got != "200 mine" {
			t.Errorf("client %d: %q", i, got)
		}
	}
	if n := asked.Load(); n != clients {
		t.Errorf("the origin was asked %d times; want %d", n, clients)
	}
}

func TestCacheStreams(t *testing.T) {
	first, rest := strings.Repeat("a", 100<<10), strings.Repeat("b", 100<<10)
	more := make(chan struct{})
	b, asked := cached(t, &config.Cache{}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = io.WriteString(w, first)
		_ = http.NewResponseController(w).Flush()
		<-more
		_, _ = io.WriteString(w, rest)
	})
	var bodies []io.ReadCloser
	for range 3 { // the first begins the flight, the others come while it is under way
		r, err := b.client.Get(b.url + "/a")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		got := make([]byte, len(first))
		if _, err := io.ReadFull(r.Body, got); err != nil || string(got) != first {
			t.Fatalf("%v, while the origin is half done", err)
		}
		bodies = append(bodies, r.Body)
	}
	bodies[0].Close() // the fetch goes on for the others
	close(more)
	for _, body := range bodies[1:] {
		if got, err := io.ReadAll(body); err != nil || string(got) != rest {
			t.Errorf("%d bytes, %v; want the rest", len(got), err)
		}
	}
	r, body := b.get(t, "/a")
	did(t, r, "hit")
	if body != first+rest || asked.Load() != 1 {
		t.Errorf("%d bytes after %d requests", len(body), asked.Load())
	}
}

func TestCacheCutShort(t *testing.T) {
	tests := map[string]string{
		"shorter than its length": "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 10\r\n\r\n01234",
		"no last chunk":           "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n",
	}
	for name, answer := range tests {
		t.Run(name, func(t *testing.T) {
			b, asked := cached(t, &config.Cache{}, func(w http.ResponseWriter, _ *http.Request) {
				c, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.WriteString(c, answer)
				c.Close()
			})
			for range 2 {
				r, err := b.client.Get(b.url + "/a")
				if err != nil {
					continue
				}
				got, err := io.ReadAll(r.Body)
				r.Body.Close()
				if err == nil && r.StatusCode == 200 {
					t.Errorf("%q looks whole", got)
				}
			}
			if n := asked.Load(); n < 2 {
				t.Errorf("the origin was asked %d times; want each time", n)
			}
		})
	}
}

func TestCacheValidates(t *testing.T) {
	var version atomic.Int64
	b, asked := cached(t, &config.Cache{}, func(w http.ResponseWriter, q *http.Request) {
		tag := fmt.Sprintf(`"v%d"`, version.Load())
		w.Header().Set("Cache-Control", "max-age=0, must-revalidate")
		w.Header().Set("ETag", tag)
		w.Header().Set("X-Asked", q.Header.Get("If-None-Match"))
		if q.Header.Get("If-None-Match") == tag {
			w.WriteHeader(304)
			return
		}
		_, _ = io.WriteString(w, tag)
	})
	r, _ := b.get(t, "/a")
	did(t, r, "fwd=uri-miss")
	r, body := b.get(t, "/a")
	did(t, r, "fwd=stale; fwd-status=304")
	if body != `"v0"` || r.StatusCode != 200 || r.Header.Get("X-Asked") != `"v0"` {
		t.Errorf("%d %q, asked for %q", r.StatusCode, body, r.Header.Get("X-Asked"))
	}
	version.Store(1)
	r, body = b.get(t, "/a")
	did(t, r, "fwd=stale; fwd-status=200; stored")
	if body != `"v1"` || asked.Load() != 3 {
		t.Errorf("%q after %d requests", body, asked.Load())
	}
}

func TestCacheStaleWhileRevalidate(t *testing.T) {
	var version atomic.Int64
	b, asked := cached(t, &config.Cache{}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=0, stale-while-revalidate=60")
		_, _ = fmt.Fprint(w, version.Add(1))
	})
	b.get(t, "/a")
	r, body := b.get(t, "/a")
	did(t, r, "hit; ttl=")
	if body != "1" {
		t.Errorf("%q; want what is stored", body)
	}
	waitFor(t, func() bool { return asked.Load() == 2 })
	waitFor(t, func() bool {
		_, body := b.get(t, "/a")
		return body != "1"
	})
}

func TestCacheServesWhenOriginFails(t *testing.T) {
	var down atomic.Bool
	b, asked := cached(t, &config.Cache{StaleIfError: time.Hour}, func(w http.ResponseWriter, q *http.Request) {
		if down.Load() {
			w.WriteHeader(503)
			return
		}
		if q.URL.Path == "/strict" {
			w.Header().Set("Cache-Control", "max-age=0, must-revalidate")
		} else {
			w.Header().Set("Cache-Control", "max-age=0")
		}
		w.Header().Set("ETag", `"v1"`)
		_, _ = io.WriteString(w, "good")
	})
	b.get(t, "/a")
	b.get(t, "/strict")
	down.Store(true)
	r, body := b.get(t, "/a")
	did(t, r, "fwd=stale; fwd-status=503")
	if r.StatusCode != 200 || body != "good" {
		t.Errorf("%d %q", r.StatusCode, body)
	}
	before := asked.Load()
	for range 10 { // the origin is left alone for a moment
		if r, body := b.get(t, "/a"); r.StatusCode != 200 || body != "good" {
			t.Errorf("%d %q", r.StatusCode, body)
		}
	}
	if n := asked.Load() - before; n > 5 {
		t.Errorf("an origin that has just failed was asked %d times for ten requests", n)
	}
	if r, _ := b.get(t, "/strict"); r.StatusCode != 503 {
		t.Errorf("%d for a response that must be validated; want 503", r.StatusCode)
	}
}

func TestCacheInvalidates(t *testing.T) {
	var version atomic.Int64
	b, _ := cached(t, &config.Cache{}, func(w http.ResponseWriter, q *http.Request) {
		if q.Method != "GET" {
			if q.Header.Get("X-Fail") != "" {
				w.WriteHeader(409)
				return
			}
			version.Add(1)
			w.Header().Set("Location", "/list")
			w.WriteHeader(204)
			return
		}
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = fmt.Fprint(w, version.Load())
	})
	read := func() string {
		_, a := b.get(t, "/item")
		_, l := b.get(t, "/list")
		_, o := b.get(t, "/other")
		return a + l + o
	}
	if got := read(); got != "000" {
		t.Fatalf("%q", got)
	}
	b.do(t, "PUT", "/item", "x", http.Header{"X-Fail": {"1"}})
	if got := read(); got != "000" {
		t.Errorf("%q after a refused change; want what is stored", got)
	}
	b.do(t, "PUT", "/item", "x", nil)
	if got := read(); got != "110" {
		t.Errorf("%q after a change; want 110", got)
	}
}

func TestCacheRangeOfWhatIsComing(t *testing.T) {
	content := strings.Repeat("0123456789", 20<<10)
	b, asked := cached(t, &config.Cache{}, func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		w.Header().Set("X-Range", q.Header.Get("Range"))
		_, _ = io.WriteString(w, content)
	})
	r, body := b.get(t, "/a", "Range", "bytes=100005-100009")
	if r.StatusCode != 206 || body != "56789" || r.Header.Get("X-Range") != "" {
		t.Errorf("%d %q, the origin was asked for %q", r.StatusCode, body, r.Header.Get("X-Range"))
	}
	waitFor(t, func() bool {
		r, body := b.get(t, "/a")
		return strings.HasPrefix(r.Header.Get("Cache-Status"), "Penstock; hit") && body == content
	})
	if n := asked.Load(); n != 1 {
		t.Errorf("the origin was asked %d times; want once", n)
	}
}

func TestCacheParts(t *testing.T) {
	content := strings.Repeat("0123456789abcdef", 256<<10) // 4 MiB
	b, asked := cached(t, &config.Cache{}, func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("ETag", `"v1"`)
		w.Header().Set("X-Range", q.Header.Get("Range"))
		http.ServeContent(w, q, "", time.Time{}, strings.NewReader(content))
	})
	r, body := b.get(t, "/a", "Range", "bytes=2000000-2099999")
	did(t, r, "fwd=uri-miss; fwd-status=206; stored")
	if r.StatusCode != 206 || body != content[2000000:2100000] || r.Header.Get("X-Range") == "" {
		t.Errorf("%d, %d bytes, the origin was asked for %q", r.StatusCode, len(body), r.Header.Get("X-Range"))
	}
	r, body = b.get(t, "/a", "Range", "bytes=2000010-2000019")
	did(t, r, "hit")
	if r.StatusCode != 206 || body != content[2000010:2000020] || r.Header.Get("Content-Range") != "bytes 2000010-2000019/4194304" {
		t.Errorf("%d %q at %q", r.StatusCode, body, r.Header.Get("Content-Range"))
	}
	if r, body = b.get(t, "/a", "Range", "bytes=2099990-2100009"); body != content[2099990:2100010] {
		t.Errorf("%d, %d bytes for what is half stored", r.StatusCode, len(body))
	}
	if r, body = b.get(t, "/a"); body != content || r.StatusCode != 200 {
		t.Errorf("%d, %d bytes; want the whole", r.StatusCode, len(body))
	}
	r, body = b.get(t, "/a", "Range", "bytes=3000000-3000009")
	did(t, r, "hit")
	if body != content[3000000:3000010] || asked.Load() != 3 {
		t.Errorf("%q after %d requests", body, asked.Load())
	}
}

func TestCacheCompletesWhatWasCut(t *testing.T) {
	content := strings.Repeat("0123456789abcdef", 64<<10) // 1 MiB
	for name, test := range map[string]struct {
		tag     string // of the answer to the second request
		asked   []string
		changed bool
	}{
		"the same version":    {`"v1"`, []string{"", "bytes=524288-"}, false},
		"another one":         {`"v2"`, []string{"", "bytes=524288-"}, true},
		"a lie about its tag": {`"v3"`, []string{"", "bytes=524288-", ""}, true},
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			var ranges []string
			b, _ := cached(t, &config.Cache{}, func(w http.ResponseWriter, q *http.Request) {
				mu.Lock()
				ranges = append(ranges, q.Header.Get("Range"))
				n := len(ranges)
				mu.Unlock()
				w.Header().Set("Cache-Control", "max-age=60")
				if n == 1 {
					w.Header().Set("ETag", `"v1"`)
					w.Header().Set("Content-Length", fmt.Sprint(len(content)))
					_, _ = io.WriteString(w, content[:len(content)/2])
					_ = http.NewResponseController(w).Flush()
					panic(http.ErrAbortHandler)
				}
				served := content
				if test.changed {
					served = strings.ToUpper(content)
				}
				w.Header().Set("ETag", test.tag)
				if test.tag == `"v3"` {
					q.Header.Del("If-Range")
				}
				http.ServeContent(w, q, "", time.Time{}, strings.NewReader(served))
			})
			r, err := b.client.Get(b.url + "/a")
			if err == nil {
				_, err = io.ReadAll(r.Body)
				r.Body.Close()
			}
			if err == nil {
				t.Fatal("what was cut looks whole")
			}
			want := content
			if test.changed {
				want = strings.ToUpper(content)
			}
			for range 2 {
				if r, body := b.get(t, "/a"); r.StatusCode != 200 || body != want || r.Header.Get("Content-Range") != "" {
					t.Errorf("%d, %d bytes, at %q; want the whole of one version", r.StatusCode, len(body), r.Header.Get("Content-Range"))
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if fmt.Sprintf("%q", ranges) != fmt.Sprintf("%q", test.asked) {
				t.Errorf("the origin was asked for %q; want %q", ranges, test.asked)
			}
		})
	}
}

func TestCacheLeavesUpgradesAlone(t *testing.T) {
	b, _ := cached(t, &config.Cache{TTL: time.Minute}, func(w http.ResponseWriter, _ *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
		line, _ := rw.ReadString('\n')
		_, _ = io.WriteString(c, line)
	})
	c, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "GET /a HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nhello\n")
	in := bufio.NewReader(c)
	r, err := http.ReadResponse(in, nil)
	if err != nil || r.StatusCode != 101 {
		t.Fatalf("%v %v", r, err)
	}
	if line, err := in.ReadString('\n'); line != "hello\n" {
		t.Errorf("%q, %v", line, err)
	}
}

func TestCachePurge(t *testing.T) {
	tests := map[string]struct {
		purge config.Purge
		gone  string // of the targets /img, /img/a, /images, /?b=1 and /other with tags
	}{
		"a URL":                    {config.Purge{URLs: []string{"http://shop.example/img"}}, "/img"},
		"a URL with its query":     {config.Purge{URLs: []string{"https://SHOP.example:443/?b=1"}}, "/?b=1"},
		"another query":            {config.Purge{URLs: []string{"http://shop.example/?b=2"}}, ""},
		"a prefix in segments":     {config.Purge{Prefixes: []string{"http://shop.example/img"}}, "/img /img/a"},
		"a prefix of all":          {config.Purge{Prefixes: []string{"http://shop.example/"}}, "/img /img/a /images /?b=1 /other"},
		"a hostname":               {config.Purge{Hostnames: []string{"shop.example"}}, "/img /img/a /images /?b=1 /other"},
		"another hostname":         {config.Purge{Hostnames: []string{"example"}}, ""},
		"a tag":                    {config.Purge{Tags: []string{"two"}}, "/other"},
		"another namespace's":      {config.Purge{Namespace: "other", Tags: []string{"two"}}, ""},
		"several at once, counted": {config.Purge{Tags: []string{"two"}, URLs: []string{"http://shop.example/other"}}, "/other"},
	}
	targets := []string{"/img", "/img/a", "/images", "/?b=1", "/other"}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b, _ := cached(t, &config.Cache{}, func(w http.ResponseWriter, q *http.Request) {
				w.Header().Set("Cache-Control", "max-age=60")
				if q.URL.Path == "/other" {
					w.Header().Set("Surrogate-Key", "one two")
					w.Header().Set("Cache-Tag", "three, four")
				}
			})
			for _, target := range targets {
				b.get(t, target, "Host", "shop.example")
			}
			if test.purge.Namespace == "" {
				test.purge.Namespace = "ns"
			}
			n, err := b.cache.Purge(&test.purge)
			if want := len(strings.Fields(test.gone)); err != nil || n != want {
				t.Errorf("%d removed, %v; want %d", n, err, want)
			}
			var gone []string
			for _, target := range targets {
				if r, _ := b.get(t, target, "Host", "shop.example"); strings.Contains(r.Header.Get("Cache-Status"), "fwd=") {
					gone = append(gone, target)
				}
			}
			if got := strings.Join(gone, " "); got != test.gone {
				t.Errorf("gone: %q; want %q", got, test.gone)
			}
		})
	}
}

func TestCachePurgeSoftly(t *testing.T) {
	b, asked := cached(t, &config.Cache{StaleIfError: time.Hour, StaleWhileRevalidate: time.Hour}, fresh("body"))
	b.get(t, "/a")
	if n, err := b.cache.Purge(&config.Purge{Namespace: "ns", URLs: []string{b.url + "/a"}, Soft: true}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	r, body := b.get(t, "/a")
	did(t, r, "hit")
	if body != "body" {
		t.Errorf("%q; want what is stored", body)
	}
	waitFor(t, func() bool { return asked.Load() == 2 })
}

func TestCachePurgeWhileFetching(t *testing.T) {
	for name, purge := range map[string]config.Purge{
		"by hostname": {Namespace: "ns", Hostnames: []string{"127.0.0.1"}},
		"by tag":      {Namespace: "ns", Tags: []string{"x"}},
	} {
		for _, when := range []string{"before the head", "after the head"} {
			t.Run(name+", "+when, func(t *testing.T) {
				asked, more := make(chan struct{}, 9), make(chan struct{})
				b, count := cached(t, &config.Cache{}, func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Cache-Control", "max-age=60")
					w.Header().Set("Surrogate-Key", "x")
					if when == "after the head" {
						_, _ = io.WriteString(w, strings.Repeat("x", 9000))
						_ = http.NewResponseController(w).Flush()
					}
					asked <- struct{}{}
					<-more
				})
				done := make(chan struct{})
				go func() {
					defer close(done)
					b.get(t, "/a")
				}()
				<-asked
				if when == "after the head" {
					waitFor(t, func() bool { return b.cache.Stats().Writing == 1 })
				}
				if _, err := b.cache.Purge(&purge); err != nil {
					t.Error(err)
				}
				close(more)
				<-done
				r, _ := b.get(t, "/a")
				did(t, r, "fwd=uri-miss")
				if n := count.Load(); n != 2 {
					t.Errorf("the origin was asked %d times; want 2", n)
				}
			})
		}
	}
}

// TestCacheCloses: what is fetched for nobody does not hold up the end of the process.
func TestCacheCloses(t *testing.T) {
	for _, when := range []string{"before the head", "after the head"} {
		t.Run(when, func(t *testing.T) {
			more := make(chan struct{})
			var calls atomic.Int64
			b, _ := cached(t, &config.Cache{}, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Cache-Control", "max-age=0, stale-while-revalidate=60")
				if calls.Add(1) == 1 {
					_, _ = io.WriteString(w, "first")
					return
				}
				if when == "after the head" {
					_, _ = io.WriteString(w, strings.Repeat("x", 9000))
					_ = http.NewResponseController(w).Flush()
				}
				<-more
			})
			t.Cleanup(func() { close(more) }) // before the server's own end
			b.get(t, "/a")
			b.get(t, "/a") // has it fetched in the background
			waitFor(t, func() bool { return calls.Load() == 2 })
			if when == "after the head" {
				waitFor(t, func() bool { return b.cache.Stats().Writing == 1 })
			}
			done := make(chan struct{})
			go func() {
				b.cache.Close()
				close(done)
			}()
			select {
			case <-done:
			case <-time.After(20 * time.Second):
				t.Error("the cache waits for an origin that says nothing")
			}
		})
	}
}
