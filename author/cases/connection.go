package cases

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
)

// Connection is a raw connection and what becomes of it.
type Connection struct {
	// Advance is how long before the connection the time is moved on.
	Advance Duration `yaml:"advance"`
	// Calls are those that the plugin makes, in this order, with their answers.
	Calls []Call `yaml:"calls"`
	// Data are what the two sides send, one after the other.
	Data []Piece `yaml:"data"`
	// Upstream and Client are what each gets, all in all.
	Upstream *Received `yaml:"upstream"`
	Client   *Received `yaml:"client"`
	// Error is why the plugin ended the connection, as "plugin-reset"; empty: it did not.
	Error string `yaml:"error"`
}

// Piece is bytes of one side.
type Piece struct {
	// Advance is how long before them the time is moved on. There may be nothing else.
	Advance Duration `yaml:"advance"`
	// Client or Upstream is who sends, and what; one of them.
	Client   *string `yaml:"client"`
	Upstream *string `yaml:"upstream"`
	// End says that they are the last of their side.
	End bool `yaml:"end"`
	// Passes is what the other side gets because of them, before the next; nil: anything.
	Passes *string `yaml:"passes"`
}

// Received is what a side gets.
type Received struct {
	// Reached: false says that there is no connection to the upstream.
	Reached *bool `yaml:"reached"`
	// Body is all of it, nil: anything; Contains are parts of it.
	Body     *string  `yaml:"body"`
	Contains []string `yaml:"contains"`
	// Ended is whether it sees the end of the other side.
	Ended *bool `yaml:"ended"`
}

// check finds what a connection cannot mean.
func (c *Connection) check(what string) error {
	for i := range c.Data {
		d, at := &c.Data[i], fmt.Sprintf("%s.data[%d]", what, i)
		switch sends := d.Client != nil || d.Upstream != nil; {
		case d.Client != nil && d.Upstream != nil:
			return fmt.Errorf("%s: want either client or upstream", at)
		case !sends && (d.End || d.Passes != nil || d.Advance == 0):
			return fmt.Errorf("%s: want client or upstream, and what it sends", at)
		}
		for _, before := range c.Data[:i] {
			if before.End && (before.Client != nil) == (d.Client != nil) && (d.Client != nil || d.Upstream != nil) {
				return fmt.Errorf("%s: its side has ended before", at)
			}
		}
	}
	u := c.Upstream
	if u != nil && u.Reached != nil && !*u.Reached && (u.Body != nil || u.Contains != nil || u.Ended != nil) {
		return fmt.Errorf("%s.upstream.reached: false, and yet it gets something", what)
	}
	if c.Client != nil && c.Client.Reached != nil {
		return fmt.Errorf("%s.client.reached: there is none", what)
	}
	if err := checkCalls(c.Calls); err != nil {
		return fmt.Errorf("%s.%w", what, err)
	}
	return nil
}

// The directions of a connection, by who sends.
const (
	ofClient   = 0
	ofUpstream = 1
)

// wire is a raw connection under way.
type wire struct {
	t       *trial
	run     *filter.RawRun
	sides   [2]side
	reached bool
	failure string // why the plugin ended it
}

// side is one direction.
type side struct {
	out   []byte // what went on
	fresh int    // where what went on since the last data begins
	sent  bool   // its sender has ended
	ended bool   // and the other side knows
}

// connection makes one connection and returns what was not as wanted.
func (t *trial) connection(c *Connection) []string {
	if name := t.chain.NotRaw(); name != "" {
		return []string{"the plugin has no callback of raw connections, or its manifest does not say connections: true"}
	}
	t.pass(t.clock.Now().Add(time.Duration(c.Advance)))
	t.calls.expect(c.Calls)
	w := &wire{t: t}
	w.run = filter.NewRawRun([]*filter.Chain{t.chain}, "default/case", ends, nil)
	err := w.begin()
	var faults []string
	if err == nil {
		faults = w.move(c.Data)
	} else {
		faults = append(faults, err.Error())
	}
	w.run.Done(w.sides[ofClient].sent, w.sides[ofUpstream].sent)
	if w.failure != c.Error {
		faults = append(faults, fmt.Sprintf("error: got %q; want %q", w.failure, c.Error))
	}
	return append(append(faults, w.compare(c)...), t.calls.end()...)
}

