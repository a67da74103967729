package main

import (
	"fmt"
	"io/fs"
	"net/url"
	"strings"
	"testing"

	coreruleset "github.com/corazawaf/coraza-coreruleset/v4"
)

// compiled is a test's firewall and what it reports.
type compiled struct {
	*firewall
	lines []string
}

func compile(t *testing.T, text string) *compiled {
	t.Helper()
	c := &compiled{}
	parsed, err := parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if c.firewall, err = newFirewall(parsed, func(line string) { c.lines = append(c.lines, line) }); err != nil {
		t.Fatal(err)
	}
	return c
}

// ask runs one exchange; body comes in two parts.
func (c *compiled) ask(t *testing.T, method, path, media, body string) verdict {
	t.Helper()
	i := c.newInspection()
	defer func() {
		if err := i.done(); err != nil {
			t.Error(err)
		}
	}()
	header := [][2]string{{":method", method}, {":path", path}, {":authority", "shop.example:8080"}, {":scheme", "http"}, {"user-agent", "test"}, {"accept", "*/*"}}
	if body != "" {
		header = append(header, [2]string{"content-type", media}, [2]string{"content-length", fmt.Sprint(len(body))})
	}
	if v := i.requestHeaders("192.0.2.1:4000", "192.0.2.2:8080", "HTTP/1.1", header, body == ""); v != pass || body == "" {
		return v
	}
	get := func(start, size int) ([]byte, error) { return []byte(body[start : start+size]), nil }
	if half := len(body) / 2; half > 0 {
		if v, done := i.requestBody(half, false, get); v != pass || done {
			return v
		}
	}
	v, done := i.requestBody(len(body), true, get)
	if !done {
		t.Error("the end of the body decides nothing")
	}
	return v
}

const (
	form       = "application/x-www-form-urlencoded"
	jsonMedia  = "application/json; charset=utf-8"
	sqli       = "1' OR '1'='1' UNION SELECT password FROM users--"
	xss        = "<script>alert(document.cookie)</script>"
	longFiller = 200_000
)

func TestDefaults(t *testing.T) {
	c := compile(t, "")
	tests := map[string]struct {
		method, path, media, body string
		want                      verdict
	}{
		"a page":                         {"GET", "/a/b.html?page=2&q=red+shoes", "", "", pass},
		"a form":                         {"POST", "/login", form, "name=till&city=K%C3%B6ln", pass},
		"a JSON body":                    {"POST", "/orders", jsonMedia, `{"items":[{"id":17,"note":"please ring twice"}],"total":12.5}`, pass},
		"a body of another JSON type":    {"PUT", "/orders/1", "application/json", `[1,2,3]`, pass},
		"a removal":                      {"DELETE", "/orders/1", "", "", pass},
		"an unknown method":              {"TRACE", "/", "", "", denied},
		"SQL in the query":               {"GET", "/?id=" + url.QueryEscape(sqli), "", "", denied},
		"SQL in the query, body follows": {"POST", "/?id=" + url.QueryEscape(sqli), form, "a=b", denied},
		"SQL in a form":                  {"POST", "/", form, "id=" + url.QueryEscape(sqli), denied},
		"SQL in JSON":                    {"POST", "/", jsonMedia, `{"a":{"id":"` + sqli + `"}}`, denied},
		"script in the query":            {"GET", "/?q=" + url.QueryEscape(xss), "", "", denied},
		"script in a form":               {"POST", "/", form, "q=" + url.QueryEscape(xss), denied},
		"script in JSON":                 {"POST", "/", jsonMedia, `["` + xss + `"]`, denied},
		"script in a multipart form":     {"POST", "/", "multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n" + xss + "\r\n--x--\r\n", denied},
		"a path out of the root":         {"GET", "/files?name=../../../../etc/passwd", "", "", denied},
		"no JSON at all":                 {"POST", "/", jsonMedia, `{"a":`, 400},
		"an unknown type":                {"POST", "/", "application/x-unheard-of", "abc", denied},
		"many values":                    {"POST", "/", jsonMedia, "[" + strings.Repeat(`"ab",`, 240) + "1]", pass},
		"too many values":                {"POST", "/", jsonMedia, "[" + strings.Repeat(`"ab",`, 400) + "1]", tooLong},
		"too many parts":                 {"POST", "/", "multipart/form-data; boundary=x", strings.Repeat("--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nvalue\r\n", 400) + "--x--\r\n", tooLong},
		"too many parameters":            {"GET", "/?" + strings.Repeat("a=b&", 400), "", "", tooLong},
		"too much text for the rules":    {"POST", "/", form, "a=" + strings.Repeat(url.QueryEscape("b (/<;'$=.`"), 2_500), tooLong},
		"a file":                         {"POST", "/", "multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.txt\"\r\n\r\n" + strings.Repeat("file ", 12_000) + "\r\n--x--\r\n", pass},
		"a body over the limit":          {"POST", "/", form, "a=" + strings.Repeat("b", longFiller), tooLong},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := c.ask(t, test.method, test.path, test.media, test.body); got != test.want {
				t.Errorf("got %d; want %d\n%s", got, test.want, strings.Join(c.lines, "\n"))
			}
		})
	}
	if len(c.lines) == 0 {
		t.Error("nothing was reported")
	}
	for _, line := range c.lines {
		if strings.Contains(line, "password") || strings.Contains(line, "document.cookie") {
			t.Errorf("the report holds a part of the request: %s", line)
		}
	}
}

