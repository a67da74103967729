package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A crowd asks at once for one page that is not stored, and that takes the origin a
// second to make.
const (
	crowdClients = 10_000
	crowdBytes   = 1 << 20
	crowdTakes   = time.Second
	crowdPort    = 29003
	crowdSources = 8 // addresses of loopback, so that ports suffice
)

// crowd returns what a crowd causes at the origin, and when its clients get their first
// byte.
func (l *lab) crowd() ([]row, error) {
	var asked atomic.Int64
	body := []byte(strings.Repeat("x", crowdBytes))
	origin := &http.Server{Addr: fmt.Sprintf("127.0.0.1:%d", crowdPort), ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/crowd" {
			asked.Add(1)
			time.Sleep(crowdTakes)
		}
		w.Header().Set("Cache-Control", "max-age=3600")
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		_, _ = w.Write(body)
	})}
	go func() { _ = origin.ListenAndServe() }()
	defer origin.Close()
	if err := waitPort(crowdPort); err != nil {
		return nil, err
	}
	t := edge("penstock, crowd", setup{listener: plainListener, routes: 1, plugins: cacheEntry, behind: crowdPort})
	c, stop, err := l.start(t)
	if err != nil {
		return nil, err
	}
	defer stop()
	conns := make([]net.Conn, crowdClients)
	for i := range conns {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+i%crowdSources))}}
		if conns[i], err = d.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", proxyPort)); err != nil {
			return nil, err
		}
		defer conns[i].Close()
	}
	request := []byte("GET /crowd HTTP/1.1\r\nHost: a\r\n\r\n")
	var group sync.WaitGroup
	first := make([]time.Duration, crowdClients)
	var bad atomic.Int64
	var why atomic.Value
	var got sync.WaitGroup
	got.Add(crowdClients)
	began := time.Now()
	for i, conn := range conns {
		group.Go(func() {
			began := time.Now()
			if _, err := conn.Write(request); err != nil {
				bad.Add(1)
				got.Done()
				return
			}
			in := bufio.NewReaderSize(conn, 4<<10)
			_, err := in.Peek(1)
			first[i] = time.Since(began)
			got.Done()
			got.Wait() // or this process would read what others sent, and not what is first
			var n int64
			if err == nil {
				var r *http.Response
				if r, err = http.ReadResponse(in, nil); err == nil {
					n, err = io.Copy(io.Discard, r.Body)
					r.Body.Close()
				}
			}
			if err != nil || n != crowdBytes {
				bad.Add(1)
				why.Store(fmt.Sprintf("%d bytes, %v", n, err))
			}
		})
	}
	group.Wait()
	if bad.Load() > 0 {
		return nil, fmt.Errorf("crowd: %d of %d clients did not get it whole: %v", bad.Load(), crowdClients, why.Load())
	}
	slices.Sort(first)
	rss, err := status(c.Process.Pid, "VmHWM:")
	if err != nil {
		return nil, err
	}
	fmt.Printf("crowd: whole after %v, most memory %d MiB\n", time.Since(began).Round(time.Millisecond), rss)
	of := func(n int) float64 { return first[n].Seconds() / crowdTakes.Seconds() }
	return []row{
		{"10,000 clients for one missing page: requests to the origin", float64(asked.Load()), 1},
		{"their first byte, of the time that the origin takes, median", of(crowdClients / 2), 1.1},
		{"the same, the 99th percentile", of(crowdClients * 99 / 100), 1.1},
	}, nil
}
