package proxy_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"penstock.dev/penstock/core/config"
)

// flaky answers with a status until it was asked often enough; the answer is the body.
type flaky struct {
	asked   atomic.Int32
	good    int32 // the request that it answers with 200
	status  int   // 0: it closes the connection
	silence time.Duration
}

func (f *flaky) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if f.asked.Add(1) >= f.good {
		_, _ = w.Write(body)
		return
	}
	time.Sleep(f.silence)
	if f.status == 0 {
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(f.status)
	_, _ = w.Write([]byte("no"))
}

func TestRetry(t *testing.T) {
	long := strings.Repeat("x", 100<<10)
	tests := map[string]struct {
		up             *flaky
		retry          *config.Retry
		timeout, try   time.Duration
		body           string
		status, asked  int
		atLeast, under time.Duration
	}{
		"a code of the list is tried again": {&flaky{good: 3, status: 503}, &config.Retry{Attempts: 2, Codes: []int{500, 503}}, 0, 0, "", 200, 3, 0, 0},
		"as often as it says":               {&flaky{good: 9, status: 503}, &config.Retry{Attempts: 2, Codes: []int{503}}, 0, 0, "", 503, 3, 0, 0},
		"another code is not":               {&flaky{good: 3, status: 502}, &config.Retry{Attempts: 2, Codes: []int{503}}, 0, 0, "", 502, 1, 0, 0},
		"a body is sent again":              {&flaky{good: 2, status: 503}, &config.Retry{Attempts: 1, Codes: []int{503}}, 0, 0, "hello", 200, 2, 0, 0},
		"a long body is sent once":          {&flaky{good: 2, status: 503}, &config.Retry{Attempts: 1, Codes: []int{503}}, 0, 0, long, 503, 1, 0, 0},
		"a closed connection":               {&flaky{good: 2}, &config.Retry{Attempts: 1}, 0, 0, "hello", 200, 2, 0, 0},
		"none without a retry":              {&flaky{good: 2}, nil, 0, 0, "hello", 502, 1, 0, 0},
		"a silent try":                      {&flaky{good: 2, status: 503, silence: 400 * time.Millisecond}, &config.Retry{Attempts: 1}, 5 * time.Second, 100 * time.Millisecond, "", 200, 2, 100 * time.Millisecond, 0},
		"it waits before the next one":      {&flaky{good: 3, status: 503}, &config.Retry{Attempts: 2, Codes: []int{503}, Backoff: 100 * time.Millisecond}, 0, 0, "", 200, 3, 300 * time.Millisecond, 0},
		"the whole time ends all of them":   {&flaky{good: 9, status: 503, silence: 400 * time.Millisecond}, &config.Retry{Attempts: 5, Codes: []int{503}}, 250 * time.Millisecond, 100 * time.Millisecond, "", 504, 3, 200 * time.Millisecond, 2 * time.Second},
		"a wait that does not fit is none":  {&flaky{good: 9, status: 503}, &config.Retry{Attempts: 5, Codes: []int{503}, Backoff: time.Minute}, 250 * time.Millisecond, 0, "", 503, 1, 0, 2 * time.Second},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			r := rule("r", "/", "up")
			r.Retry, r.Timeout, r.BackendTimeout = test.retry, test.timeout, test.try
			c := newConfig(b.port, r)
			service(t, c, "up", test.up.serve)
			if err := b.store.Apply(c); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			got, body := b.do(t, "POST", "/", test.body, nil)
			took := time.Since(began)
			if got.StatusCode != test.status || int(test.up.asked.Load()) != test.asked {
				t.Errorf("got %d after %d requests; want %d after %d", got.StatusCode, test.up.asked.Load(), test.status, test.asked)
			}
			if test.status == 200 && body != test.body {
				t.Errorf("the upstream got %q", body)
			}
			if took < test.atLeast || test.under > 0 && took > test.under {
				t.Errorf("it took %v; want from %v to %v", took, test.atLeast, test.under)
			}
		})
	}
}

// TestRetryElsewhere: an endpoint that answered with a code is not asked again while
// there is another.
func TestRetryElsewhere(t *testing.T) {
	b := newBed(t)
	r := rule("r", "/", "up")
	r.Retry = &config.Retry{Attempts: 1, Codes: []int{500}}
	c := newConfig(b.port, r)
	service(t, c, "bad", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	service(t, c, "up", echo)
	c.Endpoints.Of("up").Endpoints = append(c.Endpoints.Of("up").Endpoints, c.Endpoints.Of("bad").Endpoints...)
	if err := b.store.Apply(c); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if got, _ := b.do(t, "GET", "/", "", nil); got.StatusCode != 200 {
			t.Fatalf("got %d; want 200", got.StatusCode)
		}
	}
}

// TestTheDeadlineBoundsConnecting: an endpoint that does not answer to a SYN keeps
// nobody longer than the rule says.
func TestTheDeadlineBoundsConnecting(t *testing.T) {
	b := newBed(t)
	r := rule("r", "/", "up")
	r.Timeout, r.BackendTimeout = 200*time.Millisecond, 200*time.Millisecond
	c := newConfig(b.port, r)
	service(t, c, "up", echo)
	c.Endpoints.Of("up").Endpoints[0].Address = unanswered(t)
	if err := b.store.Apply(c); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	got, _ := b.do(t, "GET", "/", "", nil)
	if took := time.Since(began); got.StatusCode != 504 || took > 3*time.Second {
		t.Errorf("got %d after %v; want 504 after 200 ms", got.StatusCode, took)
	}
}

// unanswered returns an address whose queue of connections is full, so that a SYN gets
// no answer.
func unanswered(t *testing.T) netip.AddrPort {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(name.(*syscall.SockaddrInet4).Port))
	for range 4 {
		if c, err := net.DialTimeout("tcp", address.String(), 100*time.Millisecond); err == nil {
			t.Cleanup(func() { _ = c.Close() })
		}
	}
	return address
}