func TestChosen(t *testing.T) {
	c := compile(t, `{"overLimit":"partial","bodyLimit":4096,"excludeRules":[942100],"inspectResponse":true,
		"rules":"SecRule REQUEST_HEADERS:User-Agent \"@streq bot\" \"id:10,phase:1,deny,status:429,msg:'no bots'\"\nSecRule REQUEST_FILENAME \"@beginsWith /search\" \"id:11,phase:1,pass,nolog,ctl:ruleRemoveTargetByTag=attack-xss;ARGS:q\"",
		"rulesAfter":"SecRule ARGS:colour \"@streq blue\" \"id:12,phase:2,deny,msg:'no blue'\""}`)
	cut := strings.Repeat("b", longFiller)
	tests := map[string]struct {
		path, media, body string
		want              verdict
	}{
		"a rule behind the Core Rule Set":      {"/?colour=blue", "", "", denied},
		"a target that a rule excludes":        {"/search?q=" + url.QueryEscape("<b onclick=x>"), "", "", pass},
		"the same elsewhere":                   {"/other?q=" + url.QueryEscape("<b onclick=x>"), "", "", denied},
		"a form over the limit":                {"/", form, "a=" + cut, pass},
		"a form over the limit with SQL":       {"/", form, "q=" + url.QueryEscape(sqli) + "&a=" + cut, denied},
		"SQL behind the limit":                 {"/", form, "a=" + cut + "&q=" + url.QueryEscape(sqli), pass},
		"JSON over the limit":                  {"/", jsonMedia, `{"a":"b","c":"` + cut + `"}`, pass},
		"JSON over the limit with script":      {"/", jsonMedia, `{"a":"` + xss + `","c":"` + cut + `"}`, denied},
		"JSON over the limit, script cut":      {"/", jsonMedia, `{"c":"` + xss + cut + `"}`, denied},
		"other types over the limit":           {"/", "multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n" + cut + "\r\n--x--\r\n", pass},
		"other types over it with script":      {"/", "multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n" + xss + cut + "\r\n--x--\r\n", denied},
		"a body just as long as the limit":     {"/", form, "a=" + cut[:4094], pass},
		"the same, with SQL in its last bytes": {"/", form, "a=" + cut[:4000] + "&q=" + url.QueryEscape("1' UNION SELECT a FROM b--"), denied},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			method := "GET"
			if test.body != "" {
				method = "POST"
			}
			if got := c.ask(t, method, test.path, test.media, test.body); got != test.want {
				t.Errorf("got %d; want %d\n%s", got, test.want, strings.Join(c.lines, "\n"))
			}
		})
	}
	t.Run("a rule before the Core Rule Set, and its status", func(t *testing.T) {
		i := c.newInspection()
		defer i.done()
		header := [][2]string{{":method", "GET"}, {":path", "/"}, {":authority", "shop.example"}, {"user-agent", "bot"}}
		if got := i.requestHeaders("", "", "HTTP/1.1", header, true); got != 429 {
			t.Errorf("got %d; want 429", got)
		}
	})
	for name, test := range map[string]struct {
		body string
		want verdict
	}{
		"an ordinary page":                {"<html><body>hello</body></html>", pass},
		"a page with an error of the SQL": {"<html>You have an error in your SQL syntax; check the manual that corresponds to your MySQL server version</html>", denied},
	} {
		t.Run(name, func(t *testing.T) {
			i := c.newInspection()
			defer i.done()
			header := [][2]string{{":method", "GET"}, {":path", "/"}, {":authority", "shop.example"}, {"user-agent", "test"}, {"accept", "*/*"}}
			if got := i.requestHeaders("192.0.2.1:1", "192.0.2.2:1", "HTTP/1.1", header, true); got != pass {
				t.Fatalf("got %d", got)
			}
			v := i.responseHeaders(200, "HTTP/1.1", [][2]string{{":status", "200"}, {"content-type", "text/html"}}, false)
			if v == pass {
				v, _ = i.responseBody(len(test.body), true, func(start, size int) ([]byte, error) { return []byte(test.body[start : start+size]), nil })
			}
			if v != test.want {
				t.Errorf("got %d; want %d\n%s", v, test.want, strings.Join(c.lines, "\n"))
			}
		})
	}
}

