package soak

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/harness"
)

// What a version of the swapped plugin does.
type kind int

const (
	healthy kind = iota
	crashesAtStart
	crashesAtTenth // and at each call from then on, whatever instance it is
)

// swapped is a Proxy-Wasm module that puts its version into X-Version of the response.
func swapped(version string, k kind) []byte {
	const (
		name, value  = 16, 32 // places in memory
		at, size     = 64, 68
		cas          = 72
		unreachable  = 0x00
		constant     = 0x41
		call, drop   = 0x10, 0x1a
		ifOp, end    = 0x04, 0x0b
		void         = 0x40
		i32Eqz       = 0x45
		globalGet    = 0x23
		globalSet    = 0x24
		add, greater = 0x6a, 0x4d // greater: unsigned less or equal, with the sides swapped
	)
	i32, code, data := harness.I32, harness.Code, harness.Data
	key := bytes.Join([][]byte{i32(value), i32(len(version))}, nil)
	request := code(i32(0))
	configure := code(i32(1))
	switch k {
	case crashesAtStart:
		configure = code([]byte{unreachable})
	case crashesAtTenth: // shared data outlives the instance
		request = code(
			key, i32(at), i32(size), i32(cas), []byte{call, 1, i32Eqz, ifOp, void, unreachable, end},
			[]byte{globalGet, 0}, i32(1), []byte{add, globalSet, 0},
			i32(10), []byte{globalGet, 0, greater, ifOp, void}, key, key, i32(0), []byte{call, 2, drop, unreachable, end},
			i32(0))
	}
	response := code(i32(2), i32(name), i32(len("x-version")), key, []byte{call, 0, drop}, i32(0))
	five := []byte{0x60, 5, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 1, 0x7f}
	return harness.Module{
		1: harness.Vector([]byte{0x60, 0, 0}, []byte{0x60, 1, 0x7f, 1, 0x7f}, five, []byte{0x60, 3, 0x7f, 0x7f, 0x7f, 1, 0x7f}, []byte{0x60, 2, 0x7f, 0x7f, 1, 0x7f}),
		2: harness.Vector(harness.Import("proxy_add_header_map_value", 2), harness.Import("proxy_get_shared_data", 2), harness.Import("proxy_set_shared_data", 2)),
		3: harness.Vector([]byte{0}, []byte{1}, []byte{3}, []byte{3}, []byte{4}),
		5: {1, 0, 1},
		6: {1, 0x7f, 1, constant, 0, end},
		7: harness.Vector(harness.Export("proxy_abi_version_0_2_1", 0, 3), harness.Export("malloc", 0, 4), harness.Export("proxy_on_request_headers", 0, 5),
			harness.Export("proxy_on_response_headers", 0, 6), harness.Export("proxy_on_configure", 0, 7), harness.Export("memory", 2, 0)),
		10: harness.Vector(harness.Body(), code(i32(4096)), request, response, configure),
		11: harness.Vector(data(name, "x-version"), data(value, version)),
	}.Bytes()
}

