// Command bench measures the proxy against nginx, HAProxy and Caddy: one target
// at a time in front of the same origin, the proxy pinned to CPU 0, origin and
// load generator to CPU 1, the order rotated each round, access logs off; where
// what one adds to another is asked, that other one runs before and after it. The
// figure is CPU time of the proxy process per request, from schedstat; it moves less
// with the noise of the machine than times do. A target that gives a bad answer
// has no result. See README.md.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

func main() {
	rounds := flag.Int("rounds", 5, "rounds; the median counts")
	seconds := flag.Int("seconds", 4, "seconds of load in a round")
	only := flag.String("only", "", "workloads, with commas between them, or cache for all of the cache's, or memory, idle, half, spin, compile, tenants, crowd, zipf")
	write := flag.String("o", "results.md", "file for the table")
	flag.Parse()
	if err := bench(*rounds, time.Duration(*seconds)*time.Second, *only, *write); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(rounds int, length time.Duration, only, write string) error {
	lab, err := newLab()
	if err != nil {
		return err
	}
	defer lab.close()
	results := map[string][]sample{}
	for _, w := range workloads() {
		if !chosen(only, w.name, w.cache) {
			continue
		}
		for round := range rounds {
			order, samples := w.order(round), []sample(nil)
			for _, t := range order {
				s, err := lab.measure(t, w, length)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", w.name, t.name, err)
				}
				fmt.Printf("%-12s %-22s %6.1f µs CPU/request, %7.0f requests/s, p50 %v, p99 %v, bad %d\n", w.name, t.name, s.cpu, s.rate, s.p50, s.p99, s.bad)
				samples = append(samples, s)
			}
			for i, t := range order {
				if w.paired && i%2 == 1 {
					samples[i].added = samples[i].cpu - (samples[i-1].cpu+samples[i+1].cpu)/2
				}
				results[w.name+"/"+t.name] = append(results[w.name+"/"+t.name], samples[i])
			}
		}
	}
	rows, err := lab.figures(only, rounds, length)
	if err != nil {
		return err
	}
	return report(results, rows, rounds, length, write)
}

// order returns a round's targets, others first than in the last round; of a paired
// workload with the first target before and after each other one.
func (w workload) order(round int) []target {
	first, rest := w.targets[:1], w.targets[1:]
	if !w.paired {
		first, rest = nil, w.targets
	}
	order := slices.Clone(first)
	for i := range rest {
		order = append(append(order, rest[(round+i)%len(rest)]), first...)
	}
	return order
}

// chosen reports whether -only asks for it: by its name, or as one of the cache's.
func chosen(only, name string, cache bool) bool {
	names := strings.Split(only, ",")
	return only == "" || slices.Contains(names, name) || slices.Contains(names, "cache") && cache
}

// figures are what is no load of a workload: memory, and neighbours.
func (l *lab) figures(only string, rounds int, length time.Duration) ([]row, error) {
	var rows []row
	for _, f := range []struct {
		name    string
		measure func() ([]row, error)
	}{
		{"memory", l.memory},
		{"idle", l.idling},
		{"half", func() ([]row, error) { return l.atHalf(rounds, length) }},
		{"spin", func() ([]row, error) { return l.spinning(2 * length) }},
		{"compile", func() ([]row, error) { return l.compiling(6 * time.Second) }},
		{"tenants", l.tenancy},
		{"crowd", l.crowd},
		{"zipf", l.zipf},
	} {
		if !chosen(only, f.name, f.name == "crowd" || f.name == "zipf") {
			continue
		}
		more, err := f.measure()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		for _, r := range more {
			fmt.Printf("%-12s %s: %.2f\n", f.name, r.text, r.got)
		}
		rows = append(rows, more...)
	}
	return rows, nil
}
