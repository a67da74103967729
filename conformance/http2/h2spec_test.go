package http2

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/harness"
)

// start runs the binary with a route for all paths to an upstream that echoes.
func start(t *testing.T) *harness.Proxy {
	t.Helper()
	return startWith(t, map[string]string{"gateway.yaml": harness.GatewayFor(1)})
}

func startWith(t *testing.T, files map[string]string) *harness.Proxy {
	t.Helper()
	port := harness.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		harness.Echo(w, r)
		w.Header().Set("X-Sum", r.Trailer.Get("X-Sum")+"!")
		_, _ = io.WriteString(w, "an answer that is longer than a window of one byte\n")
	})
	service := strings.Replace(harness.Service("a", "", port), "value: /a", "value: /", 1)
	files["a.yaml"] = service
	return harness.Start(t, harness.Options{Files: files})
}

// report is what h2spec writes with -j.
type report struct {
	Suites []struct {
		Name  string `xml:"name,attr"`
		Cases []struct {
			Package string `xml:"package,attr"`
			Name    string `xml:"classname,attr"`
			Failure *struct {
				Text string `xml:",innerxml"`
			} `xml:"failure"`
			Error *struct {
				Text string `xml:",innerxml"`
			} `xml:"error"`
			Skipped *struct{} `xml:"skipped"`
		} `xml:"testcase"`
	} `xml:"testsuite"`
}

// cases is how many h2spec 2.2.1 has, with the strict one.
const cases = 146

// TestH2spec runs every case, without TLS and with it. Those that fail for a reason
// are listed in testdata/known-failures.txt, by the way they are run; one that is
// listed and passes is an error too.
func TestH2spec(t *testing.T) {
	tool := filepath.Join(t.TempDir(), "h2spec")
	build := exec.Command("go", "build", "-o", tool, "github.com/summerwind/h2spec/cmd/h2spec")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Run("h2c", func(t *testing.T) { h2spec(t, tool, start(t), "h2c") })
	t.Run("TLS", func(t *testing.T) {
		secret, _ := harness.Secret(t, "edge", "a.example")
		h2spec(t, tool, startWith(t, map[string]string{"gateway.yaml": harness.SecureGateway(1), "edge.yaml": secret}), "tls", "-t", "-k")
	})
}

func h2spec(t *testing.T, tool string, p *harness.Proxy, way string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	file := filepath.Join(t.TempDir(), "report.xml")
	out, err := exec.CommandContext(ctx, tool, append(args, "-S", "-h", "127.0.0.1", "-p", fmt.Sprint(p.Port), "-j", file)...).CombinedOutput()
	text, readErr := os.ReadFile(file)
	if readErr != nil {
		t.Fatalf("%v, %v\n%s", err, readErr, out)
	}
	var r report
	if err := xml.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	known := harness.KnownFailures(t)
	total, failed := 0, 0
	for _, s := range r.Suites {
		for _, c := range s.Cases {
			total++
			id := way + ": " + c.Package + ": " + c.Name
			bad := c.Failure != nil || c.Error != nil || c.Skipped != nil
			_, listed := known[id]
			delete(known, id)
			if bad {
				failed++
			}
			switch {
			case bad && !listed:
				t.Errorf("%s: failed: %v %v", id, c.Failure, c.Error)
			case !bad && listed:
				t.Errorf("%s: passes, and is listed as a known failure", id)
			}
		}
	}
	for id := range known {
		if !strings.HasPrefix(id, way) {
			continue
		}
		t.Errorf("%s: listed as a known failure, but there is no such case", id)
	}
	if total != cases {
		t.Errorf("%d cases ran; want %d", total, cases)
	}
	t.Logf("%d of %d cases pass", total-failed, total)
}
