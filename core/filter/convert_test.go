package filter

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
)

// capitals makes what it reads upper case, and reads all of it within Convert if it is to.
type capitals struct {
	inner exchange.Body
	now   bool
	err   error
}

func (u *capitals) Convert(x *exchange.Exchange, request bool) error {
	if u.err != nil {
		return u.err
	}
	body, length := &x.Response.Body, &x.Response.ContentLength
	if request {
		body, length = &x.Request.Body, &x.Request.ContentLength
	}
	if *body == nil {
		return nil
	}
	u.inner = *body
	*body, *length = u, -1
	if !u.now {
		return nil
	}
	text, err := io.ReadAll(u)
	if err != nil {
		return err
	}
	*body, *length = exchange.NewBytes(text), int64(len(text))
	return nil
}

func (u *capitals) Read(p []byte) (int, error) {
	n, err := u.inner.Read(p)
	copy(p, strings.ToUpper(string(p[:n])))
	return n, err
}
func (u *capitals) Buffered() int { return u.inner.Buffered() }
func (u *capitals) Close()        { u.inner.Close() }

func (u *capitals) asked(request bool) func(*call) (Verdict, error) {
	return func(c *call) (Verdict, error) { c.w.Convert(request, u); return Continue, nil }
}

// adding is a body callback that adds a text at the end.
func adding(text string) func(*call, *Buffer, bool) (Verdict, error) {
	return func(_ *call, b *Buffer, end bool) (Verdict, error) {
		if end {
			b.Data = append(b.Data, text...)
		}
		return Continue, nil
	}
}

// TestConvert: filters before see the body as it was, those after what comes out, the
// filter itself nothing of it.
func TestConvert(t *testing.T) {
	for round := range 4 {
		now, trailers := round&1 > 0, round&2 > 0
		for name, length := range map[string]int64{"a length": 4, "none": -1} {
			r, p := &capitals{now: now}, &capitals{now: now}
			b := newBed(config.Reject,
				&script{name: "a", onBody: adding("a"), onRBody: adding("a"), trailers: true},
				&script{name: "b", onBody: adding("b"), onRBody: adding("b"), trailers: true, onReq: r.asked(true), onResp: p.asked(false)},
				&script{name: "c", onBody: adding("c"), onRBody: adding("c"), trailers: true},
			)
			b.x.Request.Body, b.x.Request.ContentLength = &slowBody{parts: []string{"re", "st"}}, length
			if out := b.run.Request(b.chain, []byte("/")); out != Passed {
				t.Fatal(out)
			}
			if out := b.run.RequestBody(); out != Passed {
				t.Fatal(out)
			}
			if got, err := io.ReadAll(b.x.Request.Body); err != nil || string(got) != "RESTAc" {
				t.Errorf("%s, %v: request %q, %v", name, now, got, err)
			}
			b.x.Response = exchange.Response{Status: 200, Body: &slowBody{parts: []string{"re", "st"}, trailer: func() {
				if trailers {
					b.x.Response.Trailer.Add([]byte("x"), []byte("y"))
				}
			}}, ContentLength: length}
			if out := b.run.Response(); out != Passed {
				t.Fatal(out)
			}
			if out := b.run.ResponseBody(); out != Passed {
				t.Fatal(out)
			}
			want := "RESTCa"
			if trailers { // then the end comes after the last part
				want = "REST"
			}
			if got, err := io.ReadAll(b.x.Response.Body); err != nil || string(got) != want {
				t.Errorf("%s, %v: response %q, %v", name, now, got, err)
			}
			b.run.Done()
			if slices.Contains(b.trace, "b response trailers") || slices.Contains(b.trace, "a response trailers") != trailers {
				t.Errorf("got %q", b.trace)
			}
		}
	}
}

// TestConvertNot: what the header callback asked for is not done if it fails, or answers.
func TestConvertNot(t *testing.T) {
	u := &capitals{}
	failing := func(c *call) (Verdict, error) {
		c.w.Convert(false, u)
		return Continue, &Error{Cause: "trap", Err: errors.New("trap")}
	}
	b := newBed(config.Skip, &script{name: "a", onResp: failing})
	b.run.Request(b.chain, []byte("/"))
	b.x.Response = exchange.Response{Status: 200, Body: exchange.NewBytes([]byte("rest")), ContentLength: 4}
	if out := b.run.Response(); out != Passed {
		t.Fatal(out)
	}
	if got, err := io.ReadAll(b.x.Response.Body); err != nil || string(got) != "rest" || b.x.Response.ContentLength != 4 {
		t.Errorf("skipped: %q, %v", got, err)
	}
	b.run.Done()

	answering := func(c *call) (Verdict, error) {
		c.w.Convert(false, u)
		c.x.Local.Status, c.x.Local.Body = 403, []byte("no")
		return Respond, nil
	}
	b = newBed(config.Reject, &script{name: "a", onResp: answering})
	b.run.Request(b.chain, []byte("/"))
	b.x.Response = exchange.Response{Status: 200, Body: exchange.NewBytes([]byte("rest")), ContentLength: 4}
	if out := b.run.Response(); out != Passed {
		t.Fatal(out)
	}
	if got, err := io.ReadAll(b.x.Response.Body); err != nil || string(got) != "no" {
		t.Errorf("answered: %q, %v", got, err)
	}
	b.run.Done()
}

// TestConvertFails: whose fault it is that a body cannot be converted.
func TestConvertFails(t *testing.T) {
	own := &exchange.Error{Status: 413, Side: exchange.SideClient, Reason: "decoded-size", Err: errors.New("long")}
	for name, test := range map[string]struct {
		u      *capitals
		before func(*call, *Buffer, bool) (Verdict, error)
		out    Outcome
		status int
	}{
		"its own": {&capitals{err: own}, nil, Failed, 413},
		"another": {&capitals{err: io.ErrUnexpectedEOF}, nil, Failed, 400},
		"a filter before": {&capitals{now: true}, func(*call, *Buffer, bool) (Verdict, error) {
			return Continue, &Error{Cause: "trap", Err: errors.New("trap")}
		}, Failed, 500},
		"a filter before answers": {&capitals{now: true}, func(c *call, _ *Buffer, _ bool) (Verdict, error) {
			c.x.Local.Status = 403
			return Respond, nil
		}, Answered, 403},
	} {
		first := &script{name: "a", onBody: test.before}
		b := newBed(config.Reject, first, &script{name: "b", onReq: test.u.asked(true)})
		b.x.Request.Body, b.x.Request.ContentLength = &slowBody{parts: []string{"re", "st"}}, -1
		out := b.run.Request(b.chain, []byte("/"))
		status := b.x.Response.Status
		if err := b.run.Err(); err != nil {
			status = err.Status
		}
		if out != test.out || status != test.status {
			t.Errorf("%s: %v, %d; want %v, %d", name, out, status, test.out, test.status)
		}
		b.run.Done()
	}
}
