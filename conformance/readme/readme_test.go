package readme

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

const text = "# shop\n\n```yaml\npenstock.dev/plugins: x\n```\n\n```yaml\napiVersion: v1\nkind: Service\nmetadata:\n  annotations: {a: b}\n  name: shop\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: keys}\n```\n\n" +
	"```console\n$ curl -i -H 'X-A: it'\\''s' -H Accept: \\\n    'http://shop.example/a?b=c'\nHTTP/1.1 200 OK\nServer: shop/...\n...\n\nGET /a?b=c\nHost: shop.example\n...\nX-A: it's\n$ curl http://shop.example/ -d x=1\n...\nContent-Length: 3\n...\n\nx=1\n$ curl -I http://shop.example\nHTTP/1.1 200 OK\n...\n```\n"

func TestExample(t *testing.T) {
	e, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if got := e.Names("Service"); !slices.Equal(got, []string{"shop"}) {
		t.Errorf("Services %q", got)
	}
	if got := e.Names("Secret"); !slices.Equal(got, []string{"keys"}) {
		t.Errorf("Secrets %q", got)
	}
	want := "apiVersion: v1\nkind: Service\nmetadata:\n  namespace: a\n  annotations: {a: b}\n  name: shop\n---\napiVersion: v1\nkind: Secret\nmetadata: {namespace: a, name: keys}\n"
	if got := e.In("a"); got != want {
		t.Errorf("in a namespace: got\n%s", got)
	}
	s := httptest.NewServer(http.HandlerFunc(Shop))
	defer s.Close()
	if len(e.Steps) != 3 {
		t.Fatalf("%d steps", len(e.Steps))
	}
	for i := range e.Steps {
		if err := e.Steps[i].Run(t.Context(), http.DefaultClient, s.Listener.Addr().String()); err != nil {
			t.Error(err)
		}
	}
}

func TestWhatDiffers(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(Shop))
	defer s.Close()
	for want, says := range map[string]string{
		"-H User-Agent: http://a.example/\nGET /\nHost: a.example\n...User-Agent...": "got\nGET /\nHost: a.example\nAccept: */*\n",
		"-i http://a.example/\nHTTP/1.1 404 Not Found\n...":                          "200 OK",
		"-i http://a.example/\nHTTP/1.1 200 OK\nX-A: b\n...\n\n...":                  `"X-A: b" is missing`,
		"-i http://a.example/\nHTTP/1.1 200 OK\nServer: ...\n\n...":                  "more than is shown",
		"http://a.example/\nGET /b\n...":                                             "got\nGET /\n",
		"http://a.example/\nGET /\nHost: a.example":                                  "Accept",
		"-i http://a.example/\nHTTP/1.1 200 OK\n...\n\nGET /\nHo...e":                "got\nGET /\n",
	} {
		steps, err := console("$ curl " + want)
		if err != nil {
			t.Fatal(err)
		}
		if err := steps[0].Run(t.Context(), http.DefaultClient, s.Listener.Addr().String()); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v; want %q", want, err, says)
		}
	}
}

func TestWhatIsNotUnderstood(t *testing.T) {
	for _, line := range []string{"wget http://a.example/", "curl", "curl -k http://a.example/", "curl https://a.example/", "curl a.example", "curl -H", "curl -H x http://a.example/", "curl 'http://a.example/", "curl http://a.example/ | jq", "curl \"$A\" http://a.example/", "curl http://a.example/ http://b.example/"} {
		if steps, err := console("$ " + line); err == nil {
			t.Errorf("%s: %v", line, steps)
		}
	}
	for _, readme := range []string{"", "```yaml\nkind: Service\n```\n", "```console\n$ curl http://a.example/\n```\n", "```yaml\nkind: Service\n```\n```console\nfirst\n```\n"} {
		if e, err := Parse(readme); err == nil {
			t.Errorf("%q: %v", readme, e)
		}
	}
}
