package main

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
)

// The trace: so many objects of 1 KiB, asked for by Zipf's law, through a cache that may
// hold a twentieth of their bytes.
const (
	zipfObjects  = 1_000_000
	zipfRequests = 600_000
	zipfWarm     = 400_000 // that come before those that count
	zipfBudget   = zipfObjects * 1024 / 20
	zipfClients  = 16
	zipfPort     = 29004
)

// zipf returns the hit ratio of each cache on the same trace, ours over theirs.
func (l *lab) zipf() ([]row, error) {
	var asked atomic.Int64
	body := []byte(strings.Repeat("x", 1024))
	origin := &http.Server{Addr: fmt.Sprintf("127.0.0.1:%d", zipfPort), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { //nolint:gosec // on loopback, for this run
		asked.Add(1)
		w.Header().Set("Cache-Control", "max-age=36000")
		_, _ = w.Write(body)
	})}
	go func() { _ = origin.ListenAndServe() }()
	defer origin.Close()
	if err := waitPort(zipfPort); err != nil {
		return nil, err
	}
	ratios := map[string]float64{}
	for _, t := range []target{zipfPenstock(), zipfVarnish(), zipfNginx()} {
		ratio, err := l.hitRatio(t, &asked)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.name, err)
		}
		fmt.Printf("zipf: %s: hit ratio %.4f\n", t.name, ratio)
		ratios[t.name] = ratio
	}
	return []row{
		{"hit ratio on a Zipf trace, Varnish's of ours", ratios["Varnish"] / ratios["penstock"], 1},
		{"the same, nginx's of ours", ratios["nginx"] / ratios["penstock"], 1},
	}, nil
}

func zipfPenstock() target {
	t := edge("penstock", setup{listener: plainListener, routes: 1, plugins: cacheEntry, behind: zipfPort})
	t.command = append(t.command, "--cache-memory", fmt.Sprint(zipfBudget))
	return t
}

func zipfVarnish() target {
	t := varnish()
	for i, a := range t.command {
		t.command[i] = strings.NewReplacer(fmt.Sprint(originPort), fmt.Sprint(zipfPort), "malloc,256m", fmt.Sprintf("malloc,%d", zipfBudget)).Replace(a)
	}
	return t
}

func zipfNginx() target {
	t := nginxCache("")
	text := t.files["nginx.conf"]
	text = strings.ReplaceAll(text, fmt.Sprint(originPort), fmt.Sprint(zipfPort))
	// Its manager looks every ten seconds by default, and drops a hundred files at once: it
	// would hold a multiple of its budget.
	t.files["nginx.conf"] = strings.Replace(text, "max_size=4g", fmt.Sprintf("max_size=%d manager_files=100000 manager_sleep=20ms manager_threshold=1s", zipfBudget), 1)
	return t
}

// hitRatio plays the trace and returns the part of its requests that the origin did not
// see.
func (l *lab) hitRatio(t target, asked *atomic.Int64) (float64, error) {
	if err := portFree(proxyPort); err != nil {
		return 0, err
	}
	t.cpus = "0,1"
	_, stop, err := l.start(t)
	if err != nil {
		return 0, err
	}
	defer stop()
	if err := play(1, zipfWarm); err != nil {
		return 0, err
	}
	before := asked.Load()
	if err := play(2, zipfRequests); err != nil {
		return 0, err
	}
	return 1 - float64(asked.Load()-before)/zipfRequests, nil
}

// weights are the sums of 1/rank.
var weights = sync.OnceValue(func() []float64 {
	sums, sum := make([]float64, zipfObjects), 0.0
	for i := range sums {
		sum += 1 / float64(i+1)
		sums[i] = sum
	}
	return sums
})

// play sends n requests by a seed's order.
func play(seed uint64, n int) error {
	sums := weights()
	var group sync.WaitGroup
	var failed atomic.Pointer[error]
	for c := range zipfClients {
		group.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(c))) //nolint:gosec // a trace, no secret
			err := asks(n/zipfClients, func() int {
				return sort.SearchFloat64s(sums, random.Float64()*sums[len(sums)-1])
			})
			if err != nil {
				failed.Store(&err)
			}
		})
	}
	group.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// asks sends n requests over one connection, each for what next says.
func asks(n int, next func() int) error {
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", proxyPort))
	if err != nil {
		return err
	}
	defer c.Close()
	in := bufio.NewReaderSize(c, 16<<10)
	for range n {
		if _, err := fmt.Fprintf(c, "GET /z/%d HTTP/1.1\r\nHost: a.example\r\n\r\n", next()); err != nil {
			return err
		}
		r, err := http.ReadResponse(in, nil)
		if err != nil {
			return err
		}
		size, err := io.Copy(io.Discard, r.Body)
		r.Body.Close()
		if err != nil || r.StatusCode != http.StatusOK || size != 1024 {
			return fmt.Errorf("%s, %d bytes, %w", r.Status, size, err)
		}
	}
	return nil
}
