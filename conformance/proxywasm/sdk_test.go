package proxywasm

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/harness"
	"penstock.dev/penstock/conformance/sdks"
)

// own packs a guest on an SDK of this repository.
func own(t *testing.T, s *sdks.SDK, layout, name string) {
	t.Helper()
	harness.Pack(t, layout, name, s.Guest(t, name))
}

// eachSDK runs a test for each SDK of this repository.
func eachSDK(t *testing.T, test func(t *testing.T, s *sdks.SDK)) {
	for _, s := range sdks.All {
		t.Run(s.Name, func(t *testing.T) { test(t, &s) })
	}
}

const guestLimits = "\n  limits: {cpuTime: 200ms, cpuTimeExchange: 1s}"

// judge answers like an authorisation service, with trailers; it holds what asks for
// "/" with the token held until release is closed.
func judge(release chan struct{}) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		question, err := io.ReadAll(r.Body)
		switch token := r.Header.Get("X-Token"); {
		case err != nil || string(question) != "is this one allowed?" || r.Host != "auth.example" || r.Trailer.Get("X-End") != "of the question":
			w.WriteHeader(http.StatusBadRequest)
		case token == "slow":
			<-r.Context().Done()
		case token == "held":
			<-release
			fallthrough
		case token == "good", token == "beat":
			w.Header().Set("X-User", "shop")
			_, _ = io.WriteString(w, "granted")
		default:
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, "unknown token")
		}
		w.Header().Set("X-Sum", "7a")
	}
}

// TestSDKCalls: HTTP calls, pauses, resets and the effective context of the SDKs.
func TestSDKCalls(t *testing.T) { eachSDK(t, testCalls) }

func testCalls(t *testing.T, s *sdks.SDK) {
	layout, release := t.TempDir(), make(chan struct{})
	own(t, s, layout, "calls")
	p := harness.Start(t, harness.Options{Images: []string{layout}, Files: map[string]string{
		"gateway.yaml": harness.GatewayFor(1), "plugin.yaml": strings.ReplaceAll(callers, "grpc", "calls") + "  egress: [{hostname: localhost}]\n",
		"auth.yaml":  harness.Service("auth", "", harness.Upstream(t, judge(release))),
		"calls.yaml": harness.Service("calls", "- use: calls\n  config: outbound|80||auth.default.svc.cluster.local"+guestLimits, harness.Upstream(t, harness.Echo)),
	}})
	p.Eventually("the plugin runs", func() bool { return p.Chain("Service/default/calls").State == "Running" })
	ask := func(what string) (*http.Response, string) {
		return do(t, "POST", p.URL+"/calls", "the body", http.Header{"X-Do": {what}})
	}
	answers := func(n string) bool {
		return strings.Contains(p.Metrics(), `name="answers",owner="Service/default/calls"} `+n+"\n")
	}

	for what, want := range map[string]struct {
		status int
		body   string
	}{
		"good": {200, "the body"}, "bad": {403, "unknown token"}, "slow": {502, "true 0 true true"}, "twice": {200, "the body"},
		"unknown": {400, "true true the proxy refused: bad argument"}, "never": {400, "the proxy refused: bad argument"},
		"tick": {200, "the body"}, "resume": {200, "the body"},
	} {
		r, body := ask(what)
		if r.StatusCode != want.status || strings.TrimSpace(body) != want.body {
			t.Errorf("%s: got %d, %q; want %d, %q", what, r.StatusCode, body, want.status, want.body)
		}
		user, answer, ticked := "", "", ""
		switch what {
		case "good", "twice":
			user, answer = "shop", "7a 7 ran"
		case "tick":
			ticked = "true"
		}
		for name, value := range map[string]string{"X-Got-X-User": user, "X-Got-X-Answer": answer, "X-Got-X-Ticked": ticked} {
			if got := r.Header.Get(name); got != value {
				t.Errorf("%s: %s: got %q; want %q", what, name, got, value)
			}
		}
	}
	p.Logged("the beat's answer: 200")
	p.Logged("function 0 found localhost")
	p.Eventually("four answers", func() bool { return answers("4") }) // good, bad, slow, and twice's second

	// What an exchange that has ended asked for is not answered.
	if r, body := ask("leave"); r.StatusCode != 200 || body != "the body" {
		t.Errorf("leave: got %d, %q", r.StatusCode, body)
	}
	ask("never") // on the same connection: the exchange before has ended for the proxy too
	close(release)
	for range 3 { // each waits for an answer of its own
		ask("good")
	}
	p.Eventually("seven answers", func() bool { return answers("7") })
	if r, body := ask("held"); r.StatusCode != 200 || body != "the body" {
		t.Errorf("an exchange that waits: got %d, %q", r.StatusCode, body)
	}
	p.Eventually("an eighth answer, to the one that waits", func() bool { return answers("8") })

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", p.URL+"/calls", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Do", "reset")
	if response, err := http.DefaultClient.Do(r); err == nil || ctx.Err() != nil {
		t.Errorf("reset: got %v, %v; want no response", response, err)
	}
}

