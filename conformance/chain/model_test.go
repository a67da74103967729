package chain

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// request is one that is sent.
type request struct {
	method   string
	target   string // path and query
	token    string // as it stands behind Bearer
	bearer   bool   // there is a token at all
	valid    bool   // it counts
	accept   string // Accept-Encoding; empty: none
	kind     string // Content-Type of the body; empty: none
	coding   string // Content-Encoding of the body; empty: none
	body     string
	fields   [][2]string
	consumer int // whose token it is
}

func (r *request) String() string {
	text, _ := json.Marshal([]any{r.method, r.target, fmt.Sprintf("%.80q", r.token), r.bearer, r.valid, r.accept, r.kind, r.coding, fmt.Sprintf("%.200q", r.body), r.consumer})
	return string(text)
}

// answer is one that came, decoded.
type answer struct {
	status int
	header http.Header
	coding string
	body   string
}

// model says what a consumer's requests are answered with. Its consumer's requests are sent
// one after another.
type model struct {
	limit int
	// left are those that rate-limit lets pass.
	left int
	// stored are, by target and Accept-Encoding, the numbers of the origin's answers that the
	// cache holds.
	stored map[string]map[string]int64
	// last is the largest number of an answer from the origin, by target.
	last map[string]int64
}

func newModel(limit int) *model {
	return &model{limit: limit, left: limit, stored: map[string]map[string]int64{}, last: map[string]int64{}}
}

// codings are values of Accept-Encoding and the coding that they are to get (RFC 9110,
// 12.5.3; zstd before br before gzip of those that a client likes as much).
var codings = map[string]string{
	"": "", "gzip": "gzip", "br": "br", "zstd": "zstd", "GZIP": "gzip", "x-gzip;q=0.4": "gzip",
	"gzip, br": "br", "gzip, br, zstd": "zstd", "zstd;q=0.5, gzip": "gzip", "br;q=0.1,gzip;q=0.001": "br",
	"identity": "", "*": "zstd", "*;q=0": "", "gzip;q=0": "", "gzip;q=0, *": "zstd", "zstd;q=0,br;q=0,*;q=0.3": "gzip",
	"deflate": "", "gzip;q=2": "", "gzip;q=abc": "", "identity;q=0.9, gzip;q=0.8": "", "identity;q=0.5, gzip;q=0.8": "gzip", ", ,gzip,": "gzip",
}

// check compares an answer with what the model says, which learns from it. sent is what the
// origin is to be sent.
func (m *model) check(r *request, a *answer) error {
	if !r.valid {
		return m.refused(r, a)
	}
	if m.left == 0 {
		return m.limited(a)
	}
	m.left--
	if want := fmt.Sprintf("\"default\";r=%d;t=", m.left); !strings.HasPrefix(a.header.Get("RateLimit"), want) {
		return fmt.Errorf("RateLimit is %q; want %s", a.header.Get("RateLimit"), want)
	}
	if status := refusal(r); status != 0 {
		if a.status != status || a.header.Get("X-Origin") != "" || a.coding != "" {
			return fmt.Errorf("got %d from %q; want %d, and not from the origin", a.status, a.header.Get("X-Origin"), status)
		}
		return nil
	}
	return m.served(r, a)
}

func (m *model) refused(r *request, a *answer) error {
	challenge := a.header.Get("WWW-Authenticate")
	if a.status != 401 || !strings.HasPrefix(challenge, `Bearer realm="restricted"`) || strings.Contains(challenge, "invalid_token") != r.bearer {
		return fmt.Errorf("got %d, WWW-Authenticate %q; want 401", a.status, challenge)
	}
	if a.header.Get("RateLimit") != "" || a.header.Get("X-Served-By") != "" || a.header.Get("X-Origin") != "" || a.coding != "" {
		return fmt.Errorf("filters after the one that answered had their part in %v", a.header)
	}
	return nil
}

func (m *model) limited(a *answer) error {
	if a.status != 429 || a.header.Get("Retry-After") == "" || !strings.HasPrefix(a.header.Get("RateLimit"), `"default";r=0;t=`) {
		return fmt.Errorf("got %d, Retry-After %q, RateLimit %q; want 429", a.status, a.header.Get("Retry-After"), a.header.Get("RateLimit"))
	}
	if a.header.Get("X-Served-By") != "" || a.header.Get("X-Origin") != "" || a.coding != "" {
		return fmt.Errorf("filters after the one that answered had their part in %v", a.header)
	}
	return nil
}

// maxBody is transform's.
const maxBody = 2000

