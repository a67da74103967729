package http2

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"penstock.dev/penstock/conformance/downgrade"
	"penstock.dev/penstock/conformance/harness"
)

// attacker is one connection that floods.
type attacker struct {
	f    *http2.Framer
	w    *bufio.Writer
	next uint32 // stream
	mark []byte // field that tells the attack's requests from those of the one before
}

// flood is an attack. Its head opens it, its step is repeated until the proxy ends
// the connection. deaf: the attacker reads nothing.
type flood struct {
	name  string
	head  func(a *attacker)
	step  func(a *attacker)
	code  http2.ErrCode // of GOAWAY; ErrCodeNo: none is needed, the harm is bounded otherwise
	deaf  bool
	reach int // requests that may reach the origin on one connection
}

// straddling is how many streams of a connection that are opened and reset at once
// may be served all the same: the proxy read the one before the other.
const straddling = 4

func block(fields ...string) []byte {
	var b bytes.Buffer
	enc := hpack.NewEncoder(&b)
	for _, f := range fields {
		name, value := downgrade.Split(f)
		_ = enc.WriteField(hpack.HeaderField{Name: name, Value: value})
	}
	return b.Bytes()
}

var (
	plainBlock  = block(":method: GET", ":scheme: http", ":authority: a.example", ":path: /x")
	uploadBlock = block(":method: POST", ":scheme: http", ":authority: a.example", ":path: /x")
	largeBlock  = block(":method: GET", ":scheme: http", ":authority: a.example", ":path: /large")
	wrongBlock  = block(":method: GET", ":scheme: http", ":authority: a.example", ":path: /x", "connection: close")
)

func (a *attacker) open(fields []byte, end bool) uint32 {
	id := a.next
	a.next += 2
	fields = append(bytes.Clone(fields), a.mark...)
	_ = a.f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: fields, EndHeaders: true, EndStream: end})
	return id
}

const markName = "x-attack"

// marked is a field that says which attack a request is of, as it is encoded
// without the table.
func marked(attack string) []byte {
	b := append([]byte{0, byte(len(markName))}, markName...)
	return append(append(b, byte(len(attack))), attack...)
}