// relay answers with the request's body and trailers, and with trailers of its own.
func relay(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for name, values := range r.Header {
		w.Header()["X-Got-"+name] = values
	}
	for name, values := range r.Trailer {
		w.Header()["X-Trailer-"+name] = values
	}
	w.Header().Set("X-Got-Path", r.URL.RequestURI())
	if r.Header.Get("X-Do") == "append" { // without trailers the body's last part says that it is
		_, _ = w.Write(body)
		return
	}
	w.Header().Set("Trailer", "X-Of-Upstream")
	_, _ = w.Write(body)
	w.Header().Set("X-Of-Upstream", "yes")
}

// TestSDKBodies: header lists, bodies and trailers of the SDKs.
func TestSDKBodies(t *testing.T) { eachSDK(t, testBodies) }

func testBodies(t *testing.T, s *sdks.SDK) {
	layout := t.TempDir()
	own(t, s, layout, "bodies")
	p := harness.Start(t, harness.Options{Images: []string{layout}, Files: map[string]string{
		"gateway.yaml": harness.GatewayFor(1),
		"bodies.yaml":  harness.Service("bodies", "- image: test.example/plugins/bodies:1"+guestLimits, harness.Upstream(t, relay)),
	}})
	p.Eventually("the plugin runs", func() bool { return p.Chain("Service/default/bodies").State == "Running" })
	// A message whose length is known, in HTTP/1.1, has no trailers.
	post := func(body string, header, trailer http.Header) (*http.Response, string) {
		t.Helper()
		r, err := http.NewRequest("POST", p.URL+"/bodies", io.MultiReader(strings.NewReader(body)))
		if err != nil {
			t.Fatal(err)
		}
		if r.Trailer = trailer; header != nil {
			r.Header = header
		}
		return send(t, r)
	}
	long := strings.Repeat("abcdefghij", 20_000)
	for what, want := range map[string][2]string{
		"upper": {long, strings.ToUpper(long)}, "append": {long, long + "(end)!"}, "prepend": {long, "(start)" + long}, "replace": {"abcdef", "a-def"},
		"range": {"abcdef", "cde,f,,"}, "whole": {long, "200000"}, "all": {"abc", "abc"}, "allocations": {"abc", "abc"}, "trailers": {"abc", "abc"},
	} {
		r, body := post(want[0], http.Header{"X-Do": {what}, "X-Long": {strings.Repeat("x", 100)}}, nil)
		if r.StatusCode != 200 || body != want[1] {
			t.Errorf("%s: got %d, %d bytes, %.50q; want %d bytes, %.50q", what, r.StatusCode, len(body), body, len(want[1]), want[1])
		}
		trailers := r.Trailer.Get("X-Of-Upstream") == "yes" && r.Trailer.Get("X-More") == "of them"
		if r.Header.Get("X-Parts") != "true" || trailers == (what == "append") {
			t.Errorf("%s: got %v, trailers %v", what, r.Header, r.Trailer)
		}
		fields := map[string]string{"X-Trailer-X-Added": "", "X-Got-X-Many": "", "X-Got-X-Allocations": "", "X-Got-Path": "/bodies"}
		switch what {
		case "trailers":
			fields["X-Trailer-X-Added"] = "by bodies"
		case "all":
			fields["X-Got-X-Many"], fields["X-Got-X-Size-Right"], fields["X-Got-Path"] = "1,2", "true", "/bodies/set"
		case "allocations":
			fields["X-Got-X-Allocations"] = s.Allocations
		}
		for name, value := range fields {
			if got := strings.Join(r.Header.Values(name), ","); got != value {
				t.Errorf("%s: %s: got %q; want %q", what, name, got, value)
			}
		}
	}

	r, _ := post("with trailers", nil, http.Header{"X-Sent": {"by the client"}})
	want(t, r.Header, "X-Trailer-X-Sent", "by the client, seen")
	want(t, r.Header, "X-Trailer-X-All", "1")

	for what, want := range map[string]string{"application/grpc": "", "text/plain": "not this one"} {
		response, body := do(t, "POST", p.URL+"/bodies", "", http.Header{"X-Do": {"grpc"}, "Content-Type": {what}, "Te": {"trailers"}})
		status := response.Header.Get("Grpc-Status")
		if response.StatusCode != 200 || response.Header.Get("X-Why") != "asked" || body != want || (status == "7") != (want == "") {
			t.Errorf("%s: got %d, %v, %q; want grpc-status 7", what, response.StatusCode, response.Header, body)
		}
	}
}

