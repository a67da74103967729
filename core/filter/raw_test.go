package filter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/telemetry"
)

// rawFilter is a filter for raw connections that a test scripts.
type rawFilter struct {
	name string
	log  *rawTrace
	// Each may be nil: Continue.
	begin func() error
	start func(w *Waker) (Verdict, error)
	data  func(w *Waker, downstream bool, b *Buffer, end bool) (Verdict, error)
}

// rawTrace notes calls.
type rawTrace struct {
	mu    sync.Mutex
	lines []string
}

func (l *rawTrace) add(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf(format, args...))
}

func (f *rawFilter) Callbacks() Callbacks                             { return OnConnection }
func (f *rawFilter) Begin(*exchange.Exchange, *Waker) (Stream, error) { panic("no exchange here") }
func (f *rawFilter) BeginConn(_ *exchange.Conn, w *Waker) (ConnStream, error) {
	if f.begin != nil {
		if err := f.begin(); err != nil {
			return nil, err
		}
	}
	return &rawStream{f, w}, nil
}

type rawStream struct {
	*rawFilter
	w *Waker
}

func (s *rawStream) NewConnection() (Verdict, error) {
	s.log.add("%s new", s.name)
	if s.start == nil {
		return Continue, nil
	}
	return s.start(s.w)
}

func (s *rawStream) Data(downstream bool, b *Buffer, end bool) (Verdict, error) {
	s.log.add("%s %v %q %v", s.name, downstream, b.Data, end)
	if s.data == nil {
		return Continue, nil
	}
	return s.data(s.w, downstream, b, end)
}

func (s *rawStream) Closed(downstream, remote bool) error {
	s.log.add("%s closed %v %v", s.name, downstream, remote)
	return nil
}

func (s *rawStream) Done() { s.log.add("%s done", s.name) }

// rawChain returns a run of these filters; change changes the entry of each.
func rawChain(l *rawTrace, change func(*Entry), filters ...*rawFilter) *RawRun {
	m := telemetry.New().Counters("penstock_test_total", "x").With()
	var chains []*Chain
	for _, f := range filters {
		f.log = l
		e := Entry{Filter: f, ID: "part/" + f.name, BodyBytes: 1000, Failures: m}
		if change != nil {
			change(&e)
		}
		chains = append(chains, New([]Entry{e}))
	}
	return NewRawRun(chains, "ns/svc", time.Second, nil)
}

func (l *rawTrace) want(t *testing.T, want ...string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Equal(l.lines, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(l.lines, "\n"), strings.Join(want, "\n"))
	}
	l.lines = nil
}

func TestRawOrder(t *testing.T) {
	l := &rawTrace{}
	mark := func(name string) *rawFilter {
		return &rawFilter{name: name, data: func(_ *Waker, _ bool, b *Buffer, _ bool) (Verdict, error) {
			b.Data = append(slices.Clone(b.Data), name...)
			return Continue, nil
		}}
	}
	r := rawChain(l, nil, mark("a"), mark("b"))
	if err := r.NewConnection(t.Context(), &exchange.Conn{}); err != nil {
		t.Fatal(err)
	}
	if out, ended, err := r.Data(true, []byte("x"), false); string(out) != "xab" || ended || err != nil {
		t.Errorf("got %q, %v, %v", out, ended, err)
	}
	if out, ended, err := r.Data(false, []byte("y"), true); string(out) != "yba" || !ended || err != nil {
		t.Errorf("got %q, %v, %v", out, ended, err)
	}
	r.Done(false, true)
	l.want(t, "a new", "b new", `a true "x" false`, `b true "xa" false`, `b false "y" true`, `a false "yb" true`,
		"b closed true false", "b closed false true", "b done", "a closed true false", "a closed false true", "a done")
}

