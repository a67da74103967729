package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"penstock.dev/penstock/author/cases"
	"penstock.dev/penstock/core/oci"
)

// benchOptions are those of penstock plugin bench.
type benchOptions struct {
	options
	cases.BenchOptions
	module, name string
	json, cost   bool
}

// benched is what penstock plugin bench says.
type benched struct {
	cases.Compiled
	Cases []*cases.Cost `json:"cases"`
}

func pluginBenchCommand() *cobra.Command {
	var o benchOptions
	c := &cobra.Command{
		Use:   "bench [FOLDER|NAME]",
		Short: "Measure what a plugin's cases take: time, steps, host calls and memory, against its limits",
		Long: "Measure what the cases of a plugin take, on the sandbox and the ABI hosts of the proxy: of a folder, which is built, of\n" +
			"the catalogue by name, or of an image by its reference, if it carries cases.\n\n" +
			"Steps are counted and not timed: the same code, from the same state and with the same input, takes the same steps on\n" +
			"every machine. They are what limits.cpuTime, cpuTimeExchange and cpuTimeStart bound (1,000 to a microsecond). Time is\n" +
			"this machine's. An exchange's time is that from the first filter to the last, without a network.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			all, err := benchPlugin(cmd.Context(), folderOf(args), o)
			if err != nil {
				return err
			}
			if o.cost {
				if err := all.keep(filepath.Join(folderOf(args), costName)); err != nil {
					return err
				}
			}
			if o.json {
				e := json.NewEncoder(cmd.OutOrStdout())
				e.SetIndent("", "  ")
				return e.Encode(all)
			}
			return all.write(cmd.OutOrStdout())
		},
	}
	imagesFlag(c, &o.options)
	registryFlags(c, &o.options)
	f := c.Flags()
	f.StringVar(&o.module, "module", "", "measure this Wasm module with the folder's cases, and build none")
	f.StringVar(&o.name, "run", "", "measure the case of this name only")
	f.IntVar(&o.Count, "count", 0, "rounds of each case; 0: as many as --time allows")
	f.DurationVar(&o.Time, "time", time.Second, "how long each case is measured")
	f.BoolVar(&o.cost, "cost", false, "write the median of the cases to the folder's "+costName+", which goes into the image")
	f.BoolVar(&o.json, "json", false, "write JSON, with the host's functions by name")
	return c
}

func benchPlugin(ctx context.Context, name string, o benchOptions) (*benched, error) {
	if o.Count < 0 || o.Time <= 0 || o.Time > time.Hour {
		return nil, errors.New("--count: want a number from 0, and --time more than 0s and at most 1h")
	}
	s, err := subjectOf(ctx, o.options, name, o.module)
	if err != nil {
		return nil, err
	}
	if len(s.image.Cases) == 0 {
		return nil, fmt.Errorf("%s: there are no cases to measure: a folder has cases.yaml or cases/*.yaml, an image those that it was pushed with", name)
	}
	scratch, err := os.MkdirTemp("", "penstock-plugin")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	compiler, err := compilerCommand()
	if err != nil {
		return nil, err
	}
	bo := cases.Options{Plugin: s.image, CacheDir: compiledCases(scratch), Compiler: compiler, ABIs: caseABIs}
	all := &benched{}
	if all.Compiled, err = cases.Compile(ctx, bo); err != nil {
		return nil, err
	}
	bed, err := cases.New(bo)
	if err != nil {
		return nil, err
	}
	defer func() { _ = bed.Close() }()
	var names []string
	for _, text := range s.image.Cases {
		file, err := cases.Parse(text.Name, text.Text)
		if err != nil {
			return nil, err
		}
		for i := range file.Cases {
			if o.name != "" && file.Cases[i].Name != o.name {
				names = append(names, file.Cases[i].Name)
				continue
			}
			cost, err := bed.Bench(ctx, file, &file.Cases[i], o.BenchOptions)
			if err != nil {
				return nil, fmt.Errorf("%s: case %q: %w", text.Name, file.Cases[i].Name, err)
			}
			all.Cases = append(all.Cases, cost)
		}
	}
	if len(all.Cases) == 0 {
		return nil, noCase(o.name, names)
	}
	return all, nil
}

// keep writes what an exchange and an instance cost: the median of the cases, some of which
// are there for what is rare, as a body of many megabytes or a wait.
func (b *benched) keep(file string) error {
	var times []time.Duration
	var memory []int64
	for _, one := range b.Cases {
		if one.Skipped == "" {
			times = append(times, one.Time)
			memory = append(memory, one.Memory/int64(max(one.Instances, 1))>>10)
		}
	}
	if len(times) == 0 {
		return errors.New("--cost: no case was measured")
	}
	slices.Sort(times)
	slices.Sort(memory)
	c := oci.Cost{
		MicrosecondsPerRequest: math.Round(float64(times[len(times)/2].Nanoseconds())/10) / 100,
		InstanceKiB:            memory[len(memory)/2],
	}
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644) //nolint:gosec // source code
}

func (b *benched) write(out io.Writer) error {
	fmt.Fprintf(out, "module   %d bytes, compiled in %v, from the compile cache in %v\n", b.Bytes, rounded(b.Cold), rounded(b.Warm))
	fmt.Fprintln(out, "steps are counted, not timed: they are the same on every machine (1,000 are 1us of a limit); time is this machine's")
	for _, c := range b.Cases {
		fmt.Fprintf(out, "\n%s\n", c.Case)
		if c.Skipped != "" {
			fmt.Fprintf(out, "  not measured: %s\n", c.Skipped)
			continue
		}
		if err := writeCost(out, c); err != nil {
			return err
		}
	}
	return nil
}

func writeCost(out io.Writer, c *cases.Cost) error {
	fmt.Fprintf(out, "  start     %v, %d steps: %s of limits.cpuTimeStart\n", rounded(c.Start), c.StartSteps, share(c.StartSteps, c.StartLimitSteps))
	one := c.Memory / int64(max(c.Instances, 1))
	fmt.Fprintf(out, "  memory    %d KiB of an instance: %s of limits.memory\n", one>>10, share(one, c.MemoryLimit))
	fmt.Fprintf(out, "  exchange  %v, %d steps (most %d: %s of limits.cpuTimeExchange), %d host calls; %d exchanges\n",
		rounded(c.Time), c.Steps, c.MostSteps, share(c.MostSteps, c.LimitSteps), c.HostCalls, c.Exchanges)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, f := range c.Callbacks {
		fmt.Fprintf(w, "    %s\t%.3gx\t%v\t%d steps\tmost %d: %s of limits.cpuTime\n", f.Function, f.Calls, rounded(f.Time), f.Steps, f.MostSteps, share(f.MostSteps, c.CallLimitSteps))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if c.Differs > 0 {
		fmt.Fprintf(out, "  of %d exchanges %d ended in another way than in the first round: the plugin keeps something from one to the next\n", c.Exchanges, c.Differs)
	}
	return nil
}

// rounded has three digits that count.
func rounded(d time.Duration) time.Duration {
	unit := time.Duration(1)
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit)
}

// share is a part of a limit in per cent.
func share(part, limit int64) string {
	if limit <= 0 {
		return "-"
	}
	p := 100 * float64(part) / float64(limit)
	if p >= 10 {
		return fmt.Sprintf("%.0f %%", p)
	}
	return fmt.Sprintf("%.2g %%", p)
}
