package filter

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/telemetry"
)

// other makes second another version of first, and counts what becomes of it.
type other struct {
	*bed
	canary  *Canary
	results []CanaryResult
	traces  []string // of the canary
	places  int
	failed  int
}

func newOther(shadow bool, weight int, first, second *script) *other {
	o := &other{bed: newBed(config.Reject, first)}
	second.trace = &o.traces
	o.canary = &Canary{
		Entry: Entry{Filter: second, ID: "service/b:canary", BodyBytes: 8, Failures: telemetry.New().Counters("penstock_test_failures_total", "test", "name").With("c"),
			Failed: func(*Error) { o.failed++ }},
		WeightPercent: weight, Shadow: shadow,
		Ready:   func() bool { return true },
		Count:   func(r CanaryResult) { o.results = append(o.results, r) },
		Reserve: func() bool { o.places++; return true },
		Replay: func(f func()) {
			if o.places--; f != nil {
				f()
			}
		},
	}
	o.chain.entries[0].Canary = o.canary
	o.chain = New(o.chain.entries)
	return o
}

// exchange runs a whole exchange with these bodies, and returns the bodies as
// they came through.
func (o *other) exchange(t *testing.T, request, response string) (sent, answered string, out Outcome) {
	t.Helper()
	q, p := &o.x.Request, &o.x.Response
	q.Method, q.Path = []byte("POST"), []byte("/x")
	q.Header.Reset()
	q.Header.Add([]byte("a"), []byte("1"))
	q.Body, q.ContentLength = nil, 0
	if request != "" {
		q.Body, q.ContentLength = &slowBody{parts: strings.Split(request, ",")}, -1
	}
	read := func(b exchange.Body) string {
		if b == nil {
			return ""
		}
		text, err := io.ReadAll(b)
		if err != nil && !errors.Is(err, errAnswered) {
			t.Logf("body: %v", err)
		}
		return string(text)
	}
	out = o.run.Request(o.chain, []byte("/x"))
	if out == Passed {
		out = o.run.RequestBody()
	}
	if out == Passed {
		sent = read(q.Body)
		p.Status, p.Body = 200, nil
		if response != "" {
			p.Body, p.ContentLength = &slowBody{parts: strings.Split(response, ",")}, -1
		}
	}
	if out == Passed || out == Answered {
		if out := o.run.Response(); out == Passed {
			o.run.ResponseBody()
		}
		answered = read(p.Body)
	}
	o.run.Done()
	o.run.Start(o.x)
	return sent, answered, out
}

func respond(status int) func(*call) (Verdict, error) {
	return func(c *call) (Verdict, error) {
		c.x.Local.Header.Reset()
		c.x.Local.Status, c.x.Local.Body = status, nil
		return Respond, nil
	}
}

func trap(*call) (Verdict, error) { return Continue, &Error{Cause: "trap", Err: errors.New("trap")} }

func TestALiveCanaryRunsItsShare(t *testing.T) {
	const n = 2000
	o := newOther(false, 25, &script{name: "b"}, &script{name: "c", onReq: respond(403)})
	answered := 0
	for range n {
		if _, _, out := o.exchange(t, "", ""); out == Answered {
			answered++
		}
	}
	if answered < n/5 || answered > 3*n/10 || len(o.results) != answered {
		t.Errorf("%d of %d exchanges ran the canary, %d counted; want about a quarter", answered, n, len(o.results))
	}
	for _, ready := range []bool{true, false} {
		o.canary.WeightPercent = 0
		if !ready {
			o.canary.WeightPercent, o.canary.Ready = 100, func() bool { return false }
		}
		for range 200 {
			if _, _, out := o.exchange(t, "", ""); out != Passed {
				t.Fatalf("ready %v, weight %d: it ran", ready, o.canary.WeightPercent)
			}
		}
	}
}

func TestALiveCanarysFailureIsItsOwn(t *testing.T) {
	o := newOther(false, 100, &script{name: "b"}, &script{name: "c", onReq: trap})
	own := 0
	o.chain.entries[0].Failed = func(*Error) { own++ }
	if _, _, out := o.exchange(t, "", ""); out != Failed {
		t.Errorf("got %d; want the failure to end the exchange", out)
	}
	if own != 0 || o.failed != 1 || len(o.results) != 2 || o.results[1] != CanaryFailed {
		t.Errorf("the filter has %d failures, its canary %d, results %v", own, o.failed, o.results)
	}
}