// refusal is the status of a request whose JSON transform cannot change; 0: it can, or need
// not.
func refusal(r *request) int {
	switch {
	case r.body == "" || r.kind != "application/json":
		return 0
	case r.coding != "":
		return 415
	case len(r.body) > maxBody:
		return 413
	case changed(r.body) == "":
		return 400
	}
	return 0
}

// changed is what transform makes of a JSON text; "": it is none.
func changed(text string) string {
	switch text {
	case `{"a":1}`:
		return `{"a":1,"by":"edge"}`
	case `{"by":"client","b":[1,{"c":null}]}`:
		return `{"by":"edge","b":[1,{"c":null}]}`
	case `{}`:
		return `{"by":"edge"}`
	case `[1]`: // it has no such place
		return text
	}
	return ""
}

// texts are bodies of requests, JSON and none.
var texts = []string{`{"a":1}`, `{"by":"client","b":[1,{"c":null}]}`, `{}`, `{"a":1,"a":2}`, `{"a":`, `[1]`, "\xff", `{"a":1} x`, "plain", "{\"a\":\"" + strings.Repeat("x", 3000) + "\"}", strings.Repeat("[", 500)}

// seen is what the origin was sent, as it tells it.
type seen struct {
	N                                                                int64
	Method, Target, Edge, Sub, Consumer, Secret, Authorization, Body string
}

// served checks an answer of the origin's, or of the cache.
func (m *model) served(r *request, a *answer) error {
	target := r.sentTarget()
	want := pageOf(target)
	switch {
	case a.status != want.status:
		return fmt.Errorf("got status %d; want %d", a.status, want.status)
	case a.header.Get("X-Served-By") != "penstock" || a.header.Get("X-Internal") != "":
		return fmt.Errorf("transform had no part in %v", a.header)
	}
	var n int64
	if _, err := fmt.Sscan(a.header.Get("X-Origin"), &n); err != nil {
		return fmt.Errorf("X-Origin is %q", a.header.Get("X-Origin"))
	}
	length := len(a.body)
	if r.method == "HEAD" {
		length = want.pad // and a line
	}
	coding, compressed := "", want.kind != "application/octet-stream" && length >= 1024
	if compressed {
		coding = codings[r.accept]
	}
	if a.coding != coding {
		return fmt.Errorf("got the coding %q for %q; want %q", a.coding, r.accept, coding)
	}
	if compressed && !strings.Contains(strings.ToLower(a.header.Get("Vary")), "accept-encoding") {
		return fmt.Errorf("Vary is %q", a.header.Get("Vary"))
	}
	if r.method != "HEAD" {
		if err := m.told(r, a, target, n, want); err != nil {
			return err
		}
	} else if a.body != "" {
		return fmt.Errorf("an answer to HEAD has the body %.80q", a.body)
	}
	return m.cached(r, target, n, want)
}

// told compares what the origin says that it was sent.
func (m *model) told(r *request, a *answer, target string, n int64, want page) error {
	text, pad, _ := strings.Cut(a.body, "\n")
	var got seen
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		return fmt.Errorf("the body is %.200q: %w", a.body, err)
	}
	body := r.body
	if r.kind == "application/json" && body != "" {
		body = changed(body)
	}
	should := seen{N: n, Method: r.method, Target: target, Edge: "edge " + name(r.consumer), Sub: name(r.consumer), Consumer: name(r.consumer), Body: strconv.Quote(body)}
	if got != should {
		return fmt.Errorf("the origin was sent %+v; want %+v", got, should)
	}
	if pad != strings.Repeat("x", want.pad) {
		return fmt.Errorf("%d bytes follow; want %d", len(pad), want.pad)
	}
	return nil
}

// cached checks that an answer is the stored one, or a new one.
func (m *model) cached(r *request, target string, n int64, want page) error {
	safe := r.method == "GET" || r.method == "HEAD"
	before := m.stored[target]
	known, ok := before[r.accept]
	switch {
	case safe && want.stored && ok:
		if n != known {
			return fmt.Errorf("got answer %d; want %d, which is stored", n, known)
		}
	case n > m.last[target]:
	default: // that of another coding may serve
		if !safe || !want.stored || !slices.Contains(slices.Collect(maps.Values(before)), n) {
			return fmt.Errorf("got answer %d, which is no new one; stored are %v", n, before)
		}
	}
	m.last[target] = max(m.last[target], n)
	switch {
	case !safe && r.method != "OPTIONS" && want.status < 400:
		delete(m.stored, target)
	case r.method == "GET" && want.stored:
		if before == nil {
			before = map[string]int64{}
			m.stored[target] = before
		}
		before[r.accept] = n
	}
	return nil
}
