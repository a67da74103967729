package hostile

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/harness"
)

// harms are what guests do, where, and what the client may see of it: 0 stands
// for no answer at all.
var harms = map[string][]int{
	"request spin": {500}, "request recurse": {500}, "request grow": {500}, "request one-allocation": {500}, "request trap": {500}, "request divide": {500},
	"request nil-call": {500}, "request exit": {500}, "request goroutines": {500}, "request sleep": {500}, "request random": {500}, "request clock": {500}, "request read": {500},
	"request files": {200}, "request network": {200}, "request environment": {200},
	"request log": {200, 500}, "request log-long": {200, 500}, "request metrics": {200, 500}, "request shared-keys": {200, 500}, "request shared-bytes": {200, 500},
	"request queues": {200, 500}, "request queue-items": {200, 500}, "request queue-bytes": {200, 500},
	"request headers": {200, 431, 500}, "request header-long": {200}, "request headers-bytes": {200, 431, 502}, "request framing": {200}, "request pseudo": {200},
	"request local-status": {200}, "request local-body": {200, 500}, "request local-headers": {200}, "request calls": {200, 500}, "request calls-elsewhere": {200},
	"request properties": {200, 500}, "request properties-bytes": {200, 500}, "request contexts": {200}, "request foreign": {200, 500}, "request consumer": {200},
	"request unzip": {500}, "request verify": {200, 500}, "request resume": {200, 500}, "request pause": {0},
	"body spin": {500}, "body amplify": {200, 413, 500}, "body pause": {0}, "body trap": {500},
	"response spin": {500}, "response trap": {500}, "response status": {200}, "response response-headers": {200, 500},
	"responsebody spin": {500, 502, 0}, "responsebody amplify-response": {200, 500, 502}, "responsebody trap": {500, 502, 0},
	"done spin": {200}, "done trap": {200}, "tick spin": {200, 500}, "tick trap": {200, 500}, "tick grow": {200, 500}, "tick calls": {200, 500},
	"queue spin": {200, 500}, "queue trap": {200, 500}, "answer spin": {500}, "answer trap": {500}, "answer exit": {500},
}

// neighbour asks a Service all the time and notes how it goes.
type neighbour struct {
	url     string
	stop    chan struct{}
	group   sync.WaitGroup
	asked   atomic.Int64
	failed  atomic.Int64
	mu      sync.Mutex
	slowest time.Duration
}

func (n *neighbour) run() {
	client := &http.Client{Transport: &http.Transport{}, Timeout: 10 * time.Second}
	for {
		select {
		case <-n.stop:
			return
		default:
		}
		start := time.Now()
		r, err := client.Get(n.url)
		if err == nil {
			_, _ = io.Copy(io.Discard, r.Body)
			r.Body.Close()
		}
		took := time.Since(start)
		n.asked.Add(1)
		if err != nil || r.StatusCode != 200 {
			n.failed.Add(1)
		}
		n.mu.Lock()
		n.slowest = max(n.slowest, took)
		n.mu.Unlock()
	}
}

// turn returns the slowest answer since the last turn.
func (n *neighbour) turn() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.slowest
	n.slowest = 0
	return s
}

// TestTable runs every kind of harm, one after another, beside a neighbour that
// must not notice. PENSTOCK_REPORT names a file for the table.
func TestTable(t *testing.T) {
	layout := t.TempDir()
	harness.Pack(t, layout, "harm", harness.Guest(t, "guests/harm"))
	upstream := harness.Upstream(t, harness.Echo)
	files := map[string]string{"gateway.yaml": harness.GatewayFor(1), "good.yaml": harness.Service("good", "", upstream), "plugin.yaml": `
apiVersion: penstock.dev/v1alpha1
kind: Plugin
metadata: {name: harm}
spec:
  versions: [{name: "1", image: "test.example/plugins/harm:1"}]
  capabilities: [http-call]
`}
	var names []string
	for name := range harms {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		files[fmt.Sprintf("harm%d.yaml", i)] = harness.Service(fmt.Sprintf("harm%d", i), "- use: harm\n  config: "+name+"\n  limits: {memory: 32Mi}", upstream)
	}
	p := harness.Start(t, harness.Options{Files: files, Images: []string{layout}, Args: []string{"--access-log", "off"}})
	for i := range names {
		target := fmt.Sprintf("Service/default/harm%d", i)
		p.Eventually(target, func() bool { return p.Chain(target).State == "Running" })
	}
	n := &neighbour{url: p.URL + "/good", stop: make(chan struct{})}
	n.group.Go(n.run)
	rows := []string{"| harm | client saw | neighbour's slowest answer | memory before, after (MiB) |", "| --- | --- | --- | --- |"}
	for i, name := range names {
		n.turn()
		before := p.Resident()
		statuses := harm(t, p.URL+fmt.Sprintf("/harm%d", i), name)
		after := p.Resident()
		rows = append(rows, fmt.Sprintf("| %s | %s | %v | %d, %d |", name, strings.Trim(fmt.Sprint(statuses), "[]"), n.turn().Round(100*time.Microsecond), before, after))
		for _, s := range statuses {
			if !slices.Contains(harms[name], s) {
				t.Errorf("%s: the client saw %d; want one of %v", name, s, harms[name])
			}
		}
	}
	close(n.stop)
	n.group.Wait()
	t.Logf("%d kinds of harm; the neighbour asked %d times, %d failed\n%s", len(names), n.asked.Load(), n.failed.Load(), strings.Join(rows, "\n"))
	if n.failed.Load() > 0 {
		t.Errorf("%d of the neighbour's %d requests failed", n.failed.Load(), n.asked.Load())
	}
	if file := os.Getenv("PENSTOCK_REPORT"); file != "" {
		if err := os.WriteFile(file, []byte(strings.Join(rows, "\n")+"\n"), 0o600); err != nil {
			t.Error(err)
		}
	}
}

// harm sends three harmful requests, and returns what came back.
func harm(t *testing.T, url, name string) (statuses []int) {
	t.Helper()
	timeout := 10 * time.Second
	if strings.HasSuffix(name, "pause") { // nobody answers: the client gives up
		timeout = 300 * time.Millisecond
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: timeout}
	for range 3 {
		r, err := http.NewRequest("POST", url, strings.NewReader("a body"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Harm", "1")
		response, err := client.Do(r)
		if err != nil {
			statuses = append(statuses, 0)
			continue
		}
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			statuses = append(statuses, 0)
		} else {
			statuses = append(statuses, response.StatusCode)
		}
		response.Body.Close()
		for h := range response.Header {
			if h == "X-Got-X-Stolen" || h == "X-Got-X-Injected" {
				t.Errorf("%s: a field came through: %s", name, h)
			}
		}
		time.Sleep(20 * time.Millisecond) // for a new instance
	}
	return statuses
}
