package h2

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"penstock.dev/penstock/core/exchange"
)

func TestRequestsOnTheWire(t *testing.T) {
	tests := map[string]struct {
		make func(x *exchange.Exchange)
		want string // empty: refused
	}{
		"a GET":                  {func(*exchange.Exchange) {}, ":method=GET :scheme=http :authority=a.example :path=/p?q"},
		"names in lower case":    {func(x *exchange.Exchange) { x.Request.Header.Add([]byte("X-A"), []byte("B")) }, ":method=GET :scheme=http :authority=a.example :path=/p?q x-a=B"},
		"no authority":           {func(x *exchange.Exchange) { x.Request.Authority = nil }, ":method=GET :scheme=http :path=/p?q"},
		"the root":               {func(x *exchange.Exchange) { x.Request.Path = []byte("/") }, ":method=GET :scheme=http :authority=a.example :path=/"},
		"TE":                     {func(x *exchange.Exchange) { x.Request.TE = true }, ":method=GET :scheme=http :authority=a.example :path=/p?q te=trailers"},
		"a POST without content": {func(x *exchange.Exchange) { x.Request.Method = []byte("POST") }, ":method=POST :scheme=http :authority=a.example :path=/p?q content-length=0"},
		"a method of its own":    {func(x *exchange.Exchange) { x.Request.Method = []byte("QUERY") }, ":method=QUERY :scheme=http :authority=a.example :path=/p?q"},
		"fields of the connection": {func(x *exchange.Exchange) {
			for _, n := range []string{"Connection", "Keep-Alive", "Proxy-Connection", "TE", "Transfer-Encoding", "Upgrade", "Host", "Expect", "Content-Length"} {
				x.Request.Header.Add([]byte(n), []byte("1"))
			}
		}, ":method=GET :scheme=http :authority=a.example :path=/p?q"},
		"secrets": {func(x *exchange.Exchange) {
			x.Request.Header.Add([]byte("Cookie"), []byte("a=b"))
			x.Request.Header.Add([]byte("Authorization"), []byte("c"))
		}, ":method=GET :scheme=http :authority=a.example :path=/p?q cookie=a=b! authorization=c!"},
		"CONNECT":       {func(x *exchange.Exchange) { x.Request.Method = []byte("CONNECT") }, ""},
		"a bad name":    {func(x *exchange.Exchange) { x.Request.Header.Add([]byte("a b"), nil) }, ""},
		"a bad value":   {func(x *exchange.Exchange) { x.Request.Header.Add([]byte("a"), []byte("b\r\nc")) }, ""},
		"a pseudo name": {func(x *exchange.Exchange) { x.Request.Header.Add([]byte(":path"), []byte("/")) }, ""},
		"a bad path":    {func(x *exchange.Exchange) { x.Request.Path = []byte("/ x") }, ""},
		"an upgrade":    {func(x *exchange.Exchange) { x.Request.Upgrade = []byte("websocket") }, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			seen := make(chan string, 1)
			u := upstream(t, params(), func(r *rawClient) {
				r.WriteSettings()
				for {
					f, err := r.ReadFrame()
					if err != nil {
						return
					}
					h, ok := f.(*http2.MetaHeadersFrame)
					if !ok {
						continue
					}
					var b strings.Builder
					for i, f := range h.Fields {
						if i > 0 {
							b.WriteByte(' ')
						}
						fmt.Fprintf(&b, "%s=%s", f.Name, f.Value)
						if f.Sensitive {
							b.WriteByte('!')
						}
					}
					seen <- b.String()
					r.headers(h.StreamID, true, ":status: 204")
				}
			})
			x := newRequest("GET", nil, 0)
			test.make(x)
			got := u.ask(x, 5*time.Second).outcome()
			if test.want == "" {
				if got != ErrInvalidMessage.Error() && got != ErrUpgrade.Error() {
					t.Errorf("got %q", got)
				}
				return
			}
			if s := <-seen; got != "204" || s != test.want {
				t.Errorf("got %q, %q; want %q", got, s, test.want)
			}
		})
	}
}

