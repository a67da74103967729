package proxy_test

import (
	"net/http"
	"testing"
	"time"

	"penstock.dev/penstock/core/config"
)

func TestCORS(t *testing.T) {
	listed := &config.CORS{
		Origins: []config.Origin{{Scheme: "https", Hostname: "www.foo.com", Port: 443}, {Scheme: "https", Hostname: "*.bar.com", Port: 443}, {Scheme: "http", Hostname: "*", Port: 8080}},
		Methods: "GET, OPTIONS", Headers: "x-1, x-2", Exposed: "x-3", Credentials: true, MaxAge: time.Hour,
	}
	anything := config.CORS{AnyOrigin: true, AnyMethod: true, AnyHeader: true, AnyExposed: true, MaxAge: 5 * time.Second}
	trusted := anything
	trusted.Credentials = true
	preflight := func(origin string) http.Header {
		return http.Header{"Origin": {origin}, "Access-Control-Request-Method": {"PUT"}, "Access-Control-Request-Headers": {"x-9"}}
	}
	from := func(origin string) http.Header { return http.Header{"Origin": {origin}} }
	tests := map[string]struct {
		filter *config.CORS
		method string
		header http.Header
		status int
		want   map[string]string // empty: absent
	}{
		"a preflight of a listed origin": {listed, "OPTIONS", preflight("https://www.foo.com"), 204, map[string]string{
			"Access-Control-Allow-Origin": "https://www.foo.com", "Access-Control-Allow-Methods": "GET, OPTIONS", "Access-Control-Allow-Headers": "x-1, x-2",
			"Access-Control-Expose-Headers": "x-3", "Access-Control-Allow-Credentials": "true", "Access-Control-Max-Age": "3600", "Vary": "Origin"}},
		"a name below a wildcard":       {listed, "OPTIONS", preflight("https://a.b.bar.com"), 204, map[string]string{"Access-Control-Allow-Origin": "https://a.b.bar.com"}},
		"not the wildcard's own name":   {listed, "OPTIONS", preflight("https://bar.com"), 204, map[string]string{"Access-Control-Allow-Origin": "", "Access-Control-Allow-Methods": "", "Access-Control-Max-Age": ""}},
		"nor one that only ends so":     {listed, "OPTIONS", preflight("https://foobar.com"), 204, map[string]string{"Access-Control-Allow-Origin": ""}},
		"another scheme":                {listed, "OPTIONS", preflight("http://www.foo.com"), 204, map[string]string{"Access-Control-Allow-Origin": ""}},
		"the port that is meant":        {listed, "OPTIONS", preflight("https://www.foo.com:443"), 204, map[string]string{"Access-Control-Allow-Origin": "https://www.foo.com:443"}},
		"another port":                  {listed, "OPTIONS", preflight("https://www.foo.com:444"), 204, map[string]string{"Access-Control-Allow-Origin": ""}},
		"any name at a port":            {listed, "OPTIONS", preflight("http://x.example:8080"), 204, map[string]string{"Access-Control-Allow-Origin": "http://x.example:8080"}},
		"the origin null":               {listed, "OPTIONS", preflight("null"), 204, map[string]string{"Access-Control-Allow-Origin": ""}},
		"a request of a listed origin":  {listed, "GET", from("https://www.foo.com"), 200, map[string]string{"Access-Control-Allow-Origin": "https://www.foo.com", "Access-Control-Allow-Methods": "", "Access-Control-Expose-Headers": "x-3"}},
		"a request of another one":      {listed, "GET", from("https://foobar.com"), 200, map[string]string{"Access-Control-Allow-Origin": "", "Access-Control-Allow-Credentials": "", "Vary": "Origin"}},
		"a request without an origin":   {listed, "GET", http.Header{}, 200, map[string]string{"Access-Control-Allow-Origin": "", "Vary": "Origin"}},
		"OPTIONS that is no preflight":  {listed, "OPTIONS", from("https://www.foo.com"), 200, map[string]string{"Access-Control-Allow-Origin": "https://www.foo.com", "Access-Control-Max-Age": ""}},
		"anything, in public":           {&anything, "OPTIONS", preflight("null"), 204, map[string]string{"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Methods": "PUT", "Access-Control-Allow-Headers": "x-9", "Access-Control-Allow-Credentials": "", "Access-Control-Max-Age": "5", "Vary": ""}},
		"anything, with credentials":    {&trusted, "OPTIONS", preflight("https://x.example"), 204, map[string]string{"Access-Control-Allow-Origin": "https://x.example", "Access-Control-Allow-Methods": "PUT", "Access-Control-Allow-Headers": "x-9", "Access-Control-Allow-Credentials": "true"}},
		"all fields are exposed":        {&anything, "GET", from("https://x.example"), 200, map[string]string{"Access-Control-Expose-Headers": "*"}},
		"no wildcard with credentials":  {&trusted, "OPTIONS", http.Header{"Origin": {"https://x.example"}, "Access-Control-Request-Method": {"PUT"}}, 204, map[string]string{"Access-Control-Allow-Headers": ""}},
		"the Service's word is nothing": {listed, "GET", http.Header{"Origin": {"https://evil.example"}, "X-Say": {"1"}}, 200, map[string]string{"Access-Control-Allow-Origin": "", "Access-Control-Allow-Credentials": ""}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBed(t)
			r := rule("r", "/", "up")
			r.Steps = []config.Step{{CORS: test.filter}, {Request: &config.HeaderModifier{Remove: []string{"Origin"}}}}
			c := newConfig(b.port, r)
			service(t, c, "up", func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("X-Say") != "" {
					w.Header().Set("Access-Control-Allow-Origin", "*")
					w.Header().Set("Access-Control-Allow-Credentials", "true")
				}
				w.Header().Set("X-Up", "1")
			})
			if err := b.store.Apply(c); err != nil {
				t.Fatal(err)
			}
			got, _ := b.do(t, test.method, "/", "", test.header)
			if got.StatusCode != test.status {
				t.Errorf("got %d; want %d", got.StatusCode, test.status)
			}
			for name, want := range test.want {
				if v := got.Header.Get(name); v != want {
					t.Errorf("%s: got %q; want %q", name, v, want)
				}
			}
		})
	}
}
