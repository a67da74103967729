package chain

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"penstock.dev/penstock/conformance/harness"
	"penstock.dev/penstock/conformance/plain"
)

// page is what the origin has below a path.
type page struct {
	status int
	pad    int // bytes after the first line
	kind   string
	stored bool // the cache may
}

// pageOf returns what the origin has at a target.
func pageOf(target string) page {
	rest := strings.TrimPrefix(target, "/shop/")
	name, _, _ := strings.Cut(rest, "/")
	switch name {
	case "text":
		return page{200, 3000, "text/plain", true}
	case "json":
		return page{200, 1500, "application/problem+json", true}
	case "short":
		return page{200, 0, "text/plain", true}
	case "binary":
		return page{200, 4000, "application/octet-stream", true}
	case "private":
		return page{200, 2000, "text/html", false}
	case "failed":
		return page{500, 1200, "text/plain", false}
	}
	return page{404, 0, "text/plain", false}
}

var names = []string{"text", "json", "short", "binary", "private", "failed", "none"}

// origin numbers its answers, and tells in them what it was sent.
type origin struct{ n atomic.Int64 }

func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	p := pageOf(r.RequestURI)
	n := o.n.Add(1)
	text, err := json.Marshal(seen{
		N: n, Method: r.Method, Target: r.RequestURI, Edge: r.Header.Get("X-Edge"), Sub: r.Header.Get("X-Sub"), Consumer: r.Header.Get("X-Consumer-Username"),
		Secret: r.Header.Get("X-Secret"), Authorization: r.Header.Get("Authorization"), Body: strconv.Quote(string(body)),
	})
	if err != nil {
		panic(err)
	}
	h := w.Header()
	h.Set("Content-Type", p.kind)
	h.Set("X-Origin", strconv.FormatInt(n, 10))
	h.Set("X-Internal", "yes")
	h.Set("Cache-Control", "no-store")
	if p.stored {
		h.Set("Cache-Control", "max-age=86400")
	}
	h.Set("Content-Length", strconv.Itoa(len(text)+1+p.pad))
	w.WriteHeader(p.status)
	if r.Method != "HEAD" {
		_, _ = io.WriteString(w, string(text)+"\n"+strings.Repeat("x", p.pad)) // the client may have gone
	}
}

const chain = `
- use: jwt
  config: {issuer: "https://id.example.com", audience: shop, claims: true, forward: false, jwks: {keys: [%s]}}
- use: rate-limit
  config: {limit: %d, window: 31d, by: [consumer]}
- use: transform
  config:
    request:
      headers:
        set: {X-Edge: "edge ${consumer.name}", X-Sub: "${claims.sub}"}
        remove: [X-Secret]
      query: {remove: [debug], set: {v: "1"}}
      body: {set: {by: edge}}
    response:
      headers: {set: {X-Served-By: penstock}, remove: [X-Internal]}
    maxBody: %d
- use: cache
  config: {key: {consumer: true}}
- use: compress`

// sentTarget is the target as transform leaves it.
func (r *request) sentTarget() string {
	path, query, _ := strings.Cut(r.target, "?")
	var left []string
	for p := range strings.SplitSeq(query, "&") {
		if name, _, _ := strings.Cut(p, "="); p != "" && name != "debug" && name != "v" {
			left = append(left, p)
		}
	}
	return path + "?" + strings.Join(append(left, "v=1"), "&")
}

func name(consumer int) string { return fmt.Sprintf("consumer-%d", consumer) }

// maker makes requests.
type maker struct {
	*rand.Rand
	tokens [][]string // of each consumer
	wrong  []string
	accept []string
}

func one[T any](m *maker, from []T) T { return from[m.IntN(len(from))] }

func (m *maker) request(consumer int) *request {
	r := &request{method: "GET", consumer: consumer, accept: one(m, m.accept), bearer: true, valid: true, token: one(m, m.tokens[consumer])}
	r.target = fmt.Sprintf("/shop/%s/%d", one(m, names), m.IntN(8))
	switch m.IntN(8) {
	case 0:
		r.target += "?"
	case 1:
		r.target += fmt.Sprintf("?a=%d&debug=1", m.IntN(3))
	case 2:
		r.target += "?debug&v=9"
	}
	switch m.IntN(12) {
	case 0:
		r.method = "HEAD"
	case 1, 2:
		r.method = one(m, []string{"POST", "PUT", "PATCH"})
		r.body, r.kind = one(m, texts), one(m, []string{"application/json", "text/plain", "application/json"})
		if m.IntN(10) == 0 {
			r.coding = "gzip"
		}
	case 3:
		r.method = one(m, []string{"DELETE", "OPTIONS"})
	}
	switch m.IntN(12) {
	case 0:
		r.token, r.valid = one(m, m.wrong), false
	case 1:
		r.token, r.valid = garbage(m.Rand), false
	case 2:
		r.token, r.bearer, r.valid = "", false, false
	}
	for range m.IntN(4) {
		r.fields = append(r.fields, [2]string{one(m, []string{"X-Secret", "X-Edge", "X-Sub", "X-Consumer-Username", "X-Consumer-Groups", "X-Any", "Cookie", "X-Long", "Accept"}), m.value()})
	}
	return r
}

