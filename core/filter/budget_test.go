package filter

import (
	"errors"
	"io"
	"testing"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/telemetry"
)

func (b *Budget) left(t *testing.T) {
	t.Helper()
	if b.held != 0 || len(b.by) != 0 {
		t.Errorf("%d bytes are still counted, by namespace %v", b.held, b.by)
	}
}

// holding pauses until the end.
func holding(_ *call, _ *Buffer, end bool) (Verdict, error) {
	if end {
		return Continue, nil
	}
	return Pause, nil
}

func TestWhatFiltersHoldBackIsCounted(t *testing.T) {
	tests := map[string]struct {
		bytes    int64
		tenant   string
		service  string
		elses    int64 // what others hold, of tenant other
		response bool
		want     int // status; 0: it goes on
	}{
		"there is room":                          {100, "ns", "", 0, false, 0},
		"more than a namespace's share":          {36, "ns", "", 0, false, 503},
		"more than is left of all":               {100, "ns", "", 92, false, 503},
		"a policy's filter holds for the asked":  {36, "", "ns/svc", 0, false, 503},
		"before a Service is known all is there": {36, "", "", 0, false, 0},
		"of a response":                          {36, "ns", "", 0, true, 503},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			budget := NewBudget(test.bytes, telemetry.New())
			budget.held += test.elses
			s := &script{name: "a", onBody: holding}
			if test.response {
				s = &script{name: "a", onRBody: holding}
			}
			b := newBed(config.Reject, s)
			b.chain.entries[0].Bodies, b.chain.entries[0].Tenant = budget, test.tenant
			b.x.Service = test.service
			body := &slowBody{parts: []string{"abcde", "fghij", "k"}}
			var at *exchange.Body
			if b.x.Request.ContentLength = 0; !test.response {
				b.x.Request.Body, b.x.Request.ContentLength = body, -1
				at = &b.x.Request.Body
			}
			if b.run.Request(b.chain, []byte("/")) != Passed || b.run.RequestBody() != Passed {
				t.Fatal(b.run.Err())
			}
			if test.response {
				b.x.Response.Body, b.x.Response.ContentLength = body, -1
				at = &b.x.Response.Body
				if b.run.Response() != Passed || b.run.ResponseBody() != Passed {
					t.Fatal(b.run.Err())
				}
			}
			text, err := io.ReadAll(*at)
			if test.want == 0 {
				if string(text) != "abcdefghijk" || err != nil {
					t.Errorf("got %q, %v", text, err)
				}
				if budget.held != test.elses {
					t.Errorf("%d bytes are counted after they went on", budget.held)
				}
			} else if e := b.run.Err(); e == nil || e.Status != test.want || e.Reason != "body-budget" || !errors.Is(e, ErrBodyBudget) {
				t.Errorf("got %q, %v; want %d", text, e, test.want)
			}
			b.run.Done()
			budget.held -= test.elses
			budget.left(t)
		})
	}
}

// TestABudgetIsShared: what one exchange holds is not there for another of its
// namespace, and is again once that has ended, however it ends.
func TestABudgetIsShared(t *testing.T) {
	budget := NewBudget(40, telemetry.New())
	read := func(tenant string) (*bed, []byte, error) {
		b := newBed(config.Reject, &script{name: "a", onBody: func(*call, *Buffer, bool) (Verdict, error) { return Pause, nil }})
		b.chain.entries[0].Bodies, b.chain.entries[0].Tenant = budget, tenant
		b.x.Request.Body, b.x.Request.ContentLength = &failing{slowBody{parts: []string{"abcdefgh"}}}, -1
		if b.run.Request(b.chain, []byte("/")) != Passed || b.run.RequestBody() != Passed {
			t.Fatal(b.run.Err())
		}
		text, err := io.ReadAll(b.x.Request.Body)
		return b, text, err
	}
	first, _, err := read("ns")
	if !errors.Is(err, errBroken) || budget.held != 8 {
		t.Fatalf("got %v, %d held", err, budget.held)
	}
	second, _, err := read("ns")
	if !errors.Is(second.run.Err(), ErrBodyBudget) {
		t.Errorf("got %v; want ErrBodyBudget", err)
	}
	second.run.Done()
	other, _, err := read("other")
	if !errors.Is(err, errBroken) {
		t.Errorf("another namespace: got %v", err)
	}
	first.run.Done()
	again, _, err := read("ns")
	if !errors.Is(err, errBroken) {
		t.Errorf("after the first has ended: got %v", err)
	}
	again.run.Done()
	other.run.Done()
	budget.left(t)
}