// TestSDKState: what the SDKs have beside a message.
func TestSDKState(t *testing.T) { eachSDK(t, testState) }

func testState(t *testing.T, s *sdks.SDK) {
	layout := t.TempDir()
	own(t, s, layout, "state")
	entry := func(config string) string {
		return "- image: test.example/plugins/state:1\n  config: " + config + guestLimits
	}
	port := harness.Upstream(t, harness.Echo)
	p := harness.Start(t, harness.Options{Images: []string{layout}, Files: map[string]string{
		"gateway.yaml": harness.GatewayFor(1),
		"state.yaml":   harness.Service("state", entry(`{limits: [{name: a, most: 3}]}`), port),
		"wrong.yaml":   harness.Service("wrong", entry(`{limits: [{name: a}, {name: b, mots: 3}]}`), port),
	}})
	p.Eventually("the plugin runs", func() bool { return p.Chain("Service/default/state").State == "Running" })
	p.Logged("config.limits[1].mots: unknown field")
	p.Eventually("the other one is refused", func() bool { return p.Chain("Service/default/wrong").Reason == "InvalidConfig" })
	for i, path := range []string{"/state/a", "/state/b"} {
		r, _ := do(t, "GET", p.URL+path, "", nil)
		for name, value := range map[string]string{
			"X-Got-X-Total": []string{"1", "2"}[i], "X-Got-X-Cas": "true true b", "X-Got-X-Vm": "started 0", "X-Got-X-Greeting": "good day 1",
			"X-Got-X-Properties": "GET true true false true false false", "X-Got-X-Metrics": "true 7", "X-Got-X-Time": "true true", "X-Mark": "of " + path,
		} {
			want(t, r.Header, name, value)
		}
	}
	p.Eventually("the queue's last path", func() bool {
		r, _ := do(t, "GET", p.URL+"/state/here", "", nil)
		return r.Header.Get("X-Last") == "/state/here"
	})
	text := p.Metrics()
	for _, line := range []string{`penstock_guest_gauge{filter="service/state",name="level",owner="Service/default/state"} 7`, `penstock_guest_counter{filter="service/state",name="requests_seen"`, `penstock_guest_histogram_count{filter="service/state",name="path_bytes"`} {
		if !strings.Contains(text, line) {
			t.Errorf("not in the metrics: %s", line)
		}
	}
	p.Logged("an info line")
	p.Logged("logged 200 true")
	if strings.Contains(p.Log(), "debug is on") {
		t.Error("debug is on")
	}
	p.Write("state.yaml", harness.Service("state", "", port))
	p.Logged("the plugin has finished")
}
