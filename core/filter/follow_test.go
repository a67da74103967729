package filter

import (
	"errors"
	"slices"
	"testing"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
)

// followers are the filters of Consumer objects; one that is not there fails.
type followers map[string]*Chain

func (f followers) Follow(object string) (*Chain, *exchange.Error) {
	c, ok := f[object]
	if !ok {
		return nil, &exchange.Error{Phase: exchange.PhaseRequest, Side: exchange.SidePlugin, Status: 503, Reason: "chain-broken", Err: errors.New(object)}
	}
	return c, nil
}

// finds makes a Consumer object the exchange's consumer.
func finds(object string) func(*call) (Verdict, error) {
	return func(c *call) (Verdict, error) {
		c.x.Consumer = exchange.Consumer{Name: object, Object: object}
		return Continue, nil
	}
}

// newFollowed is a bed in which a, auth and z are a chain, and m1 and m2 the filters of n/mobile.
func newFollowed(auth, m1 *script) *bed {
	m2, known := &script{name: "m2"}, &script{name: "k"}
	b := newBed(config.Reject, &script{name: "a"}, auth, &script{name: "z"}, m1, m2, known)
	all := b.chain.entries
	b.chain = New(all[:3])
	b.run.Follower(followers{"n/mobile": New(all[3:5]), "n/known": New(all[5:6]), "n/plain": nil})
	return b
}

func TestTheConsumersFiltersComeBehindWhoFoundIt(t *testing.T) {
	b := newFollowed(&script{name: "auth", onReq: finds("n/mobile")}, &script{name: "m1"})
	if b.run.Request(b.chain, []byte("/")) != Passed || b.run.RequestBody() != Passed || b.run.Len() != 3 {
		t.Errorf("%v; %d of the chain", b.run.Err(), b.run.Len())
	}
	if b.run.Request(New(b.chain.entries[:1]), []byte("/")) != Passed || b.run.Response() != Passed { // they run once
		t.Error(b.run.Err())
	}
	b.want(t, "a request", "auth request", "m1 request", "m2 request", "z request", "a request",
		"a response", "z response", "m2 response", "m1 response", "auth response", "a response",
		"a done", "z done", "m2 done", "m1 done", "auth done", "a done")
}

func TestAConsumersFilterAnswers(t *testing.T) {
	b := newFollowed(&script{name: "auth", onReq: finds("n/mobile")}, &script{name: "m1", onReq: answer(429)})
	if b.run.Request(b.chain, []byte("/")) != Answered || b.run.Response() != Passed || b.x.Response.Status != 429 || b.x.AnsweredBy != "service/m1" {
		t.Errorf("got %d by %s", b.x.Response.Status, b.x.AnsweredBy)
	}
	b.want(t, "a request", "auth request", "m1 request", "m1 response", "auth response", "a response", "m1 done", "auth done", "a done")
}

// TestBodiesPassTheConsumersFilters: in their places, also when the filter that found it
// has held the request back.
func TestBodiesPassTheConsumersFilters(t *testing.T) {
	mark := func(c *call, p *Buffer, _ bool) (Verdict, error) {
		if len(p.Data) > 0 { // the end comes by itself
			p.Data = append(p.Data, c.name...)
		}
		return Continue, nil
	}
	held := &script{name: "auth", onReq: func(c *call) (Verdict, error) { return Hold, nil }, onBody: func(c *call, p *Buffer, end bool) (Verdict, error) {
		_, _ = finds("n/mobile")(c)
		return mark(c, p, end)
	}}
	b := newFollowed(held, &script{name: "m1", onBody: mark, onRBody: mark})
	b.chain.entries[2].Filter.(*script).onBody = mark
	b.x.Request.Body, b.x.Request.ContentLength = &slowBody{parts: []string{"-"}}, 1
	if b.run.Request(b.chain, []byte("/")) != Passed || b.run.RequestBody() != Passed {
		t.Fatal(b.run.Err())
	}
	room := make([]byte, 64)
	n, _ := b.x.Request.Body.Read(room)
	if got := string(room[:n]); got != "-authm1z" {
		t.Errorf("the upstream gets %q", got)
	}
	b.x.Response.Body, b.x.Response.ContentLength = &slowBody{parts: []string{"+"}}, 1
	if b.run.Response() != Passed || b.run.ResponseBody() != Passed {
		t.Fatal(b.run.Err())
	}
	n, _ = b.x.Response.Body.Read(room)
	if got := string(room[:n]); got != "+m1" {
		t.Errorf("the client gets %q", got)
	}
	b.want(t, "a request", "auth request", "m1 request", "m2 request", "z request", "z response", "m2 response", "m1 response", "auth response", "a response",
		"z done", "m2 done", "m1 done", "auth done", "a done")
}

