// Command bench measures the proxy against nginx, HAProxy and Caddy: one target
// at a time in front of the same origin, the proxy pinned to CPU 0, origin and
// load generator to CPU 1, the order rotated each round, access logs off. The
// figure is CPU time of the proxy process per request, from schedstat; it
// hardly moves with the noise of the machine. A target that gives a bad answer
// has no result. See README.md.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"time"
)

func main() {
	rounds := flag.Int("rounds", 5, "rounds; the median counts")
	seconds := flag.Int("seconds", 4, "seconds of load in a round")
	only := flag.String("only", "", "one workload")
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
		if only != "" && w.name != only {
			continue
		}
		for round := range rounds {
			order := slices.Concat(w.targets[round%len(w.targets):], w.targets[:round%len(w.targets)])
			for _, t := range order {
				s, err := lab.measure(t, w, length)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", w.name, t.name, err)
				}
				fmt.Printf("%-12s %-22s %6.1f µs CPU/request, %7.0f requests/s, p50 %v, p99 %v, bad %d\n", w.name, t.name, s.cpu, s.rate, s.p50, s.p99, s.bad)
				results[w.name+"/"+t.name] = append(results[w.name+"/"+t.name], s)
			}
		}
	}
	memory, err := lab.memory()
	if err != nil {
		return err
	}
	return report(results, memory, rounds, length, write)
}
