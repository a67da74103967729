package upstream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/codec/grpc"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/telemetry"
)

// heard is what a call told, one line each.
type heard chan string

func (h heard) InitialMetadata(m *exchange.Header) {
	v, _ := m.Get("x-initial")
	h <- "initial " + string(v)
}
func (h heard) Message(b []byte) { h <- "message " + string(b) }
func (h heard) TrailingMetadata(m *exchange.Header) {
	v, _ := m.Get("x-trailing")
	h <- "trailing " + string(v)
}
func (h heard) Close(status uint32, message string) { h <- fmt.Sprintf("close %d %s", status, message) }

func (h heard) next(t *testing.T) string {
	t.Helper()
	select {
	case s := <-h:
		return s
	case <-time.After(20 * time.Second):
		t.Fatal("nothing was told")
		return ""
	}
}

// want reads events; each must begin as the list says.
func (h heard) want(t *testing.T, list ...string) {
	t.Helper()
	for _, w := range list {
		if got := h.next(t); !strings.HasPrefix(got, w) {
			t.Fatalf("got %q; want %q", got, w)
		}
	}
}

// message reads one from a gRPC body.
func message(r io.Reader) (string, error) {
	var prefix [5]byte
	if _, err := io.ReadFull(r, prefix[:]); err != nil {
		return "", err
	}
	b := make([]byte, binary.BigEndian.Uint32(prefix[1:]))
	_, err := io.ReadFull(r, b)
	return string(b), err
}

func say(w http.ResponseWriter, flag byte, s string) {
	w.Write(append(binary.BigEndian.AppendUint32([]byte{flag}, uint32(len(s))), s...))
	w.(http.Flusher).Flush()
}

// served is what the service below saw.
type served struct {
	ended   chan error    // a call's end, as its server sees it
	release chan struct{} // lets "unread" go on
}

func (s *served) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "application/grpc")
	end := func(status, text string) {
		h.Set(http.TrailerPrefix+"Grpc-Status", status)
		h.Set(http.TrailerPrefix+"Grpc-Message", text)
		h.Set(http.TrailerPrefix+"X-Trailing", "t")
	}
	h.Set("X-Initial", r.Header.Get("X-Sent")+"/"+r.Header.Get("Grpc-Timeout"))
	switch r.URL.Path {
	case "/s/Unary":
		got, err := message(r.Body)
		if _, more := r.Body.Read(make([]byte, 1)); err != nil || more != io.EOF {
			end("3", fmt.Sprint(err, more))
			return
		}
		say(w, 0, strings.ToUpper(got))
		end("0", "")
	case "/s/Many":
		for i := range 3 {
			say(w, 0, fmt.Sprint(i))
		}
		say(w, 0, "")
		end("5", "no more%21")
	case "/s/Both":
		w.(http.Flusher).Flush()
		for {
			got, err := message(r.Body)
			if err != nil {
				end("0", "")
				return
			}
			say(w, 0, "re: "+got)
		}
	case "/s/Silent":
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		s.ended <- r.Context().Err()
	case "/s/Never":
		<-r.Context().Done()
		s.ended <- r.Context().Err()
	case "/s/TrailersOnly":
		h.Set("Grpc-Status", "7")
		h.Set("Grpc-Message", "not you")
		h.Set("X-Trailing", "t")
	case "/s/Compressed":
		say(w, 1, "xxx")
		<-r.Context().Done()
		s.ended <- r.Context().Err()
	case "/s/Large":
		w.Write([]byte{0, 0xff, 0xff, 0xff, 0xff})
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		s.ended <- r.Context().Err()
	case "/s/Unread":
		w.(http.Flusher).Flush()
		<-s.release
		n, _ := io.Copy(io.Discard, r.Body)
		say(w, 0, fmt.Sprint(n))
		end("0", "")
	case "/s/HTML":
		h.Set("Content-Type", "text/html")
	default:
		http.NotFound(w, r)
	}
}

func newGRPC(t *testing.T) (*Caller, *served) {
	t.Helper()
	s := &served{ended: make(chan error, 4), release: make(chan struct{})}
	o := newRealServer(t, 0, s.ServeHTTP)
	p := config.DefaultProxyParameters()
	set := New(zap.NewNop(), telemetry.New(), NetDialer{})
	t.Cleanup(set.Close)
	set.Apply(map[string]*config.Upstream{"ns/svc:80": {Name: "ns/svc:80", Protocol: config.ProtocolH2C, Parameters: p}},
		config.OverlayOf(map[string]*config.EndpointSet{"ns/svc:80": endpointSet(o.addr)}))
	c := NewCaller(set, nil, p)
	t.Cleanup(c.Close)
	return c, s
}

