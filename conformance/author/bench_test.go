package author

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"penstock.dev/penstock/conformance/harness"
)

// TestBench: what is measured of each case, and that steps are the same each time.
func TestBench(t *testing.T) {
	dir, module := guest(t)
	cases := filepath.Join(dir, "cases.yaml")
	if out, err := exec.Command("cp", "testdata/good.yaml", cases).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	type cost struct {
		Case, Skipped                                            string
		Exchanges                                                int
		NsPerExchange, StepsPerExchange, MostSteps, LimitSteps   int64
		HostCallsPerExchange, MemoryBytes, StartSteps, Instances int64
		Callbacks                                                []struct{ Function string }
		HostFunctions                                            map[string]int64
	}
	run := func() (all struct {
		Bytes, CompileNs, LoadNs int64
		Cases                    []cost
	}) {
		t.Helper()
		out, err := exec.Command(harness.Binary(t), "plugin", "bench", dir, "--module", module, "--count", "20", "--json").Output()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if err := json.Unmarshal(out, &all); err != nil {
			t.Fatal(err)
		}
		return all
	}
	first, second := run(), run()
	if first.Bytes == 0 || first.CompileNs <= first.LoadNs || first.LoadNs == 0 {
		t.Errorf("got %d bytes, compiled in %d ns, loaded in %d ns", first.Bytes, first.CompileNs, first.LoadNs)
	}
	measured := 0
	for i, c := range first.Cases {
		if c.Skipped != "" {
			if c.Skipped != "it has no exchange" && c.Skipped != "the plugin fails in it" {
				t.Errorf("%s: %s", c.Case, c.Skipped)
			}
			continue
		}
		measured++
		if c.Exchanges < 20 || c.NsPerExchange <= 0 || c.StepsPerExchange <= 0 || c.MostSteps < c.StepsPerExchange || c.LimitSteps <= 0 ||
			c.MemoryBytes <= 0 || c.StartSteps <= 0 || c.Instances < 1 || len(c.Callbacks) == 0 {
			t.Errorf("%s: got %+v", c.Case, c)
		}
		// A guest in Go has timers and a collector of its own, which a case that waits may meet
		// earlier or later.
		if s := second.Cases[i]; max(s.StepsPerExchange, c.StepsPerExchange)*100 > min(s.StepsPerExchange, c.StepsPerExchange)*103 || s.HostCallsPerExchange != c.HostCallsPerExchange {
			t.Errorf("%s: another run takes %d steps, %d calls; the first %d, %d", c.Case, s.StepsPerExchange, s.HostCallsPerExchange, c.StepsPerExchange, c.HostCallsPerExchange)
		}
	}
	if out, err := exec.Command(harness.Binary(t), "plugin", "bench", dir, "--module", module, "--count", "20", "--run", "a request passes as it is", "--cost").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	layout := t.TempDir()
	harness.Pack(t, layout, "costly", module, "--cost", filepath.Join(dir, "cost.json"), "--cases", cases)
	out, err := exec.Command(harness.Binary(t), "plugin", "show", "test.example/plugins/costly:1", "--images", layout).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "us for a request and") || !strings.Contains(string(out), "a request passes as it is; ") ||
		!strings.Contains(string(out), "- image: test.example/plugins/costly:1@sha256:") {
		t.Errorf("show: %v: %s", err, out)
	}
	if measured < 10 {
		t.Errorf("%d cases were measured", measured)
	}
	for want, args := range map[string][]string{
		"there are no cases to measure":        {t.TempDir(), "--module", module},
		`no case is called "nobody"`:           {dir, "--module", module, "--run", "nobody"},
		"--time more than 0s and at most 1h":   {dir, "--module", module, "--time", "0s"},
		"is no folder, no bundled plugin and ": {"nobody"},
	} {
		out, err := exec.Command(harness.Binary(t), append([]string{"plugin", "bench"}, args...)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%q: got %s, %v; want %s", args, out, err, want)
		}
	}
}