func TestDetect(t *testing.T) {
	c := compile(t, `{"mode":"detect","bodyLimit":1024,"rulesAfter":"SecRuleEngine On"}`)
	for _, body := range []string{"", "q=" + url.QueryEscape(xss), "a=" + strings.Repeat("b", longFiller)} {
		if got := c.ask(t, "POST", "/?id="+url.QueryEscape(sqli), form, body); got != pass {
			t.Errorf("got %d; want it to pass", got)
		}
	}
	if all := strings.Join(c.lines, "\n"); !strings.Contains(all, "rule 942100") || !strings.Contains(all, "rule 941100") {
		t.Errorf("not reported: %s", all)
	}
}

// TestFraming: what the proxy has taken out of a head is known from what is left.
func TestFraming(t *testing.T) {
	tests := map[string]struct {
		protocol  string
		authority string
		header    [][2]string
		end       bool
		want      string // the rule, of those about framing; empty: none
	}{
		"a body without a length": {"HTTP/1.1", "shop.example", nil, false, ""},
		"the same in HTTP/2":      {"HTTP/2", "shop.example", nil, false, ""},
		"a length":                {"HTTP/1.1", "shop.example", [][2]string{{"content-length", "0"}}, true, ""},
		"neither":                 {"HTTP/1.1", "shop.example", nil, true, "rule 920180"},
		"no Host in HTTP/1.0":     {"HTTP/1.0", "", [][2]string{{"content-length", "0"}}, true, "rule 920280"},
		"an empty Host in HTTP/1.1, which it may have": {"HTTP/1.1", "", [][2]string{{"content-length", "0"}}, true, "rule 920290"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := compile(t, `{"mode":"detect"}`)
			i := c.newInspection()
			header := [][2]string{{":method", "POST"}, {":path", "/"}, {":authority", test.authority}, {":scheme", "http"}, {"user-agent", "test"}, {"accept", "*/*"}}
			i.requestHeaders("192.0.2.1:4000", "192.0.2.2:80", test.protocol, append(header, test.header...), test.end)
			if err := i.done(); err != nil {
				t.Fatal(err)
			}
			all := strings.Join(c.lines, "\n")
			for _, rule := range []string{"rule 920180", "rule 920280", "rule 920290"} {
				if got := strings.Contains(all, rule); got != (rule == test.want) {
					t.Errorf("%s matched: %t\n%s", rule, got, all)
				}
			}
		})
	}
}

// TestDefaultAction: rules of a response are logged, whatever an own text says of it.
func TestDefaultAction(t *testing.T) {
	for _, rules := range []string{"", `SecDefaultAction \"phase:4,log,pass\"`} {
		c := compile(t, `{"inspectResponse":true,"rules":"`+rules+`"}`)
		i := c.newInspection()
		i.requestHeaders("192.0.2.1:4000", "192.0.2.2:80", "HTTP/1.1", [][2]string{{":method", "GET"}, {":path", "/"}, {":authority", "shop.example"}, {"user-agent", "test"}, {"accept", "*/*"}}, true)
		i.responseHeaders(200, "HTTP/1.1", [][2]string{{":status", "200"}, {"content-type", "text/html"}}, false)
		const leak = "<html>Dynamic SQL Error"
		i.responseBody(len(leak), true, func(int, int) ([]byte, error) { return []byte(leak), nil })
		if err := i.done(); err != nil {
			t.Fatal(err)
		}
		if all := strings.Join(c.lines, "\n"); !strings.Contains(all, "rule 951150 ") {
			t.Errorf("%q: got %q; want rule 951150", rules, all)
		}
	}
}

func TestBadRules(t *testing.T) {
	c, err := parse([]byte(`{"rules":"SecNonsense on"}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newFirewall(c, func(string) {}); err == nil || !strings.Contains(strings.ToLower(err.Error()), "secnonsense") {
		t.Errorf("got %v; want the directive named", err)
	}
}

// TestQuietRules: no rule file is cut but by those texts, and nearly all of them are gone.
func TestQuietRules(t *testing.T) {
	names, err := fs.Glob(coreruleset.FS, "@owasp_crs/*.conf")
	if err != nil {
		t.Fatal(err)
	}
	left, rules := 0, 0
	for _, name := range names {
		whole, err := fs.ReadFile(coreruleset.FS, name)
		if err != nil {
			t.Fatal(err)
		}
		quiet, err := coreRules{FS: coreruleset.FS}.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range []string{"SecRule ", "SecAction", "id:", "msg:", "setvar:", "chain"} {
			if a, b := strings.Count(string(whole), word), strings.Count(string(quiet), word); a != b {
				t.Errorf("%s: %d times %q; want %d", name, b, word, a)
			}
		}
		left, rules = left+strings.Count(string(quiet), "logdata:"), rules+strings.Count(string(whole), "logdata:")
	}
	if rules < 200 || left > 20 {
		t.Errorf("%d of %d are left", left, rules)
	}
}