func (c *Caller) grpc(t *testing.T, method string, timeout time.Duration) (*GRPCStream, heard) {
	t.Helper()
	h := make(heard, 64)
	k := &GRPCCall{Namespace: "ns", Upstream: "svc", Service: "s", Method: method, Timeout: timeout}
	k.Metadata.Add([]byte("x-sent"), []byte("1"))
	s, err := c.GRPC(k, h)
	if err != nil {
		t.Fatal(err)
	}
	return s, h
}

func TestGRPCCalls(t *testing.T) {
	c, served := newGRPC(t)
	t.Run("unary", func(t *testing.T) {
		s, h := c.grpc(t, "Unary", 5*time.Second)
		if err := s.Send([]byte("hello"), true); err != nil {
			t.Fatal(err)
		}
		h.want(t, "initial 1/5000m", "message HELLO", "trailing t", "close 0 ")
		if err := s.Send([]byte("more"), false); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("after the end: got %v", err)
		}
	})
	t.Run("server stream", func(t *testing.T) {
		s, h := c.grpc(t, "Many", 0)
		_ = s.Send([]byte("x"), true)
		h.want(t, "initial 1/", "message 0", "message 1", "message 2", "message ", "trailing t", "close 5 no more!")
	})
	t.Run("both directions", func(t *testing.T) {
		s, h := c.grpc(t, "Both", 0)
		h.want(t, "initial")
		for i := range 20 {
			m := fmt.Sprint("line ", i)
			if err := s.Send([]byte(m), false); err != nil {
				t.Fatal(err)
			}
			h.want(t, "message re: "+m)
		}
		_ = s.Send([]byte{}, false)
		h.want(t, "message re: ")
		_ = s.Send(nil, true)
		h.want(t, "trailing t", "close 0")
	})
	t.Run("trailers only", func(t *testing.T) {
		s, h := c.grpc(t, "TrailersOnly", 0)
		_ = s.Send(nil, true)
		h.want(t, "trailing t", "close 7 not you")
	})
	t.Run("refused answers", func(t *testing.T) {
		for method, want := range map[string][]string{
			"Compressed": {"initial", "close 14 " + errCompressed.Error()},
			"Large":      {"initial", "close 14 " + errTooLarge.Error()},
			"HTML":       {"close 2"},
			"Nothing":    {"close 12 HTTP status 404"},
		} {
			_, h := c.grpc(t, method, 0)
			h.want(t, want...)
			if method == "Compressed" || method == "Large" {
				<-served.ended // the stream is given up though the client had not ended its side
			}
		}
	})
	t.Run("the queue is full", func(t *testing.T) {
		s, h := c.grpc(t, "Unread", 0)
		h.want(t, "initial")
		part := make([]byte, 1<<20)
		sent := 0
		var err error
		for ; err == nil && sent < 32; sent++ {
			err = s.Send(part, false)
		}
		if err != ErrQueueFull || sent < 8 {
			t.Errorf("got %v after %d MiB; want %v", err, sent, ErrQueueFull)
		}
		if err := s.Send(make([]byte, maxGRPCMessage+1), false); err != ErrQueueFull {
			t.Errorf("a message too large: got %v", err)
		}
		close(served.release)
		_ = s.Send(nil, true)
		h.want(t, fmt.Sprintf("message %d", (sent-1)*(len(part)+5)), "trailing", "close 0")
	})
}

// TestASilentGRPCCallEnds: its server sees it soon, whatever it waits for.
func TestASilentGRPCCallEnds(t *testing.T) {
	for _, method := range []string{"Silent", "Never"} {
		for name, timeout := range map[string]time.Duration{"cancel": 0, "deadline": 150 * time.Millisecond} {
			for _, half := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s %s, half closed %v", method, name, half), func(t *testing.T) {
					c, served := newGRPC(t)
					s, h := c.grpc(t, method, timeout)
					_ = s.Send([]byte("x"), half)
					if method == "Silent" {
						h.want(t, "initial")
					}
					time.Sleep(50 * time.Millisecond)
					if timeout == 0 {
						s.Cancel()
					}
					select {
					case <-served.ended:
					case <-time.After(10 * time.Second):
						t.Fatal("the server did not see the call's end")
					}
					if timeout > 0 {
						h.want(t, fmt.Sprintf("close %d", grpc.DeadlineExceeded))
						return
					}
					c.Close()
					select {
					case got := <-h:
						t.Errorf("got %q after Cancel", got)
					default:
					}
				})
			}
		}
	}
}