// value is one of a header field.
func (m *maker) value() string {
	b := make([]byte, m.IntN(64))
	for i := range b {
		b[i] = byte(' ' + m.IntN(95))
	}
	return string(b)
}

// send sends a request and reads its answer.
func send(t *testing.T, c *http.Client, url string, r *request) (*answer, error) {
	var body io.Reader
	if r.body != "" {
		body = strings.NewReader(r.body)
	}
	q, err := http.NewRequest(r.method, url+r.target, body)
	if err != nil {
		return nil, err
	}
	for _, f := range r.fields {
		q.Header.Add(f[0], f[1])
	}
	for name, value := range map[string]string{"Accept-Encoding": r.accept, "Content-Type": r.kind, "Content-Encoding": r.coding} {
		if value != "" {
			q.Header.Set(name, value)
		}
	}
	if r.bearer {
		q.Header["Authorization"] = []string{"Bearer " + r.token}
	}
	response, err := c.Do(q)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("the body: %w", err)
	}
	a := &answer{status: response.StatusCode, header: response.Header, coding: response.Header.Get("Content-Encoding")}
	if r.method == "HEAD" {
		a.body = string(raw)
		return a, nil
	}
	a.body = plain.Text(t, a.coding, string(raw))
	return a, nil
}

// TestModel sends random requests of several consumers through jwt, rate-limit, transform,
// the cache and compress. Each answer is what the model says, and no plugin traps: 20,000
// requests, or 1,000,000 with PENSTOCK_LONG=1. PENSTOCK_SEED repeats a run's requests.
func TestModel(t *testing.T) {
	requests, consumers := 20_000, 16
	if os.Getenv("PENSTOCK_LONG") == "1" {
		requests, consumers = 1_000_000, 64
	}
	seed := rand.Uint64()
	if text := os.Getenv("PENSTOCK_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("PENSTOCK_SEED=%d", seed)
	// What one of them sends in the mean, less those that do not count, is more than that.
	limit := requests / consumers * 6 / 10
	is := newIssuer(t)
	key, err := json.Marshal(is.jwk(t))
	if err != nil {
		t.Fatal(err)
	}
	tokens := make([][]string, consumers)
	for i := range tokens {
		for range 4 {
			tokens[i] = append(tokens[i], is.sign(header(), claims(name(i))))
		}
	}
	p := harness.Start(t, harness.Options{Images: []string{harness.BundledPlugins(t)}, Files: map[string]string{
		"gateway.yaml": harness.GatewayFor(1),
		"shop.yaml":    harness.Service("shop", fmt.Sprintf(chain, key, limit, maxBody), harness.Upstream(t, new(origin).ServeHTTP)),
	}})
	p.Eventually("the chain runs", func() bool { return p.Chain("Service/default/shop").State == "Running" })

	var accept []string
	for value := range codings {
		accept = append(accept, value)
	}
	wrong := is.wrong(t)
	var limited atomic.Int64
	var group sync.WaitGroup
	const workers = 4
	for worker := range workers {
		group.Go(func() {
			m := &maker{rand.New(rand.NewPCG(seed, uint64(worker))), tokens, wrong, accept}
			transport := &http.Transport{DisableCompression: true}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport}
			models := map[int]*model{}
			for n := range requests / workers {
				consumer := m.IntN(consumers/workers)*workers + worker
				if models[consumer] == nil {
					models[consumer] = newModel(limit)
				}
				r := m.request(consumer)
				a, err := send(t, client, p.URL, r)
				if err == nil {
					err = models[consumer].check(r, a)
				}
				if err != nil {
					t.Errorf("worker %d, request %d, %v:\n%v", worker, n, r, err)
					return
				}
				if a.status == 429 {
					limited.Add(1)
				}
			}
		})
	}
	group.Wait()
	if limited.Load() == 0 {
		t.Error("no request was beyond its limit")
	}
	failures := regexp.MustCompile(`(?m)^penstock_(filter_failures|filter_quarantines|filter_rollbacks)_total.* [1-9]\d*$`)
	if found := failures.FindAllString(p.Metrics(), -1); found != nil {
		t.Errorf("plugins have failed: %s", found)
	}
}