func TestRawPause(t *testing.T) {
	l := &rawTrace{}
	var waker *Waker
	hold := &rawFilter{name: "h", data: func(w *Waker, _ bool, b *Buffer, _ bool) (Verdict, error) {
		waker = w
		if strings.HasSuffix(string(b.Data), ".") {
			return Continue, nil
		}
		return Pause, nil
	}}
	budget := NewBudget(100, telemetry.New())
	r := rawChain(l, func(e *Entry) { e.Bodies = budget }, hold, &rawFilter{name: "after"})
	if err := r.NewConnection(t.Context(), &exchange.Conn{}); err != nil {
		t.Fatal(err)
	}
	send := func(b string, end bool, want string, wantEnd bool) {
		t.Helper()
		p := []byte(b)
		out, ended, err := r.Data(true, p, end)
		if string(out) != want || ended != wantEnd || err != nil {
			t.Fatalf("got %q, %v, %v; want %q", out, ended, err, want)
		}
		for i := range p { // the caller's again
			p[i] = '!'
		}
	}
	send("a", false, "", false)
	send("b", false, "", false)
	if budget.held != 2 {
		t.Errorf("%d bytes are counted; want 2", budget.held)
	}
	send("c.", false, "abc.", false)
	send("d", false, "", false)
	if out, _, err := r.Resume(true); len(out) > 0 || err != nil {
		t.Errorf("got %q, %v before any signal", out, err)
	}
	waker.Post(ResumeResponse) // of the other direction
	waker.Post(ResumeRequest)
	if out, ended, err := r.Resume(true); string(out) != "d" || ended || err != nil {
		t.Errorf("got %q, %v, %v", out, ended, err)
	}
	send("e", true, "", false)
	waker.Post(ResumeRequest)
	if out, ended, err := r.Resume(true); string(out) != "e" || !ended || err != nil {
		t.Errorf("got %q, %v, %v", out, ended, err)
	}
	r.Done(true, true)
	if budget.held != 0 {
		t.Errorf("%d bytes are still counted", budget.held)
	}
}

func TestRawEnds(t *testing.T) {
	trap := &Error{Cause: "trap", Err: errors.New("x")}
	failing := func(*Waker, bool, *Buffer, bool) (Verdict, error) { return Continue, trap }
	tests := map[string]struct {
		filter rawFilter
		change func(*Entry)
		data   string
		reason string
	}{
		"no instance":         {rawFilter{begin: func() error { return &Error{Cause: "unavailable", Err: errors.New("x"), Busy: true} }}, nil, "", "plugin-busy"},
		"it refuses":          {rawFilter{start: func(*Waker) (Verdict, error) { return Reset, nil }}, nil, "", "plugin-reset"},
		"it never decides":    {rawFilter{start: func(*Waker) (Verdict, error) { return Pause, nil }}, nil, "", "plugin-wait"},
		"it gives up":         {rawFilter{start: func(w *Waker) (Verdict, error) { go w.Post(Abort); return Pause, nil }}, nil, "", "plugin-reset"},
		"its instance dies":   {rawFilter{start: func(w *Waker) (Verdict, error) { go w.Post(Fail); return Pause, nil }}, nil, "", "plugin-trap"},
		"it lets it in later": {rawFilter{start: func(w *Waker) (Verdict, error) { go w.Post(ResumeRequest); return Pause, nil }}, nil, "x", ""},
		"data traps":          {rawFilter{data: failing}, nil, "x", "plugin-trap"},
		"it is left out":      {rawFilter{data: failing}, func(e *Entry) { e.OnError = config.Skip }, "x", ""},
		"it is never there":   {rawFilter{begin: func() error { return trap }}, func(e *Entry) { e.OnError = config.Skip }, "x", ""},
		"it resets":           {rawFilter{data: func(*Waker, bool, *Buffer, bool) (Verdict, error) { return Reset, nil }}, nil, "x", "plugin-reset"},
		"it holds too much":   {rawFilter{data: func(*Waker, bool, *Buffer, bool) (Verdict, error) { return Pause, nil }}, func(e *Entry) { e.BodyBytes = 3 }, "four", "body-limit"},
		"all hold too much":   {rawFilter{data: func(*Waker, bool, *Buffer, bool) (Verdict, error) { return Pause, nil }}, func(e *Entry) { e.Bodies = NewBudget(4, telemetry.New()) }, "four", "body-budget"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := &rawTrace{}
			tt.filter.name = "f"
			r := rawChain(l, tt.change, &tt.filter)
			r.wait = 100 * time.Millisecond
			if tt.reason == "" {
				r.wait = 10 * time.Second
			}
			err := r.NewConnection(t.Context(), &exchange.Conn{})
			var out []byte
			if err == nil {
				out, _, err = r.Data(true, []byte(tt.data), false)
			}
			if (err == nil) != (tt.reason == "") || err != nil && (err.Reason != tt.reason || r.By() != "part/f") || err == nil && string(out) != tt.data {
				t.Errorf("got %q, %v by %q; want %q", out, err, r.By(), tt.reason)
			}
			r.Done(false, false)
		})
	}
}

