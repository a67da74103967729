package faults_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// failure is a request that was not answered with 200.
type failure struct {
	began, ended time.Time
	service      string // "a" or "b"
	proxy        string // address of the proxy that the connection led to; empty: it never answered
	status       int    // 0: there was no answer
	err          string
}

func (f failure) String() string {
	s := fmt.Sprintf("%s /%s", f.began.Format("15:04:05.000"), f.service)
	if f.status != 0 {
		return fmt.Sprintf("%s status %d from proxy %s: %s", s, f.status, f.proxy, f.err)
	}
	return fmt.Sprintf("%s no answer from proxy %q after %v: %s", s, f.proxy, f.ended.Sub(f.began).Round(time.Millisecond), f.err)
}

// traffic is clients that ask all the time.
type traffic struct {
	address string
	stop    chan struct{}
	group   sync.WaitGroup
	asked   atomic.Int64
	turn    atomic.Pointer[string] // X-Turn of the last answer

	mu       sync.Mutex
	failures []failure
	slowest  time.Duration
}

const answerWithin = 10 * time.Second

// client asks over connections of up to 40 requests each, with a short pause after
// each request.
func (t *traffic) client(seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	for {
		select {
		case <-t.stop:
			return
		default:
		}
		t.connection(r, r.IntN(2) == 0, 1+r.IntN(40))
	}
}

func (t *traffic) connection(r *rand.Rand, secure bool, requests int) {
	port, began := "80", time.Now()
	if secure {
		port = "443"
	}
	proxy := ""
	var reader *bufio.Reader
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(t.address, port), answerWithin)
	if err == nil && secure {
		_ = conn.SetDeadline(time.Now().Add(answerWithin))
		c := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, ServerName: "a.example"})
		if err = c.Handshake(); err == nil {
			if names := c.ConnectionState().PeerCertificates[0].DNSNames; len(names) != 1 || names[0] != "a.example" {
				err = fmt.Errorf("certificate of %v", names)
			}
		}
		conn = c
	}
	if err != nil {
		t.fail(failure{began: began, service: "a", err: err.Error()})
		return
	}
	defer conn.Close()
	reader = bufio.NewReader(conn)
	for range requests {
		select {
		case <-t.stop:
			return
		default:
		}
		service := "a"
		if r.IntN(3) == 0 {
			service = "b"
		}
		began := time.Now()
		t.asked.Add(1)
		_ = conn.SetDeadline(began.Add(answerWithin))
		_, err := fmt.Fprintf(conn, "GET /%s HTTP/1.1\r\nHost: a.example\r\n\r\n", service)
		var response *http.Response
		if err == nil {
			response, err = http.ReadResponse(reader, nil)
		}
		var body []byte
		if err == nil {
			body, err = io.ReadAll(response.Body)
			response.Body.Close()
		}
		if err != nil {
			t.fail(failure{began: began, service: service, proxy: proxy, err: err.Error()})
			return
		}
		if response.StatusCode != http.StatusOK {
			t.fail(failure{began: began, service: service, proxy: proxy, status: response.StatusCode, err: strings.TrimSpace(string(body))})
		} else if words := strings.Fields(string(body)); len(words) > 1 {
			proxy, _, _ = net.SplitHostPort(words[1])
		}
		if turn := response.Header.Get("X-Turn"); turn != "" {
			t.turn.Store(&turn)
		}
		t.mu.Lock()
		t.slowest = max(t.slowest, time.Since(began))
		t.mu.Unlock()
		if response.Close {
			return
		}
		time.Sleep(time.Duration(r.IntN(20)) * time.Millisecond)
	}
}

func (t *traffic) fail(f failure) {
	f.ended = time.Now()
	t.mu.Lock()
	t.failures = append(t.failures, f)
	t.mu.Unlock()
	time.Sleep(50 * time.Millisecond)
}

// harm is what a fault may make fail: requests of a service, or on connections to a
// proxy.
type harm struct {
	from, to time.Time
	service  string
	proxy    string
}

// explains says how a failure is judged. One of a service is explained by a fault of
// that service's own Pods, and one without an answer by its proxy having been killed
// or frozen. Which proxy a connection led to is known from the backend's answers,
// which name who asked; a connection that was never answered may have led to any.
// An answer of a proxy is never explained by a fault of a proxy.
func (h harm) explains(f failure) bool {
	if f.ended.Before(h.from) || f.began.After(h.to) {
		return false
	}
	if h.service != "" {
		return f.service == h.service
	}
	return f.status == 0 && (f.proxy == "" || f.proxy == h.proxy)
}
