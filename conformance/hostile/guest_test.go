package hostile

import (
	"net/http"
	"testing"

	"penstock.dev/penstock/conformance/harness"
)

// TestGuests: a guest's harm ends its own exchange with what onError says; the
// next exchange, the neighbour and the process go on, and memory comes back.
func TestGuests(t *testing.T) {
	layout := t.TempDir()
	harness.Pack(t, layout, "bad", harness.Guest(t, "guests/bad"))
	upstream := harness.Upstream(t, harness.Echo)
	tests := map[string]struct {
		reject int // status with onError: reject
		skip   int // with skip
	}{
		"spin":     {500, 200},
		"recurse":  {500, 200},
		"grow":     {500, 200},
		"trap":     {500, 200},
		"exit":     {500, 200},
		"pointers": {200, 200},
		"crlf":     {200, 200},
		"twice":    {403, 403},
	}
	files := map[string]string{"gateway.yaml": harness.GatewayFor(1), "good.yaml": harness.Service("good", "", upstream)}
	for harm := range tests {
		for _, onError := range []string{"reject", "skip"} {
			files[harm+onError+".yaml"] = harness.Service(harm+"-"+onError, "- image: test.example/plugins/bad:1\n  config: "+harm+"\n  onError: "+onError, upstream)
		}
	}
	for _, harm := range []string{"spin", "trap", "exit"} {
		files["start-"+harm+".yaml"] = harness.Service("start-"+harm, "- image: test.example/plugins/bad:1\n  config: start "+harm+"\n  limits: {cpuTimeStart: 100ms}", upstream)
	}
	p := harness.Start(t, harness.Options{Files: files, Images: []string{layout}})
	p.Eventually("all chains are settled", func() bool {
		for _, c := range p.Chains() {
			if c.State == "Pending" {
				return false
			}
		}
		return true
	})
	ask := func(service string, harm bool) int {
		t.Helper()
		r, err := http.NewRequest("GET", p.URL+"/"+service, nil)
		if err != nil {
			t.Fatal(err)
		}
		if harm {
			r.Header.Set("X-Harm", "1")
		}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.Header.Get("X-Got-X-Injected") != "" {
			t.Error("a header was injected")
		}
		return response.StatusCode
	}
	for harm, test := range tests {
		t.Run(harm, func(t *testing.T) {
			for onError, want := range map[string]int{"reject": test.reject, "skip": test.skip} {
				service := harm + "-" + onError
				if got := ask(service, true); got != want {
					t.Errorf("%s: got %d; want %d", onError, got, want)
				}
				if got := ask(service, false); got != 200 {
					t.Errorf("%s: the next exchange got %d; want 200", onError, got)
				}
			}
			if got := ask("good", false); got != 200 {
				t.Errorf("the neighbour answers %d", got)
			}
		})
	}
	for _, harm := range []string{"spin", "trap", "exit"} {
		t.Run("start "+harm, func(t *testing.T) {
			if got := ask("start-"+harm, false); got != 503 {
				t.Errorf("got %d; want 503", got)
			}
			if c := p.Chain("Service/default/start-" + harm); c.State != "Broken" || c.Reason != "InvalidModule" || c.Message == "" {
				t.Errorf("got %+v; want a reason", c)
			}
		})
	}
}
