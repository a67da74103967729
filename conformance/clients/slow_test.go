package clients

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/harness"
)

// TestSlowClients: while a thousand slow clients hold what they can, everybody else
// is served.
func TestSlowClients(t *testing.T) {
	harness.Long(t)
	p := harness.Start(t, harness.Options{Args: []string{"--access-log", "off"}, Files: map[string]string{
		"gateway.yaml": harness.GatewayFor(1), "a.yaml": harness.Service("a", "", harness.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/a/large" {
				_, _ = w.Write(make([]byte, 1<<20))
				return
			}
			harness.Echo(w, r)
		})),
	}})
	var report strings.Builder
	report.WriteString("| attack (slowhttptest) | requests of others | failed | slowest, ms | resident memory, MiB |\n| --- | --- | --- | --- | --- |\n")
	for _, attack := range []struct {
		name string
		args []string
	}{
		{"slow headers (Slowloris)", []string{"-H", "-i", "2"}},
		{"slow body", []string{"-B", "-i", "2", "-s", "8192", "-t", "POST"}},
		{"overlapping ranges (Apache killer)", []string{"-R", "-a", "10", "-b", "3000"}},
		{"slow reading", []string{"-X", "-w", "10", "-y", "20", "-n", "5", "-z", "32", "-k", "3"}},
	} {
		stop := make(chan struct{})
		var group sync.WaitGroup
		var sent, failed int
		var slowest time.Duration
		group.Go(func() {
			client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
			for {
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
				}
				began := time.Now()
				r, err := client.Get(p.URL + "/a")
				if err == nil {
					_, err = io.Copy(io.Discard, r.Body)
					r.Body.Close()
					if r.StatusCode != http.StatusOK {
						err = fmt.Errorf("%s", r.Status)
					}
				}
				sent++
				if err != nil {
					failed++
					t.Errorf("%s: %v", attack.name, err)
				}
				slowest = max(slowest, time.Since(began))
			}
		})
		path := "/a/large"
		run(t, 3*time.Minute, "slowhttptest", append(attack.args, "-c", "1000", "-r", "500", "-l", "20", "-p", "5", "-o", filepath.Join(t.TempDir(), "out"), "-u", p.URL+path)...)
		close(stop)
		group.Wait()
		if sent < 100 {
			t.Errorf("%s: only %d requests of others", attack.name, sent)
		}
		fmt.Fprintf(&report, "| %s | %d | %d | %d | %d |\n", attack.name, sent, failed, slowest.Milliseconds(), p.Resident())
	}
	t.Logf("\n%s", report.String())
	write(t, "slow.md", "# Slow clients\n\nWritten by `make conformance` (`TestSlowClients`): 1,000 connections of slowhttptest for 20 s each, and others with a new connection for each request.\n\n"+report.String())
}

// write replaces a report.
func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join("..", "reports", name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
