package connect

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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

// TestSuite runs the suite's cases; without PENSTOCK_LONG those of two of its six
// ways to compress.
func TestSuite(t *testing.T) {
	dir := build(t)
	for _, tt := range []struct {
		upstream    string
		short, long string // how many cases there are
	}{
		{"h2c", "4598", "13022"},
		{"http1", "3494", "10142"},
	} {
		t.Run(tt.upstream, func(t *testing.T) {
			want := tt.long
			if os.Getenv("PENSTOCK_LONG") == "" {
				want = tt.short
			}
			if got := run(t, dir, tt.upstream); got != want {
				t.Errorf("%s cases ran; want %s", got, want)
			}
		})
	}
}

var (
	total        = regexp.MustCompile(`Total cases: (\d+)`)
	compressions = regexp.MustCompile(`(?m)^  compressions: .*$`)
)

// config returns the path of the suite's settings.
func config(t *testing.T, upstream string) string {
	t.Helper()
	path := "testdata/" + upstream + ".yaml"
	if os.Getenv("PENSTOCK_LONG") != "" {
		return path
	}
	all, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "short.yaml")
	short := compressions.ReplaceAll(all, []byte("  compressions: [COMPRESSION_IDENTITY, COMPRESSION_GZIP]"))
	if err := os.WriteFile(path, short, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// run runs the suite against the proxy, which speaks so to the suite's server, and
// returns how many cases there were.
func run(t *testing.T, dir, upstream string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(ctx, filepath.Join(dir, "connectconformance"), "--mode", "server",
		"--conf", config(t, upstream), "--known-failing", "@testdata/"+upstream+"-known-failures.txt", "--", self)
	c.Env = append(os.Environ(), referenceServer+"="+filepath.Join(dir, "referenceserver"), spoken+"="+upstream)
	out, err := c.CombinedOutput()
	text := string(out)
	if err != nil {
		t.Errorf("%v\n%s", err, text[max(0, len(text)-20000):])
	}
	m := total.FindStringSubmatch(text)
	if m == nil {
		return "no"
	}
	t.Log(text[strings.LastIndex(text, m[0]):])
	return m[1]
}
