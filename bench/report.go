package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// goal is a target of the project: a median compared with another's.
type goal struct {
	text         string
	workload, of string
	over         string
	limit        float64
	difference   bool // of - over in µs, of a paired workload of each pair; not of / over
}

func goals() []goal {
	return slices.Concat(wireGoals(), cacheGoals(), hotGoals(), compressGoals(), wafGoals(), []goal{
		{"proxy 1 KiB, of Caddy", "1k", "penstock", "Caddy", 0.30, false},
		{"key-auth and transform add, µs", "plugins", "penstock, 2 plugins", "penstock", 12, true},
		{"1,000 routes, of 1", "routes", "penstock, 1,000 routes", "penstock", 1.05, false},
		{"header plugin in C adds, µs", "guests", "penstock, C", "penstock", 2, true},
		{"header plugin in Go adds, µs", "guests", "penstock, Go", "penstock", 4.5, true},
		{"header plugin in AssemblyScript adds, µs", "guests", "penstock, AssemblyScript", "penstock", 12, true},
		{"header plugin for http-wasm adds, µs", "guests", "penstock, http-wasm", "penstock", 3, true},
	})
}

// report writes the tables as Markdown.
func report(results map[string][]sample, rows []row, rounds int, length time.Duration, file string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# Benchmark\n\nWritten by `make bench`: %d rounds of %v, medians; the proxy on one CPU, load and origin on another. Ratios hold, absolute figures are this machine's.\n\n", rounds, length)
	b.WriteString("| goal | measured | wanted | |\n| --- | --- | --- | --- |\n")
	for _, g := range goals() {
		of, over := median(results[g.workload+"/"+g.of]), median(results[g.workload+"/"+g.over])
		if of.cpu == 0 || over.cpu == 0 {
			continue
		}
		got := of.cpu / over.cpu
		if g.difference {
			got = of.cpu - over.cpu
			if a := added(results[g.workload+"/"+g.of]); a != 0 {
				got = a
			}
		}
		fmt.Fprintf(&b, "| %s | %.2f | <= %.2f | %s |\n", g.text, got, g.limit, verdict(got <= g.limit))
	}
	one, five := added(results["guests/penstock, C"]), added(results["guests/penstock, 5 of C"])
	if one > 0 && five > 0 && median(results["guests/penstock"]).cpu > 0 {
		rows = append(rows, row{"five header plugins add, of one", five / one, 4.5})
	}
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %.2f | <= %.2f | %s |\n", r.text, r.got, r.limit, verdict(r.got <= r.limit))
	}
	b.WriteString("\n| workload | target | CPU µs a request | requests/s | p50 | p99 | most memory MiB | bad answers |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, w := range workloads() {
		for _, t := range w.targets {
			list := results[w.name+"/"+t.name]
			if len(list) == 0 {
				continue
			}
			m := median(list)
			bad := 0
			for _, s := range list {
				bad += s.bad
			}
			fmt.Fprintf(&b, "| %s | %s | %.1f | %.0f | %s | %s | %d | %d |\n", w.name, t.name, m.cpu, m.rate, m.p50, m.p99, m.rss, bad)
		}
	}
	fmt.Print("\n", b.String())
	return os.WriteFile(file, []byte(b.String()), 0o644)
}

func verdict(ok bool) string {
	if ok {
		return "met"
	}
	return "**not met**"
}

// middle returns the median of a list.
func middle(list []float64) float64 {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[len(sorted)/2]
}

// added returns the median of what samples of a paired workload have more than the first
// target's beside them; 0: there are none, or bad answers.
func added(list []sample) float64 {
	if median(list).cpu == 0 {
		return 0
	}
	var all []float64
	for _, s := range list {
		all = append(all, s.added)
	}
	return middle(all)
}

// median returns the sample whose CPU time is in the middle; a target with bad
// answers has none.
func median(list []sample) sample {
	if len(list) == 0 || slices.ContainsFunc(list, func(s sample) bool { return s.bad > 0 }) {
		return sample{}
	}
	sorted := slices.SortedFunc(slices.Values(list), func(a, b sample) int { return cmp.Compare(a.cpu, b.cpu) })
	return sorted[len(sorted)/2]
}
