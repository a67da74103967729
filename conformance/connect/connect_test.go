package connect

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// build makes the suite's programs and returns their folder.
func build(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	c := exec.Command("go", "build", "-C", "suite", "-o", dir+"/", "tool")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir
}

func TestSuite(t *testing.T) {
	dir := build(t)
	for _, upstream := range []string{"h2c", "http1"} {
		t.Run(upstream, func(t *testing.T) { run(t, dir, upstream) })
	}
}

var total = regexp.MustCompile(`Total cases: (\d+)`)

// run runs the suite's cases against the proxy, which speaks so to the suite's
// server.
func run(t *testing.T, dir, upstream string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	known := "testdata/" + upstream + "-known-failures.txt"
	c := exec.CommandContext(ctx, filepath.Join(dir, "connectconformance"), "--mode", "server", "--conf", "testdata/"+upstream+".yaml", "--known-failing", "@"+known, "--", self)
	c.Env = append(os.Environ(), referenceServer+"="+filepath.Join(dir, "referenceserver"), spoken+"="+upstream)
	out, err := c.CombinedOutput()
	text := string(out)
	if err != nil {
		t.Errorf("%v\n%s", err, text[max(0, len(text)-2000000):])
	}
	n := 0
	if m := total.FindStringSubmatch(text); m != nil {
		n, _ = strconv.Atoi(m[1])
	}
	if n < 1000 {
		t.Errorf("only %d cases ran", n)
	}
	t.Log(text[strings.LastIndex(text, "Total cases"):])
}