// begin shows the plugin the connection, and moves the time on while it holds it.
func (w *wire) begin() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan *exchange.Error, 1)
	go func() { done <- w.run.NewConnection(ctx, conn) }()
	tick := time.NewTicker(looks)
	defer tick.Stop()
	limit := w.t.clock.Now().Add(holds)
	for idle, rest := 0, rests; ; {
		select {
		case err := <-done:
			w.ended(err)
			w.reached = err == nil
			return nil
		case <-tick.C:
		}
		w.run.By() // returns once no call of the plugin is under way
		if rest > 0 {
			rest--
		} else if w.t.step(limit) {
			idle, rest = 0, rests
		} else if idle++; idle > held {
			cancel()
			<-done //nolint:errcheck // it was cancelled
			return errHeld
		}
	}
}

// move hands data on, until the plugin ends the connection.
func (w *wire) move(data []Piece) (faults []string) {
	for i := range data {
		d := &data[i]
		for n := range w.sides {
			w.sides[n].fresh = len(w.sides[n].out)
		}
		if d.Advance != 0 {
			w.pass(w.t.clock.Now().Add(time.Duration(d.Advance)))
		}
		from, text := ofUpstream, d.Upstream
		if d.Client != nil {
			from, text = ofClient, d.Client
		}
		if text == nil || w.failure != "" {
			continue
		}
		w.sides[from].sent = d.End
		w.went(from)(w.run.Data(from == ofClient, []byte(*text), d.End))
		w.answers()
		if s := &w.sides[from]; d.Passes != nil && string(s.out[s.fresh:]) != *d.Passes {
			faults = append(faults, fmt.Sprintf("data[%d].passes: got %s; want %s", i, short(string(s.out[s.fresh:])), short(*d.Passes)))
		}
	}
	for n, who := range []string{"client", "upstream"} {
		if s := &w.sides[n]; s.sent && !s.ended && w.failure == "" {
			faults = append(faults, fmt.Sprintf("the plugin holds the end of what the %s sends, and nothing is to come that it could wait for", who))
		}
	}
	return faults
}

// went notes what went on of a direction.
func (w *wire) went(direction int) func(out []byte, ended bool, err *exchange.Error) {
	return func(out []byte, ended bool, err *exchange.Error) {
		s := &w.sides[direction]
		s.out, s.ended = append(s.out, out...), s.ended || ended
		w.ended(err)
	}
}

func (w *wire) ended(err *exchange.Error) {
	if err != nil && w.failure == "" {
		w.failure = err.Reason
	}
}

// resume has go on what the plugin lets go. A direction may let the other one go.
func (w *wire) resume() {
	for range 2 {
		for _, from := range [...]int{ofClient, ofUpstream} {
			if w.failure == "" {
				w.went(from)(w.run.Resume(from == ofClient))
			}
		}
	}
}

// answers has all calls of the plugin be answered: data does not come as fast.
func (w *wire) answers() {
	w.resume()
	for limit := w.t.clock.Now().Add(holds); ; w.resume() {
		if call, _ := w.t.calls.next(); call == nil || !w.t.step(limit) {
			return
		}
	}
}

// pass has all happen until end, and moves the time there.
func (w *wire) pass(end time.Time) {
	for w.t.step(end) {
		w.resume()
	}
	w.t.clock.to(end)
}

// compare says what each side got that was not as wanted.
func (w *wire) compare(c *Connection) (faults []string) {
	if u := c.Upstream; u != nil && u.Reached != nil && *u.Reached != w.reached {
		faults = append(faults, fmt.Sprintf("upstream.reached: got %t", w.reached))
	}
	faults = append(faults, c.Upstream.compare("upstream", &w.sides[ofClient])...)
	return append(faults, c.Client.compare("client", &w.sides[ofUpstream])...)
}

func (r *Received) compare(where string, got *side) (faults []string) {
	if r == nil {
		return nil
	}
	text := string(got.out)
	if r.Body != nil && *r.Body != text {
		faults = append(faults, fmt.Sprintf("%s.body: got %s; want %s", where, short(text), short(*r.Body)))
	}
	for i, part := range r.Contains {
		if !strings.Contains(text, part) {
			faults = append(faults, fmt.Sprintf("%s.contains[%d]: %s is not in %s", where, i, short(part), short(text)))
		}
	}
	if r.Ended != nil && *r.Ended != got.ended {
		faults = append(faults, fmt.Sprintf("%s.ended: got %t", where, got.ended))
	}
	return faults
}

// checkConnections finds what a case with raw connections cannot mean.
func (c *Case) checkConnections() error {
	if c.Connections != nil && c.Exchanges != nil {
		return errors.New("connections: there is an exchange beside them")
	}
	for i := range c.Connections {
		if err := c.Connections[i].check(fmt.Sprintf("connections[%d]", i)); err != nil {
			return err
		}
	}
	return nil
}
