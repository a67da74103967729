package cases

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/hosts/capability"
)

// Why a call has no answer.
var callFailures = map[string]error{
	"timeout": errors.New("no answer in time"),
	"refused": errors.New("connection refused"),
	"reset":   errors.New("connection reset"),
}

// calls answer what a plugin calls, as a case says. They stand in for upstream.Caller.
type calls struct {
	clock *clock
	wake  chan struct{} // receives a value when a call is made; nil: nobody waits for one

	mu      sync.Mutex
	script  []Call
	made    int // calls of the script
	pending []*pending
	faults  []string
}

// pending is a call whose answer is still to come.
type pending struct {
	due    time.Time
	answer func()
	gone   bool // it was given up
}

func newCalls(c *clock) *calls { return &calls{clock: c} }

// expect replaces the script.
func (c *calls) expect(script []Call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.script, c.made, c.faults = script, 0, nil
}

// HTTPCall implements capability.HTTPCaller.
func (c *calls) HTTPCall(k *capability.HTTPCall, done func(*capability.HTTPAnswer, error)) (func(), error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	said, where := c.take(fmt.Sprintf("%s %s to %q", k.Method, k.Path, k.Upstream), k.Upstream, callHTTP)
	if said == nil {
		return nil, capability.ErrUnknownUpstream
	}
	if said.Request != nil {
		got := message{method: string(k.Method), path: string(k.Path), authority: string(k.Authority), scheme: string(k.Scheme), headers: &k.Header, trailers: &k.Trailer, body: k.Body}
		c.faults = append(c.faults, got.compare(where+".request", said.Request)...)
	}
	fails, after := said.ends(k.Timeout)
	return c.wait(after, func() {
		if fails != "" {
			done(nil, callFailures[fails])
			return
		}
		r := said.Response
		a := &capability.HTTPAnswer{Status: status(r), Body: []byte(strings.Join(r.parts(), ""))}
		r.Headers.addTo(&a.Header)
		r.Trailers.addTo(&a.Trailer)
		done(a, nil)
	}), nil
}

// take returns what the script says of the next call, and where; nil: nothing. c.mu is held.
func (c *calls) take(what, upstream, kind string) (said *Call, where string) {
	if c.made >= len(c.script) {
		c.faults = append(c.faults, "a call that is not in calls: "+what)
		return nil, ""
	}
	said, where = &c.script[c.made], fmt.Sprintf("calls[%d]", c.made)
	c.made++
	if said.To != "" && said.To != upstream {
		c.faults = append(c.faults, fmt.Sprintf("%s.to: got %q; want %q", where, upstream, said.To))
	}
	if kind != said.kind() {
		c.faults = append(c.faults, fmt.Sprintf("%s: got %s; want a call of another kind: %s", where, what, said.kind()))
		return nil, ""
	}
	return said, where
}

// ends says why a call has no answer, empty if it has one, and how long that takes, for
// somebody who waits so long.
func (k *Call) ends(timeout time.Duration) (fails string, after time.Duration) {
	fails, after = k.Fails, time.Duration(k.After)
	if fails == "timeout" && after == 0 {
		after = timeout
	}
	if timeout > 0 && after > timeout { // who calls does not wait for it
		return "timeout", timeout
	}
	return fails, after
}

// wait has an answer come later. c.mu is held.
func (c *calls) wait(after time.Duration, answer func()) (cancel func()) {
	p := &pending{due: c.clock.Now().Add(after), answer: answer}
	c.pending = append(c.pending, p)
	select {
	case c.wake <- struct{}{}:
	default:
	}
	return func() {
		c.mu.Lock()
		p.gone = true
		c.mu.Unlock()
	}
}

// next returns the call whose answer is due first, and when; nil: none is to come.
func (c *calls) next() (*pending, time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending = slices.DeleteFunc(c.pending, func(p *pending) bool { return p.gone })
	if len(c.pending) == 0 {
		return nil, time.Time{}
	}
	first := slices.MinFunc(c.pending, func(a, b *pending) int { return a.due.Compare(b.due) })
	return first, first.due
}

// answer gives a call its answer.
func (c *calls) answer(p *pending) {
	c.clock.to(p.due)
	c.mu.Lock()
	gone := p.gone
	p.gone = true
	c.mu.Unlock()
	if !gone {
		p.answer()
	}
}

// end returns what was wrong with the calls of the script.
func (c *calls) end() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	faults := c.faults
	if c.made < len(c.script) {
		faults = append(faults, fmt.Sprintf("calls[%d]: it was not made", c.made))
	}
	c.script, c.made, c.faults = nil, 0, nil
	return faults
}

func status(m *Message) int {
	if m.Status == 0 {
		return 200
	}
	return m.Status
}

// list is the fields one by one.
func (f Fields) list() (all []exchange.Field) {
	for _, one := range f {
		for _, v := range one.Values {
			all = append(all, exchange.Field{Name: []byte(one.Name), Value: []byte(v)})
		}
	}
	return all
}

// addTo appends the fields to a list.
func (f Fields) addTo(h *exchange.Header) {
	for _, one := range f {
		for _, v := range one.Values {
			h.Add([]byte(one.Name), []byte(v))
		}
	}
}

var _ capability.HTTPCaller = (*calls)(nil)