// TestSwap rolls out a new digest again and again while requests run: one in
// five crashes at its start, one in five from its tenth call on. No request may
// fail where the filters are healthy, or onError is skip, and elsewhere only
// until the roll-back. PENSTOCK_SOAK is how long: then a digest in 5 seconds;
// default 15 seconds, and one each second.
func TestSwap(t *testing.T) {
	step := 5 * time.Second
	length, err := time.ParseDuration(os.Getenv("PENSTOCK_SOAK"))
	if err != nil {
		length, step = 15*time.Second, time.Second
	}
	upstream := harness.Upstream(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) })
	layout := t.TempDir()
	packModule(t, layout, "swap:0", swapped("v0", healthy))
	entry := func(version int, onError string) string {
		return fmt.Sprintf("- {name: x, image: \"test.example/plugins/swap:%d\", onError: %s}", version, onError)
	}
	p := harness.Start(t, harness.Options{
		Files: map[string]string{
			"gateway.yaml": harness.GatewayFor(1),
			"plain.yaml":   harness.Service("plain", "", upstream),
			"healthy.yaml": harness.Service("healthy", entry(0, "reject"), upstream),
			"skip.yaml":    harness.Service("skip", entry(0, "skip"), upstream),
			"reject.yaml":  harness.Service("reject", entry(0, "reject"), upstream),
		},
		Images: []string{layout},
		Args:   []string{"--access-log", "off", "--log-level", "error"},
	})
	services := []string{"plain", "healthy", "skip", "reject"}
	p.Eventually("all run", func() bool {
		for _, s := range services[1:] {
			if p.Chain("Service/default/"+s).State != "Running" {
				return false
			}
		}
		return true
	})
	loads := map[string]*swapLoad{}
	stop := make(chan struct{})
	var group sync.WaitGroup
	for _, s := range services {
		l := &swapLoad{url: p.URL + "/" + s, stop: stop, seen: map[string]bool{}}
		loads[s] = l
		for range 2 {
			group.Go(l.run)
		}
	}
	var memory []int
	bad := 0
	end := time.Now().Add(length)
	for i := 1; time.Now().Before(end); i++ {
		k := [5]kind{healthy, healthy, crashesAtStart, healthy, crashesAtTenth}[i%5]
		packModule(t, layout, fmt.Sprintf("swap:%d", i), swapped(fmt.Sprintf("v%d", i), k))
		if k == healthy {
			p.Write("healthy.yaml", harness.Service("healthy", entry(i, "reject"), upstream))
		}
		p.Write("skip.yaml", harness.Service("skip", entry(i, "skip"), upstream))
		p.Write("reject.yaml", harness.Service("reject", entry(i, "reject"), upstream))
		time.Sleep(step)
		if k == crashesAtTenth {
			bad++
			p.Eventually("the roll-back", func() bool { return rollBacks(p, "skip") == bad && rollBacks(p, "reject") == bad })
		}
		memory = append(memory, p.Resident())
	}
	close(stop)
	group.Wait()
	for _, s := range services {
		l := loads[s]
		t.Logf("%s: %d requests, %d failed, %d versions seen", s, l.sent.Load(), l.failed.Load(), len(l.seen))
		if s != "reject" && l.failed.Load() != 0 {
			t.Errorf("%s: %d requests failed; want none", s, l.failed.Load())
		}
		if l.sent.Load() < int64(length/time.Second) {
			t.Errorf("%s: only %d requests", s, l.sent.Load())
		}
	}
	if l := loads["reject"]; bad > 0 && l.failed.Load() == 0 || l.failed.Load() > int64(bad)*100 {
		t.Errorf("reject: %d requests failed in %d bad roll-outs; want some, until each roll-back", l.failed.Load(), bad)
	}
	t.Logf("%d roll-outs, %d of them rolled back; resident memory in MiB: first %d, middle %d, last %d, most %d",
		len(memory), bad, memory[0], memory[len(memory)/2], memory[len(memory)-1], most(memory))
	third := len(memory) / 3
	if third > 30 && most(memory[2*third:]) > most(memory[third:2*third])*11/10+8 {
		t.Errorf("resident memory grows: %v", memory)
	}
}

// swapLoad asks one Service all the time.
type swapLoad struct {
	url          string
	stop         <-chan struct{}
	sent, failed atomic.Int64

	mu   sync.Mutex
	seen map[string]bool // versions that answered
}

func (l *swapLoad) run() {
	client := &http.Client{Transport: &http.Transport{}, Timeout: 20 * time.Second}
	defer client.CloseIdleConnections()
	for {
		select {
		case <-l.stop:
			return
		default:
		}
		l.sent.Add(1)
		r, err := client.Get(l.url)
		if err != nil {
			l.failed.Add(1)
			continue
		}
		_ = r.Body.Close()
		if r.StatusCode != http.StatusOK {
			l.failed.Add(1)
			continue
		}
		l.mu.Lock()
		l.seen[r.Header.Get("X-Version")] = true
		l.mu.Unlock()
	}
}

var rollBackForm = regexp.MustCompile(`penstock_filter_rollbacks_total\{filter="service/x",owner="Service/default/(\w+)"\} (\d+)`)

func rollBacks(p *harness.Proxy, service string) int {
	for _, m := range rollBackForm.FindAllStringSubmatch(p.Metrics(), -1) {
		if m[1] == service {
			n, _ := strconv.Atoi(m[2])
			return n
		}
	}
	return 0
}

// packModule puts a module into the layout.
func packModule(t *testing.T, layout, name string, module []byte) {
	t.Helper()
	file := t.TempDir() + "/module.wasm"
	if err := os.WriteFile(file, module, 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(harness.Binary(t), "image", "pack", "--layout", layout, "--name", "test.example/plugins/"+name, file)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, strings.TrimSpace(string(out)))
	}
}