// TestWindowsOfTheUpstream: content leaves as windows allow, also while they
// change, and in frames that are not too long.
func TestWindowsOfTheUpstream(t *testing.T) {
	steps := make(chan string, 100)
	u := upstream(t, params(), func(r *rawClient) {
		defer close(steps)
		r.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10}, http2.Setting{ID: http2.SettingHeaderTableSize, Val: 0})
		r.ReadMetaHeaders.SetMaxDynamicTableSize(0)
		got := 0
		// read reads until n bytes of content came in all, and not one more.
		read := func(n int) {
			for got < n {
				f, err := r.ReadFrame()
				if err != nil {
					steps <- err.Error()
					return
				}
				if d, ok := f.(*http2.DataFrame); ok {
					got += len(d.Data())
				}
			}
			steps <- fmt.Sprint(got)
		}
		read(10)
		r.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 30})
		read(30)
		r.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}) // 30 below nothing
		r.WriteWindowUpdate(1, 30)                                                 // nothing
		r.WriteWindowUpdate(1, 5)
		read(35)
		r.WriteWindowUpdate(1, 1<<20)
		read(defaultWindow)
		r.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1 << 15})
		r.WriteWindowUpdate(0, 1<<20)
		read(100000)
		r.headers(1, true, ":status: 204")
		read(1 << 30) // until the end
	})
	for len(u.told()) == 0 { // until the settings are known
		time.Sleep(time.Millisecond)
	}
	body := exchange.NewBytes(make([]byte, 100000))
	if got := u.ask(newRequest("POST", body, 100000), 5*time.Second).outcome(); got != "204" {
		t.Errorf("got %q", got)
	}
	u.Abort()
	var all []string
	for s := range steps {
		all = append(all, s)
	}
	if got := strings.Join(all[:5], " "); got != "10 30 35 65535 100000" {
		t.Errorf("got %s", got)
	}
}

// TestPlaces: what the upstream says of streams is told, down to none.
func TestPlaces(t *testing.T) {
	step := make(chan struct{})
	u := upstream(t, params(), func(r *rawClient) {
		for _, s := range []uint32{5, 2, 1000} {
			r.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: s})
			<-step
		}
		r.WriteGoAway(0, 0, nil)
		<-step
	})
	for _, want := range []string{"[5]", "[5 2]", "[5 2 128]", "[5 2 128 0]"} {
		for end := time.Now().Add(5 * time.Second); fmt.Sprint(u.told()) != want; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("told %v; want %s", u.told(), want)
			}
		}
		step <- struct{}{}
	}
	<-u.ended
}

// TestAnUnreadResponseHoldsUpNoOther: all places but one are full and unread.
func TestAnUnreadResponseHoldsUpNoOther(t *testing.T) {
	u := upstream(t, params(), answering(func(r *rawClient, id uint32) {
		r.headers(id, false, ":status: 200")
		for range streamWindow / leastFrameSize {
			r.WriteData(id, false, make([]byte, leastFrameSize))
		}
		if id/2 == maxStreams-1 {
			r.WriteData(id, true, nil)
		}
	}))
	for len(u.told()) == 0 {
		time.Sleep(time.Millisecond)
	}
	var full []*asked
	for range maxStreams - 1 {
		full = append(full, u.ask(newRequest("GET", nil, 0), 5*time.Second))
	}
	if got := u.ask(newRequest("GET", nil, 0), 5*time.Second).outcome(); len(got) != len("200 ")+streamWindow {
		t.Errorf("got %d bytes: %.100q", len(got), got)
	}
	for _, a := range full {
		if a.err != nil {
			t.Fatal(a.err)
		}
		a.x.Response.Body.Close()
	}
	u.UpstreamConn.mu.Lock()
	defer u.UpstreamConn.mu.Unlock()
	if free := u.recvWindow + u.owed; free != upstreamWindow || len(u.streams) != 0 {
		t.Errorf("window %d of %d, %d streams", free, upstreamWindow, len(u.streams))
	}
}

// TestBothDirectionsAtOnce: the head comes before the request's content, and each
// part is answered before the next is sent.
func TestBothDirectionsAtOnce(t *testing.T) {
	u := upstream(t, params(), func(r *rawClient) {
		r.WriteSettings()
		for {
			f, err := r.ReadFrame()
			if err != nil {
				return
			}
			switch f := f.(type) {
			case *http2.MetaHeadersFrame:
				r.headers(f.StreamID, false, ":status: 200")
			case *http2.DataFrame:
				r.WriteData(f.StreamID, f.StreamEnded(), bytes.ToUpper(f.Data()))
			}
		}
	})
	body := newCloser()
	a := u.ask(newRequest("POST", body, -1), 5*time.Second)
	if a.err != nil {
		t.Fatal(a.err)
	}
	for _, word := range []string{"one", "two", "six"} {
		body.parts <- word
		b := make([]byte, 3)
		if n, err := io.ReadFull(a.x.Response.Body, b); err != nil || string(b[:n]) != strings.ToUpper(word) {
			t.Fatalf("got %q, %v", b[:n], err)
		}
	}
	close(body.parts)
	if got := a.outcome(); got != "200" {
		t.Errorf("got %q", got)
	}
}
