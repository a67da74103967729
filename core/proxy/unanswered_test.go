package proxy

import (
	"io"
	"net/netip"
	"testing"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/snapshot"
	"penstock.dev/penstock/core/telemetry"
)

// closing is a body that notes that it was closed.
type closing struct{ closed int }

func (b *closing) Read([]byte) (int, error) { return 0, io.EOF }
func (b *closing) Buffered() int            { return 0 }
func (b *closing) Close()                   { b.closed++ }

// says is a filter that gives one verdict on a response's head.
type says struct{ verdict filter.Verdict }

func (f says) Callbacks() filter.Callbacks { return filter.OnResponseHeaders }
func (f says) Begin(*exchange.Exchange, *filter.Waker) (filter.Stream, error) {
	return f, nil
}
func (f says) RequestHeaders(bool) (filter.Verdict, error) { return filter.Continue, nil }
func (f says) RequestBody(*filter.Buffer, bool) (filter.Verdict, error) {
	return filter.Continue, nil
}
func (f says) RequestTrailers() (filter.Verdict, error)     { return filter.Continue, nil }
func (f says) ResponseHeaders(bool) (filter.Verdict, error) { return f.verdict, nil }
func (f says) ResponseBody(*filter.Buffer, bool) (filter.Verdict, error) {
	return filter.Continue, nil
}
func (f says) ResponseTrailers() (filter.Verdict, error) { return filter.Continue, nil }
func (f says) Done()                                     {}

// leaving is a client that has left.
type leaving struct{}

func (leaving) Inform(*exchange.Exchange, int, *exchange.Header) error { return nil }
func (leaving) Send(*exchange.Exchange) error                          { return nil }
func (leaving) Watch(gone func()) func() {
	go gone()
	return func() {}
}

// TestAResponseThatNobodyGetsIsClosed: else its connection is never given back, and the
// upload to it never stopped.
func TestAResponseThatNobodyGetsIsClosed(t *testing.T) {
	for name, verdict := range map[string]filter.Verdict{"a filter resets": filter.Reset, "the client leaves while a filter holds it": filter.Pause} {
		h := New(snapshot.New(netip.MustParseAddr("127.0.0.1"), nil, nil, nil, nil, telemetry.New()), nil)
		x := &exchange.Exchange{Conn: &exchange.Conn{}, Client: leaving{}}
		x.Request.Method = []byte("GET")
		s := h.states.Get().(*state)
		s.x = x
		s.run.Start(x)
		s.run.Request(filter.New([]filter.Entry{{Filter: says{verdict}, ID: "x/y"}}), []byte("/"))
		b := &closing{}
		x.Response.Status, x.Response.Body, x.Response.ContentLength = 200, b, -1
		h.respond(s)
		h.done(s)
		x.Response.Abandon() // as the codecs do
		if b.closed != 1 {
			t.Errorf("%s: the response's body was closed %d times; want once", name, b.closed)
		}
	}
}
