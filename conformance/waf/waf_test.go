// Package waf runs the bundled plugin waf, a module of 24 MB, over real
// connections.
package waf

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/harness"
)

// limits are those of the plugin's README.
const limits = "\n  limits: {cpuTime: 1s, cpuTimeExchange: 3s, cpuTimeStart: 30s, memory: 128Mi}"

const (
	formMedia = "application/x-www-form-urlencoded"
	jsonMedia = "application/json"
	sqli      = "1' OR '1'='1' UNION SELECT password FROM users--"
	xss       = "<script>alert(document.cookie)</script>"
)

type request struct{ method, path, media, body string }

// send returns the status; a request that passes must come back from the
// upstream, an echo, as it was sent.
func (r request) send(t *testing.T, base string) int {
	t.Helper()
	q, err := http.NewRequest(r.method, base+r.path, strings.NewReader(r.body))
	if err != nil {
		t.Fatal(err)
	}
	if r.media != "" {
		q.Header.Set("Content-Type", r.media)
	}
	response, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode == http.StatusOK && string(body) != r.body {
		t.Errorf("%s %s: %d bytes came back as %d", r.method, r.path, len(r.body), len(body))
	}
	return response.StatusCode
}

// TestWAF also compiles the module, on a new state folder, while a plain route
// has traffic, which must not feel it: the ratio is logged, not asserted.
func TestWAF(t *testing.T) {
	port := harness.Upstream(t, harness.Echo)
	p := harness.Start(t, harness.Options{
		Files: map[string]string{
			"gateway.yaml": harness.GatewayFor(1),
			"plain.yaml":   harness.Service("plain", "", port),
		},
		Images: []string{harness.BundledPlugins(t)},
		Args:   []string{"--access-log", "off"},
	})
	idle := delays(t, p.URL+"/plain", func() bool { return false }, 3*time.Second)
	p.Write("block.yaml", harness.Service("block", "- use: waf"+limits, port))
	compiling := delays(t, p.URL+"/plain", func() bool { return p.Chain("Service/default/block").State == "Running" }, time.Minute)
	t.Logf("a plain route's 99th percentile: idle %v of %d, during the compile %v of %d: %.1f times (wanted: 2)",
		percentile(idle, 99), len(idle), percentile(compiling, 99), len(compiling), float64(percentile(compiling, 99))/float64(percentile(idle, 99)))

	p.Write("detect.yaml", harness.Service("detect", "- use: waf\n  config: {mode: detect}"+limits, port))
	p.Write("partial.yaml", harness.Service("partial", "- use: waf\n  config: {overLimit: partial, bodyLimit: 16384}"+limits, port))
	for _, name := range []string{"block", "detect", "partial"} {
		p.Eventually(name+" runs", func() bool { return p.Chain("Service/default/"+name).State == "Running" })
	}
	long := strings.Repeat("b", 100_000)
	tests := map[string]struct {
		request
		block, detect, partial int
	}{
		"SQL in the query":               {request{"GET", "?id=" + url.QueryEscape(sqli), "", ""}, 403, 200, 403},
		"SQL in a form":                  {request{"POST", "", formMedia, "id=" + url.QueryEscape(sqli)}, 403, 200, 403},
		"SQL in JSON":                    {request{"POST", "", jsonMedia, `{"order": {"id": "` + sqli + `"}}`}, 403, 200, 403},
		"a script in the query":          {request{"GET", "?q=" + url.QueryEscape(xss), "", ""}, 403, 200, 403},
		"a script in a form":             {request{"POST", "", formMedia, "q=" + url.QueryEscape(xss)}, 403, 200, 403},
		"a script in JSON":               {request{"POST", "", jsonMedia, `["` + xss + `"]`}, 403, 200, 403},
		"a script in the query, a body":  {request{"POST", "?q=" + url.QueryEscape(xss), formMedia, "a=" + long[:17_000] + "&b=" + long[:17_000]}, 403, 200, 403},
		"a page":                         {request{"GET", "/shoes?colour=red&page=2", "", ""}, 200, 200, 200},
		"a removal":                      {request{"DELETE", "/orders/17", "", ""}, 200, 200, 200},
		"a form":                         {request{"POST", "", formMedia, "name=lamp&city=K%C3%B6ln"}, 200, 200, 200},
		"a JSON body":                    {request{"PUT", "", jsonMedia, `{"items": [{"id": 17, "note": "please ring twice"}], "total": 12.5}`}, 200, 200, 200},
		"a form larger than a window":    {request{"POST", "", formMedia, "a=" + long[:17_000] + "&b=" + long[:17_000]}, 200, 200, 200},
		"a form over the limit":          {request{"POST", "", formMedia, "a=" + long}, 413, 200, 200},
		"SQL before the limit":           {request{"POST", "", formMedia, "id=" + url.QueryEscape(sqli) + "&a=" + long}, 413, 200, 403},
		"SQL behind the limit":           {request{"POST", "", formMedia, "a=" + long + "&id=" + url.QueryEscape(sqli)}, 413, 200, 200},
		"more values than are inspected": {request{"POST", "", formMedia, strings.Repeat("a=b&", 400)}, 413, 200, 413},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			for service, want := range map[string]int{"block": test.block, "detect": test.detect, "partial": test.partial} {
				if got := test.send(t, p.URL+"/"+service); got != want {
					t.Errorf("%s: got %d; want %d", service, got, want)
				}
			}
		})
	}
	p.Logged("rule 942100")
	if strings.Contains(p.Log(), "document.cookie") {
		t.Error("the log holds what a rule matched")
	}
	t.Run("responses", func(t *testing.T) { responses(t, p) })
	t.Run("cold", func(t *testing.T) { cold(t, p, port) })
	if strings.Contains(p.Log(), "filter failed") {
		t.Error("a refusal ended an instance")
	}
}