var errBroken = errors.New("broken")

// failing breaks after its parts.
type failing struct{ slowBody }

func (f *failing) Read(p []byte) (int, error) {
	n, err := f.slowBody.Read(p)
	if err == io.EOF {
		err = errBroken
	}
	return n, err
}

func TestAStreamSaysWhatItHolds(t *testing.T) {
	budget := NewBudget(40, telemetry.New())
	var errs []error
	b := newBed(config.Skip, &script{name: "a", onReq: func(c *call) (Verdict, error) {
		errs = append(errs, c.w.Hold(10), c.w.Hold(4), c.w.Hold(11))
		return Continue, errs[2]
	}})
	b.chain.entries[0].Bodies, b.chain.entries[0].Tenant = budget, "ns"
	if out := b.run.Request(b.chain, []byte("/")); out != Failed || b.run.Err().Status != 503 { // whatever onError says
		t.Errorf("got %d, %v", out, b.run.Err())
	}
	if errs[0] != nil || errs[1] != nil || !errors.Is(errs[2], ErrBodyBudget) || budget.held != 4 {
		t.Errorf("got %v, %d held", errs, budget.held)
	}
	b.run.Done()
	budget.left(t)
}

// TestAnAnswerThatMayNotBeHeld: it is 503 whatever onError says, also if it came
// while the exchange waited; one that holds less afterwards is sent.
func TestAnAnswerThatMayNotBeHeld(t *testing.T) {
	tests := map[string]struct {
		holds []int
		late  bool
		want  int
	}{
		"at once":          {[]int{11}, false, 503},
		"while it waits":   {[]int{11}, true, 503},
		"there is room":    {[]int{10}, false, 403},
		"room, and late":   {[]int{10}, true, 403},
		"the second holds": {[]int{11, 10}, false, 403},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			budget := NewBudget(40, telemetry.New())
			hold := func(c *call) {
				for _, n := range test.holds {
					_ = c.w.Hold(n)
				}
			}
			b := newBed(config.Skip, &script{name: "a", onReq: func(c *call) (Verdict, error) {
				if !test.late {
					hold(c)
					return Respond, nil
				}
				go func() {
					hold(c)
					c.w.Post(Answer)
				}()
				return Pause, nil
			}})
			b.chain.entries[0].Bodies, b.chain.entries[0].Tenant = budget, "ns"
			b.x.Local.Status = 403
			out := b.run.Request(b.chain, []byte("/"))
			if test.want == 503 {
				if e := b.run.Err(); out != Failed || e == nil || e.Status != 503 || e.Reason != "body-budget" {
					t.Errorf("got %d, %v; want 503", out, e)
				}
			} else if out != Answered || b.x.Response.Status != test.want {
				t.Errorf("got %d, %d, %v; want %d", out, b.x.Response.Status, b.run.Err(), test.want)
			}
			b.run.Done()
			budget.left(t)
		})
	}
}

// TestCopiesForShadowsAreCounted: without room a copy is cut, the exchange goes on.
func TestCopiesForShadowsAreCounted(t *testing.T) {
	for room, want := range map[int64]CanaryResult{100: CanaryAgrees, 20: CanarySkipped, 8: CanarySkipped} {
		budget := NewBudget(room, telemetry.New())
		o := newOther(true, 100, &script{name: "b"}, &script{name: "c", onBody: func(*call, *Buffer, bool) (Verdict, error) { return Continue, nil }})
		o.canary.Entry.Bodies, o.canary.Entry.Tenant = budget, "ns"
		o.chain = New(o.chain.entries)
		if sent, _, _ := o.exchange(t, "ab,c", ""); sent != "abc" || len(o.results) != 1 || o.results[0] != want {
			t.Errorf("room %d: got %q, %v; want %d", room, sent, o.results, want)
		}
		budget.left(t)
	}
}