func floods() []flood {
	calm := http2.ErrCodeEnhanceYourCalm
	return []flood{
		{"rapid reset", nil, func(a *attacker) { _ = a.f.WriteRSTStream(a.open(plainBlock, true), http2.ErrCodeCancel) }, calm, false, straddling},
		{"requests that are malformed", nil, func(a *attacker) { a.open(wrongBlock, true) }, calm, false, 0},
		{"streams that it makes us reset", nil, func(a *attacker) {
			_ = a.f.WriteRawFrame(http2.FrameWindowUpdate, 0, a.open(uploadBlock, false), make([]byte, 4))
		}, calm, false, straddling},
		{"more streams than there may be", nil, func(a *attacker) { a.open(uploadBlock, false) }, calm, false, 128}, // that many may be
		{"CONTINUATION, empty", func(a *attacker) {
			_ = a.f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: plainBlock, EndStream: true})
		}, func(a *attacker) { _ = a.f.WriteContinuation(1, false, nil) }, calm, false, 1},
		{"CONTINUATION, full", func(a *attacker) {
			_ = a.f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: plainBlock, EndStream: true})
		}, func(a *attacker) { _ = a.f.WriteContinuation(1, false, block("x: "+strings.Repeat("y", 16_000))) }, calm, false, 1},
		{"SETTINGS", nil, func(a *attacker) { _ = a.f.WriteSettings() }, calm, false, 1},
		{"SETTINGS, each with all that it may hold", nil, func(a *attacker) {
			list := make([]http2.Setting, 2000)
			for i := range list {
				list[i] = http2.Setting{ID: 0x77, Val: 1}
			}
			_ = a.f.WriteSettings(list...)
		}, calm, false, 1},
		{"a window that opens and shuts", func(a *attacker) {
			for range 100 {
				a.open(largeBlock, true)
			}
		}, func(a *attacker) {
			_ = a.f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
			_ = a.f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
		}, calm, false, 100},
		{"PING", nil, func(a *attacker) { _ = a.f.WritePing(false, [8]byte{1}) }, calm, false, 1},
		{"PING, and the answers are not read", nil, func(a *attacker) { _ = a.f.WritePing(false, [8]byte{1}) }, calm, true, 0},
		{"DATA, empty", func(a *attacker) { a.open(uploadBlock, false) }, func(a *attacker) { _ = a.f.WriteData(1, false, nil) }, calm, false, 1},
		{"DATA, padding only", func(a *attacker) { a.open(uploadBlock, false) }, func(a *attacker) { _ = a.f.WriteDataPadded(1, false, nil, make([]byte, 1)) }, calm, false, 1},
		{"WINDOW_UPDATE by one", nil, func(a *attacker) { _ = a.f.WriteWindowUpdate(0, 1) }, calm, false, 1},
		{"WINDOW_UPDATE by one on a stream that waits for it", func(a *attacker) {
			_ = a.f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
			a.open(largeBlock, true)
		}, func(a *attacker) { _ = a.f.WriteWindowUpdate(1, 1) }, calm, false, 1},
		{"PRIORITY", nil, func(a *attacker) { _ = a.f.WritePriority(3, http2.PriorityParam{StreamDep: 5}) }, calm, false, 1},
		{"frames that nobody knows", nil, func(a *attacker) { _ = a.f.WriteRawFrame(0x77, 0, 0, make([]byte, 100)) }, calm, false, 1},
		{"GOAWAY", nil, func(a *attacker) { _ = a.f.WriteGoAway(0, http2.ErrCodeNo, nil) }, calm, false, 1},
		{"a header table that is named again and again", func(a *attacker) {
			_ = a.f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, EndStream: true, BlockFragment: block(":method: GET", ":scheme: http", ":authority: a.example", ":path: /x", "a: "+strings.Repeat("b", 3900))})
			a.next = 3
		}, func(a *attacker) { // each byte stands for 4 KB
			a.open(append(bytes.Clone(plainBlock[:3]), bytes.Repeat([]byte{0xbe}, 15_000)...), true)
		}, http2.ErrCodeNo, false, 1},
		{"responses that nobody reads", nil, func(a *attacker) { a.open(largeBlock, true) }, http2.ErrCodeNo, true, 200},
	}
}

