// Command load makes the loads that wrk and h2load cannot: HTTP/3, WebSocket and
// TCP messages, TLS handshakes, idle connections, and requests at a fixed rate. It
// writes one JSON object: what was done, what went wrong, and latencies. As "echo"
// it is the server behind WebSocket and TCP.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// options of every load.
type options struct {
	address     string
	connections int
	length      time.Duration
	rate        float64 // requests a second; 0: as fast as they are answered
	size        int     // bytes of a message
	h2, resume  bool
}

// result is what bench reads.
type result struct {
	Requests int     `json:"requests"`
	Bad      int     `json:"bad"`
	Seconds  float64 `json:"seconds"`
	P50      float64 `json:"p50"` // ms
	P99      float64 `json:"p99"`
	First    string  `json:"first,omitempty"` // error
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) < 2 {
		return errors.New("want echo, h3, ws, tcp, big, handshake, idle or open")
	}
	var o options
	f := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	f.StringVar(&o.address, "address", "127.0.0.1:28080", "host:port")
	f.IntVar(&o.connections, "connections", 64, "at a time")
	f.DurationVar(&o.length, "length", 4*time.Second, "how long")
	f.Float64Var(&o.rate, "rate", 0, "requests a second")
	f.IntVar(&o.size, "size", 1024, "bytes of a message")
	f.BoolVar(&o.h2, "h2", false, "HTTP/2")
	f.BoolVar(&o.resume, "resume", false, "resume sessions")
	if err := f.Parse(os.Args[2:]); err != nil {
		return err
	}
	loads := map[string]func(options) (result, error){
		"h3": h3Load, "ws": webSocket, "tcp": messages, "big": big, "handshake": handshakes, "open": open,
	}
	switch name := os.Args[1]; {
	case name == "echo":
		return echo(o.address)
	case name == "idle":
		return idle(o)
	case loads[name] == nil:
		return fmt.Errorf("unknown load %q", name)
	default:
		r, err := loads[name](o)
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(r)
	}
}

// worker does one thing after another on a connection of its own; each call of next
// is one.
type worker interface {
	next() error
	close()
}

// closed runs workers for a while, each as fast as it is answered. Making them is
// not counted.
func closed(o options, start func() (worker, error)) (result, error) {
	workers := make([]worker, o.connections)
	for i := range workers {
		w, err := start()
		if err != nil {
			return result{}, err
		}
		defer w.close()
		workers[i] = w
	}
	var all collector
	began := time.Now()
	end := began.Add(o.length)
	var group sync.WaitGroup
	for _, w := range workers {
		group.Go(func() {
			var took []time.Duration
			bad := 0
			var first error
			for time.Now().Before(end) {
				at := time.Now()
				if err := w.next(); err != nil {
					bad++
					first = err
					break
				}
				took = append(took, time.Since(at))
			}
			all.add(took, bad, first)
		})
	}
	group.Wait()
	return all.result(time.Since(began)), nil
}

// collector gathers what workers did.
type collector struct {
	mu    sync.Mutex
	took  []time.Duration
	bad   int
	first error
}

func (c *collector) add(took []time.Duration, bad int, first error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.took = append(c.took, took...)
	c.bad += bad
	if c.first == nil {
		c.first = first
	}
}

func (c *collector) result(length time.Duration) result {
	r := result{Requests: len(c.took), Bad: c.bad, Seconds: length.Seconds()}
	if c.first != nil {
		r.First = c.first.Error()
	}
	if len(c.took) > 0 {
		slices.Sort(c.took)
		r.P50, r.P99 = milliseconds(c.took, 50), milliseconds(c.took, 99)
	}
	return r
}

func milliseconds(sorted []time.Duration, percent int) float64 {
	return float64(sorted[(len(sorted)-1)*percent/100].Microseconds()) / 1000
}

// open sends requests at a fixed rate whatever the answers take; a latency counts
// from when its request was due.
func open(o options) (result, error) {
	if o.rate <= 0 {
		return closed(o, func() (worker, error) { return newPlain(o) })
	}
	workers := make([]worker, o.connections)
	for i := range workers {
		w, err := newPlain(o)
		if err != nil {
			return result{}, err
		}
		defer w.close()
		workers[i] = w
	}
	gap := time.Duration(float64(time.Second) / o.rate)
	var due atomic.Int64 // number of the next request
	var all collector
	began := time.Now()
	total := int64(o.length / gap)
	var group sync.WaitGroup
	for _, w := range workers {
		group.Go(func() {
			var took []time.Duration
			for {
				n := due.Add(1) - 1
				if n >= total {
					break
				}
				at := began.Add(time.Duration(n) * gap)
				if left := time.Until(at); left > 0 {
					time.Sleep(left)
				}
				if err := w.next(); err != nil {
					all.add(took, 1, err)
					return
				}
				took = append(took, time.Since(at))
			}
			all.add(took, 0, nil)
		})
	}
	group.Wait()
	return all.result(time.Since(began)), nil
}
