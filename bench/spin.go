package main

import (
	"bufio"
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// spinners is penstock with a plain Service and two whose guests never return;
// it has both CPUs.
func spinners() target {
	return beside("penstock, spinners", map[string][]string{
		"spin0": {"- {image: penstock.dev/bench/spin:1, config: spin0}"}, "spin1": {"- {image: penstock.dev/bench/spin:1, config: spin1}"},
	})
}

// beside is penstock with a Service called plain, and others with an entry each.
func beside(name string, entries map[string][]string) target {
	t := penstock(name, 0, "")
	var b strings.Builder
	b.WriteString(t.files["config/all.yaml"])
	entries["plain"] = nil
	for name, entry := range entries {
		b.WriteString(service("default", name, "/"+name+"/", entry))
	}
	t.files["config/all.yaml"] = b.String()
	t.cpus = "0,1"
	return t
}

// spinning measures plain exchanges alone, then beside two guests that spin to
// their limit all the time.
func (l *lab) spinning(length time.Duration) ([]row, error) {
	_, stop, err := l.start(spinners())
	if err != nil {
		return nil, err
	}
	defer stop()
	if _, err := l.latencies(time.Second); err != nil { // warm
		return nil, err
	}
	alone, err := l.latencies(length)
	if err != nil {
		return nil, err
	}
	var group sync.WaitGroup
	end := make(chan struct{})
	for i := range 2 {
		group.Go(func() {
			client := &http.Client{Transport: &http.Transport{}, Timeout: 10 * time.Second}
			for {
				select {
				case <-end:
					return
				default:
				}
				r, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/spin%d/1k", proxyPort, i))
				if err == nil {
					r.Body.Close()
				}
			}
		})
	}
	time.Sleep(time.Second)
	before, err := pauses()
	if err != nil {
		return nil, err
	}
	busy, err := l.latencies(length)
	close(end)
	group.Wait()
	if err != nil {
		return nil, err
	}
	after, err := pauses()
	if err != nil {
		return nil, err
	}
	p99, err := quantile(before, after, 0.99)
	if err != nil {
		return nil, err
	}
	return []row{
		{"p50 of plain exchanges beside two spinning guests, of alone", at(busy, 0.5) / at(alone, 0.5), 2},
		{"p99 of them, ms", at(busy, 0.99) / 1e6, 5},
		{"p99 of pauses for garbage collection meanwhile, ms", p99 * 1000, 1},
	}, nil
}

// compiling measures plain exchanges while the bundled waf, 24 MB, is compiled for
// the first time, and once it is.
func (l *lab) compiling(length time.Duration) ([]row, error) {
	// Under another name: the start does not wait until the waf is ready.
	_, stop, err := l.start(beside("compiling", map[string][]string{"waf": {"- use: waf"}}))
	if err != nil {
		return nil, err
	}
	defer stop()
	if _, err := l.latencies(200 * time.Millisecond); err != nil { // warm
		return nil, err
	}
	busy, err := l.latencies(length)
	if err != nil {
		return nil, err
	}
	if err := waitReady(); err != nil {
		return nil, err
	}
	alone, err := l.latencies(length)
	if err != nil {
		return nil, err
	}
	return []row{{"p99 of plain exchanges while a module of 24 MB is compiled, of alone", at(busy, 0.99) / at(alone, 0.99), 2}}, nil
}

// at returns a quantile of sorted durations, in nanoseconds.
func at(list []time.Duration, q float64) float64 { return float64(list[int(float64(len(list)-1)*q)]) }

// latencies asks the plain Service on one connection, one request in each
// millisecond, and returns how long each took, sorted.
func (l *lab) latencies(length time.Duration) ([]time.Duration, error) {
	client := &http.Client{Transport: &http.Transport{}, Timeout: 10 * time.Second}
	var all []time.Duration
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(length); time.Now().Before(end); {
		<-tick.C
		start := time.Now()
		if err := ask(client, "/plain/1k"); err != nil {
			return nil, err
		}
		all = append(all, time.Since(start))
	}
	slices.Sort(all)
	return all, nil
}

// pauses reads the histogram of garbage collection pauses: upper bound in
// seconds -> cumulative count.
func pauses() (map[float64]float64, error) {
	out, err := exec.Command("curl", "-sf", fmt.Sprintf("http://127.0.0.1:%d/metrics", adminPort)).Output()
	if err != nil {
		return nil, err
	}
	const name = `go_sched_pauses_total_gc_seconds_bucket{le="`
	got := map[float64]float64{}
	s := bufio.NewScanner(strings.NewReader(string(out)))
	for s.Scan() {
		rest, ok := strings.CutPrefix(s.Text(), name)
		if !ok {
			continue
		}
		bound, count, ok := strings.Cut(rest, `"} `)
		if !ok {
			continue
		}
		le, err := strconv.ParseFloat(bound, 64)
		n, err2 := strconv.ParseFloat(count, 64)
		if err != nil || err2 != nil {
			continue
		}
		got[le] = n
	}
	return got, s.Err()
}

// quantile returns the upper bound of the bucket that holds the quantile.
func quantile(before, after map[float64]float64, q float64) (float64, error) {
	bounds := make([]float64, 0, len(after))
	most := 0.0
	for le, n := range after {
		bounds = append(bounds, le)
		most = max(most, n-before[le])
	}
	slices.Sort(bounds)
	if most == 0 {
		return 0, errNoPauses
	}
	for _, le := range bounds {
		if after[le]-before[le] >= q*most {
			return le, nil
		}
	}
	return bounds[len(bounds)-1], nil
}