func TestRawHeldWhileTheProxyEnds(t *testing.T) {
	r := rawChain(&rawTrace{}, nil, &rawFilter{name: "f", start: func(*Waker) (Verdict, error) { return Pause, nil }})
	r.wait = time.Minute
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	if err := r.NewConnection(ctx, &exchange.Conn{}); err == nil || err.Reason != "drained" {
		t.Errorf("got %v", err)
	}
	r.Done(false, false)
}

func TestFiltersThatAreNotForRawConnections(t *testing.T) {
	if got := New([]Entry{{Filter: &rawFilter{}, ID: "a"}, {Filter: &httpOnly{}, ID: "b"}}).NotRaw(); got != "b" {
		t.Errorf("got %q; want b", got)
	}
	if got := New(nil).NotRaw(); got != "" {
		t.Errorf("got %q", got)
	}
}

// TestRawDirectionsAtOnce is for the race detector.
func TestRawDirectionsAtOnce(t *testing.T) {
	wakers := make(chan *Waker, 1)
	hold := &rawFilter{name: "h", data: func(w *Waker, downstream bool, b *Buffer, end bool) (Verdict, error) {
		select {
		case wakers <- w:
		default:
		}
		if downstream {
			return Pause, nil
		}
		return Continue, nil
	}}
	r := rawChain(&rawTrace{}, func(e *Entry) { e.BodyBytes = 1 << 20 }, hold)
	if err := r.NewConnection(t.Context(), &exchange.Conn{}); err != nil {
		t.Fatal(err)
	}
	const n = 500
	stop := make(chan struct{})
	var posts, directions sync.WaitGroup
	posts.Go(func() {
		w := <-wakers
		for {
			select {
			case <-stop:
				return
			default:
				w.Post(ResumeRequest)
				time.Sleep(10 * time.Microsecond)
			}
		}
	})
	directions.Go(func() {
		total := 0
		for range n {
			_, _, _ = r.Data(true, []byte("x"), false)
			out, _, err := r.Resume(true)
			if total += len(out); err != nil {
				t.Error(err)
			}
		}
		for total < n {
			rung := r.Rung()
			out, _, _ := r.Resume(true)
			if total += len(out); len(out) == 0 {
				r.Wait(rung, time.Second)
			}
		}
	})
	directions.Go(func() {
		for range n {
			if out, _, err := r.Data(false, []byte("y"), false); string(out) != "y" || err != nil {
				t.Errorf("got %q, %v", out, err)
			}
		}
	})
	directions.Wait()
	close(stop)
	posts.Wait()
	r.Done(true, true)
}

// httpOnly is a filter without raw connections.
type httpOnly struct{ Filter }

func (*httpOnly) Callbacks() Callbacks { return OnRequestHeaders }