// responses: what tells of an error in the Service's SQL does not get out.
func responses(t *testing.T, p *harness.Proxy) {
	const leak = "You have an error in your SQL syntax; check the manual that corresponds to your MySQL server version"
	bodies := map[string]string{
		"/fine":       "<html>hello</html>",
		"/leak":       "<html>" + leak + "</html>",
		"/long":       strings.Repeat("<p>text</p>", 3000),
		"/long-leak":  strings.Repeat("<p>text</p>", 3000) + leak,
		"/over-limit": strings.Repeat("<p>text</p>", 20_000),
	}
	port := harness.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, bodies[strings.TrimPrefix(r.URL.Path, "/page")])
	})
	p.Write("page.yaml", harness.Service("page", "- use: waf\n  config: {inspectResponse: true}"+limits, port))
	p.Eventually("the waf runs", func() bool { return p.Chain("Service/default/page").State == "Running" })
	for path, want := range bodies {
		response, err := http.Get(p.URL + "/page" + path)
		if err != nil { // closed before its head
			response = &http.Response{Body: http.NoBody}
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		switch whole := err == nil && response.StatusCode == http.StatusOK && string(body) == want; {
		case strings.Contains(want, leak) && (whole || strings.Contains(string(body), leak)):
			t.Errorf("%s: the leak got out: %d, %d bytes", path, response.StatusCode, len(body))
		case !strings.Contains(want, leak) && !whole:
			t.Errorf("%s: got %d, %d bytes, %v; want all %d", path, response.StatusCode, len(body), err, len(want))
		}
	}
}

// cold: texts that make the automata of an instance that has just started work hard are
// refused, and do not end it.
func cold(t *testing.T, p *harness.Proxy, port int) {
	r := rand.New(rand.NewPCG(1, 2))
	random := func(alphabet string, size int) string {
		b := make([]byte, size)
		for i := range b {
			b[i] = alphabet[r.IntN(len(alphabet))]
		}
		return string(b)
	}
	const usual, marked = "abcdefghijklmnopqrstuvwxyz ", "abcdefghijklmnopqrstuvwxyz0123456789 ()<>;='$`{}[]|/.-:,@!?#~^_"
	bodies := map[string]struct {
		alphabet     string
		value, whole int // bytes
	}{
		"a little":         {marked, 1000, 8_000},
		"more":             {marked, 1000, 16_000},
		"much":             {marked, 1000, 60_000},
		"many values":      {marked, 240, 60_000},
		"letters":          {usual, 1000, 60_000},
		"more letters":     {usual, 500, 60_000},
		"other letters":    {usual, 1000, 50_000},
		"one value":        {marked, 60_000, 60_000},
		"few short values": {marked, 100, 4_000},
	}
	for _, name := range slices.Sorted(maps.Keys(bodies)) { // each text is the same in every run
		body := bodies[name]
		form, service := url.Values{}, "cold-"+strings.ReplaceAll(name, " ", "-")
		for n := range body.whole / body.value {
			form.Set(fmt.Sprint("a", n), random(body.alphabet, body.value))
		}
		// Another configuration is another instance.
		p.Write(service+".yaml", harness.Service(service, fmt.Sprintf("- use: waf\n  config: {excludeRules: [%d], bodyLimit: 131072}%s", 910_000+len(name)*100+int(name[0]), limits), port))
		p.Eventually(service+" runs", func() bool { return p.Chain("Service/default/"+service).State == "Running" })
		q, err := http.Post(p.URL+"/"+service, formMedia, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		q.Body.Close()
		if q.StatusCode != http.StatusForbidden && q.StatusCode != http.StatusRequestEntityTooLarge && (q.StatusCode != http.StatusOK || body.alphabet != usual) {
			t.Errorf("%s: got %d; want 403 or 413", name, q.StatusCode)
		}
		t.Log(name, q.StatusCode)
	}
}

// delays sends one request after the other until done says so, at most so long.
func delays(t *testing.T, target string, done func() bool, most time.Duration) []time.Duration {
	t.Helper()
	var all []time.Duration
	for begin := time.Now(); time.Since(begin) < most; {
		sent := time.Now()
		response, err := http.Get(target)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("got %d, %v; want 200", response.StatusCode, err)
		}
		response.Body.Close()
		all = append(all, time.Since(sent))
		if len(all)%100 == 0 && done() {
			break
		}
	}
	return all
}

func percentile(all []time.Duration, p int) time.Duration {
	slices.Sort(all)
	return all[min(len(all)*p/100, len(all)-1)]
}