// attack floods for a while, with a new connection each time that one is ended, and
// longer until a first one is: on a busy machine that takes its time. It returns how
// many there were, the steps of the longest, and the codes of GOAWAY.
func attack(t *testing.T, port int, f *flood, length time.Duration) (connections, longest int, codes map[http2.ErrCode]int) {
	t.Helper()
	codes = map[http2.ErrCode]int{}
	for end := time.Now().Add(length); time.Now().Before(end); {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Fatal(err)
		}
		connections++
		until := end
		if len(codes) == 0 && !f.deaf && f.code != http2.ErrCodeNo {
			until = end.Add(10 * time.Second)
		}
		_ = c.SetDeadline(until.Add(5 * time.Second))
		w := bufio.NewWriterSize(c, 32<<10)
		_, _ = w.WriteString(http2.ClientPreface)
		a := &attacker{f: http2.NewFramer(w, nil), w: w, next: 1, mark: marked(f.name)}
		a.f.AllowIllegalWrites = true
		_ = a.f.WriteSettings()
		if f.head != nil {
			f.head(a)
		}
		var ended atomic.Bool
		var reading sync.WaitGroup
		if !f.deaf {
			reading.Go(func() {
				defer ended.Store(true)
				in := http2.NewFramer(io.Discard, bufio.NewReader(c))
				for {
					frame, err := in.ReadFrame()
					if err != nil {
						return
					}
					if g, ok := frame.(*http2.GoAwayFrame); ok {
						codes[g.ErrCode]++
					}
				}
			})
		} else {
			reading.Go(func() { time.Sleep(time.Until(end)) })
		}
		steps := 0
		for time.Now().Before(until) && !ended.Load() {
			f.step(a)
			if steps++; steps%16 == 0 {
				if err := w.Flush(); err != nil {
					break
				}
			}
		}
		if f.deaf {
			_ = c.SetReadDeadline(time.Now().Add(time.Second))
		}
		_ = w.Flush()
		if !f.deaf && f.code != http2.ErrCodeNo {
			for range 100 { // what was written is on its way, and what is said of it
				if ended.Load() {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
		}
		longest = max(longest, steps)
		c.Close()
		reading.Wait()
	}
	return connections, longest, codes
}

// cpu returns what a process has used.
func cpu(t *testing.T, pid int) time.Duration {
	t.Helper()
	var sum int64
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range tasks {
		text, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		n, perr := strconv.ParseInt(strings.Fields(string(text) + " 0")[0], 10, 64)
		if err = errors.Join(err, perr); err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return time.Duration(sum)
}

func own() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestFloods: an attack is ended before it costs much, does not reach the origin,
// and others are served meanwhile.
func TestFloods(t *testing.T) {
	length := 400 * time.Millisecond
	if os.Getenv("PENSTOCK_LONG") != "" {
		length = 3 * time.Second
	}
	var reached atomic.Int64
	var current atomic.Pointer[string]
	current.Store(new(string))
	count := func(r *http.Request) {
		if r.Header.Get(markName) == *current.Load() {
			reached.Add(1)
		}
	}
	port := harness.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/well":
			return
		case "/large":
			count(r)
			_, _ = w.Write(make([]byte, 1<<20))
			return
		}
		count(r)
		_, _ = io.Copy(io.Discard, r.Body)
	})
	service := strings.Replace(harness.Service("a", "", port), "value: /a", "value: /", 1)
	p := harness.Start(t, harness.Options{Args: []string{"--access-log", "off"}, Files: map[string]string{"gateway.yaml": harness.GatewayFor(1), "a.yaml": service}})
	var report strings.Builder
	report.WriteString("| attack | connections a second | most steps on one | CPU of the proxy, ms in a second | of attacker, origin and neighbour | requests that reached the origin, a second | slowest answer to a neighbour, ms | resident memory, MiB |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, f := range floods() {
		stop := make(chan struct{})
		var neighbour sync.WaitGroup
		var slowest time.Duration
		neighbour.Go(func() {
			client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for {
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
				}
				began := time.Now()
				r, err := client.Get(p.URL + "/well")
				if err != nil || r.StatusCode != http.StatusOK {
					t.Errorf("%s: the neighbour got %v, %v", f.name, r, err)
					return
				}
				r.Body.Close()
				slowest = max(slowest, time.Since(began))
			}
		})
		reached.Store(0)
		current.Store(&f.name)
		before, ownBefore, began := cpu(t, p.Process.Pid), own(), time.Now()
		connections, longest, codes := attack(t, p.Port, &f, length)
		took := time.Since(began).Seconds()
		used, ownUsed := cpu(t, p.Process.Pid)-before, own()-ownBefore
		close(stop)
		neighbour.Wait()
		if f.code != http2.ErrCodeNo && codes[f.code] == 0 && !f.deaf {
			t.Errorf("%s: got GOAWAY %v; want %v", f.name, codes, f.code)
		}
		if n := reached.Load(); n > int64(f.reach*connections) {
			t.Errorf("%s: %d requests of %d connections reached the origin; want %d each at most", f.name, n, connections, f.reach)
		}
		// The attacker's own share is not told apart from the origin's and the neighbour's.
		if used > 2*ownUsed {
			t.Errorf("%s: cost the proxy %v, and all others %v", f.name, used, ownUsed)
		}
		mib := p.Resident()
		if mib > 300 {
			t.Errorf("%s: %d MiB of resident memory", f.name, mib)
		}
		fmt.Fprintf(&report, "| %s | %.0f | %d | %.0f | %.0f | %.0f | %d | %d |\n", f.name, float64(connections)/took, longest,
			used.Seconds()*1000/took, ownUsed.Seconds()*1000/took, float64(reached.Load())/took, slowest.Milliseconds(), mib)
	}
	t.Logf("\n%s", report.String())
	if os.Getenv("PENSTOCK_LONG") != "" {
		text := fmt.Sprintf("# Floods of HTTP/2\n\nWritten by `make conformance` (`TestFloods`): each attack for %v from one client, which opens a new connection as soon as one is ended, as fast as it can.\n\n%s", length, report.String())
		if err := os.WriteFile("../reports/floods.md", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