func TestABrokenConsumerIsNotServed(t *testing.T) {
	b := newFollowed(&script{name: "auth", onReq: finds("n/broken")}, &script{name: "m1"})
	if b.run.Request(b.chain, []byte("/")) != Failed || b.run.Err().Status != 503 {
		t.Errorf("got %v", b.run.Err())
	}
	b.run.Response()
	b.want(t, "a request", "auth request", "auth response", "a response", "auth done", "a done")
}

// TestTheConsumerMayBecomeAnother: each one's filters run, and not without end.
func TestTheConsumerMayBecomeAnother(t *testing.T) {
	b := newFollowed(&script{name: "auth", onReq: finds("n/mobile")}, &script{name: "m1", onReq: finds("n/known")})
	if b.run.Request(b.chain, []byte("/")) != Passed {
		t.Error(b.run.Err())
	}
	b.want(t, "a request", "auth request", "m1 request", "k request", "m2 request", "z request", "z done", "m2 done", "k done", "m1 done", "auth done", "a done")

	b = newFollowed(&script{name: "auth", onReq: finds("n/mobile")}, &script{name: "m1", onReq: finds("n/mobile")})
	z := b.chain.entries[2].Filter.(*script)
	turn := []string{"n/plain", "n/known"}
	z.onReq = func(c *call) (Verdict, error) {
		object := turn[0]
		turn = turn[1:]
		return finds(object)(c)
	}
	again := New([]Entry{b.chain.entries[2], b.chain.entries[2]})
	if b.run.Request(b.chain, []byte("/")) != Passed || b.run.Request(again, []byte("/")) != Failed || b.run.Err().Status != 500 {
		t.Errorf("the third one: %v", b.run.Err())
	}
}

// TestWhoComesTooLateIsNotServed: nobody is served without the filters of its Consumer.
func TestWhoComesTooLateIsNotServed(t *testing.T) {
	b := newFollowed(&script{name: "auth", onBody: func(c *call, _ *Buffer, _ bool) (Verdict, error) { return finds("n/mobile")(c) }}, &script{name: "m1"})
	b.x.Request.Body, b.x.Request.ContentLength = &slowBody{parts: []string{"abc"}}, 3
	if b.run.Request(b.chain, []byte("/")) != Passed || b.run.RequestBody() != Failed || b.run.Err().Status != 500 {
		t.Errorf("got %v; want 500", b.run.Err())
	}
}

// TestBehind: a detached exchange does not pass them again.
func TestBehind(t *testing.T) {
	b := newFollowed(&script{name: "auth"}, &script{name: "m1"})
	b.x.Consumer.Object = "n/mobile"
	b.run.Behind("n/mobile")
	b.run.Skip(2)
	if b.run.Request(b.chain, []byte("/")) != Passed || b.run.RequestBody() != Passed {
		t.Error(b.run.Err())
	}
	b.want(t, "z request", "z done")
}

func TestAConsumerWithoutFiltersCostsNothing(t *testing.T) {
	b := newFollowed(&script{name: "auth", onReq: finds("n/plain")}, &script{name: "m1"})
	b.run.Request(b.chain, []byte("/"))
	if out := b.run.RequestBody(); out != Passed || !slices.Contains(b.trace, "z request") {
		t.Errorf("%v; %q", out, b.trace)
	}
	b.run.Done()
	b.x.Consumer = exchange.Consumer{Object: "n/plain"}
	var plain Follower = followers{"n/plain": nil}
	if n := testing.AllocsPerRun(100, func() {
		b.run.Start(b.x)
		b.run.Follower(plain)
		b.run.mu.Lock()
		out := b.run.follow(-1, nil)
		b.run.mu.Unlock()
		if out != Passed {
			t.Fatal(out)
		}
		b.run.Done()
	}); n != 0 {
		t.Errorf("%v allocations; want 0", n)
	}
}