func TestAShadowIsCompared(t *testing.T) {
	var seen bytes.Buffer
	body := func(status int) func(*call, *Buffer, bool) (Verdict, error) {
		return func(c *call, b *Buffer, end bool) (Verdict, error) {
			if !end {
				return Pause, nil
			}
			seen.Write(b.Data)
			if status == 0 {
				return Continue, nil
			}
			return respond(status)(c)
		}
	}
	pass := func(*call, *Buffer, bool) (Verdict, error) { return Continue, nil }
	tests := map[string]struct {
		first, second     script
		request, response string
		want              CanaryResult
		seen              string
	}{
		"both go on":                          {script{}, script{}, "", "", CanaryAgrees, ""},
		"both go on, with bodies":             {script{}, script{}, "ab,c", "de", CanaryAgrees, ""},
		"both deny":                           {script{onReq: respond(403)}, script{onReq: respond(403)}, "", "", CanaryAgrees, ""},
		"another status":                      {script{onReq: respond(403)}, script{onReq: respond(401)}, "", "", CanaryDiffers, ""},
		"only the shadow denies":              {script{}, script{onReq: respond(403)}, "", "", CanaryDiffers, ""},
		"only the filter denies":              {script{onReq: respond(403)}, script{}, "", "", CanaryDiffers, ""},
		"the shadow traps":                    {script{}, script{onReq: trap}, "", "", CanaryFailed, ""},
		"both trap":                           {script{onReq: trap}, script{onReq: trap}, "", "", CanaryFailed, ""},
		"only the filter traps":               {script{onReq: trap}, script{}, "", "", CanaryDiffers, ""},
		"there is no instance":                {script{}, script{beginErr: &Error{Cause: "unavailable", Err: io.EOF}}, "", "", CanaryFailed, ""},
		"the response is denied":              {script{onResp: respond(502)}, script{onResp: respond(502)}, "", "de", CanaryAgrees, ""},
		"the shadow denies the response":      {script{}, script{onResp: respond(502)}, "", "de", CanaryDiffers, ""},
		"the shadow traps on the response":    {script{}, script{onResp: trap}, "", "", CanaryFailed, ""},
		"a body that only the shadow reads":   {script{}, script{onBody: body(0)}, "ab,c", "", CanaryAgrees, "abc"},
		"a body that both read":               {script{onBody: pass}, script{onBody: body(0)}, "ab,c", "", CanaryAgrees, "abc"},
		"a body that the shadow denies":       {script{}, script{onBody: body(403)}, "ab,c", "", CanaryDiffers, "abc"},
		"a response's body":                   {script{}, script{onRBody: body(0)}, "", "de,f", CanaryAgrees, "def"},
		"a response's body that it denies":    {script{onRBody: pass}, script{onRBody: body(500)}, "", "de,f", CanaryDiffers, "def"},
		"a body over its limit":               {script{}, script{onBody: body(0)}, "abcdefgh,i", "", CanarySkipped, ""},
		"a body over its limit, denied early": {script{}, script{onReq: respond(403), onBody: body(0)}, "abcdefgh,i", "", CanaryDiffers, ""},
		"a body that nobody has read":         {script{onReq: respond(403)}, script{onBody: body(403)}, "abc", "", CanarySkipped, ""},
		"a shadow that never goes on":         {script{}, script{onReq: func(*call) (Verdict, error) { return Pause, nil }}, "", "", CanarySkipped, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			seen.Reset()
			run := func(t *testing.T) {
				first, second := test.first, test.second
				first.name, second.name = "b", "c"
				alone := newBed(config.Reject, &first)
				bare := &other{bed: alone}
				wantSent, wantAnswered, wantOut := bare.exchange(t, test.request, test.response)
				seen.Reset()
				o := newOther(true, 100, &first, &second)
				sent, answered, out := o.exchange(t, test.request, test.response)
				if sent != wantSent || answered != wantAnswered || out != wantOut {
					t.Errorf("got %q %q %d; want %q %q %d as without the shadow", sent, answered, out, wantSent, wantAnswered, wantOut)
				}
				if len(o.results) != 1 || o.results[0] != test.want || seen.String() != test.seen {
					t.Errorf("got %v, it saw %q; want %d, %q", o.results, seen.String(), test.want, test.seen)
				}
				if o.places != 0 {
					t.Errorf("%d places are not given back", o.places)
				}
			}
			synctest.Test(t, run)
		})
	}
}

// TestAShadowChangesNothing: what it does to its copy stays there, and neither
// the body's length nor what passes is another.
func TestAShadowChangesNothing(t *testing.T) {
	second := &script{name: "c", onReq: func(c *call) (Verdict, error) {
		f := c.x.Request.Header.At(0)
		f.Value[0] = 'X'
		c.x.Request.Header.Add([]byte("b"), []byte("2"))
		c.x.Request.Path = []byte("/other")
		c.x.Consumer.Name = "eve"
		return Continue, nil
	}, onBody: func(_ *call, b *Buffer, _ bool) (Verdict, error) {
		for i := range b.Data {
			b.Data[i] = 'X'
		}
		return Continue, nil
	}}
	o := newOther(true, 100, &script{name: "b"}, second)
	o.x.Request.Header.Add([]byte("a"), []byte("1"))
	o.x.Request.Path = []byte("/x")
	o.x.Request.Body, o.x.Request.ContentLength = &slowBody{parts: []string{"ab", "c"}}, 3
	if out := o.run.Request(o.chain, []byte("/x")); out != Passed {
		t.Fatal(out)
	}
	if out := o.run.RequestBody(); out != Passed || o.x.Request.ContentLength != 3 {
		t.Fatalf("got %d, length %d; want 3 as it came", out, o.x.Request.ContentLength)
	}
	text, err := io.ReadAll(o.x.Request.Body)
	o.run.Done()
	if err != nil || string(text) != "abc" || o.x.Request.Header.Len() != 1 || string(o.x.Request.Header.At(0).Value) != "1" || string(o.x.Request.Path) != "/x" || o.x.Consumer.Name != "" {
		t.Errorf("got %q, %v, %v %s %s", text, err, o.x.Request.Header.Fields(), o.x.Request.Path, o.x.Consumer.Name)
	}
	if len(o.results) != 1 || o.results[0] != CanaryAgrees {
		t.Errorf("got %v", o.results)
	}
}

func TestTooManyCopiesAreSkipped(t *testing.T) {
	o := newOther(true, 100, &script{name: "b"}, &script{name: "c"})
	o.canary.Reserve = func() bool { return false }
	o.exchange(t, "", "")
	if len(o.results) != 1 || o.results[0] != CanarySkipped || len(o.traces) != 0 {
		t.Errorf("got %v, %v", o.results, o.traces)
	}
}

// TestAShadowBesideAFilterThatTakesBodies: whoever reads the body, the shadow
// gets what the filter at its place got.
func TestAShadowBesideAFilterThatTakesBodies(t *testing.T) {
	for name, read := range map[string]int{"the filter reads it": 100, "the filter leaves it alone": 0, "the filter reads a part": 2} {
		t.Run(name, func(t *testing.T) {
			seen := ""
			k := &taker{script: script{name: "k"}, read: read}
			o := newOther(true, 100, k.entry(), &script{name: "c", onBody: func(_ *call, b *Buffer, end bool) (Verdict, error) {
				seen += string(b.Data)
				return Continue, nil
			}})
			k.trace = &o.trace
			before := &script{name: "a", onBody: upper, trace: &o.trace}
			entries := []Entry{{Filter: before, ID: "service/a", BodyBytes: 64 << 10, Failures: o.chain.entries[0].Failures}, o.chain.entries[0]}
			entries[1].Filter = k
			o.chain = New(entries)
			sent, _, out := o.exchange(t, "ab,c", "z")
			if want := map[int]string{100: "", 0: "ABC", 2: "C"}[read]; out != Passed || sent != want {
				t.Errorf("got %q, %d; want %q", sent, out, want)
			}
			if seen != "ABC" || len(o.results) != 1 || o.results[0] != CanaryAgrees {
				t.Errorf("it saw %q, %v; want ABC", seen, o.results)
			}
			// And a shadow that takes bodies itself.
			taking := &taker{script: script{name: "c"}, read: 100}
			o = newOther(true, 100, &script{name: "b"}, taking.entry())
			taking.trace = &o.traces
			o.canary.Entry.Filter = taking
			o.chain = New(o.chain.entries)
			if sent, _, _ := o.exchange(t, "ab,c", "z"); sent != "abc" {
				t.Errorf("got %q", sent)
			}
			if len(o.traces) == 0 || o.traces[0] != "c took abc" || o.results[0] != CanaryAgrees {
				t.Errorf("got %v, %v", o.traces, o.results)
			}
		})
	}
}
