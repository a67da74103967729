package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// headers are what a browser sends.
var headers = []string{
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36",
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
	"Accept-Language: en-US,en;q=0.5",
	"X-Request-Id: 7f9c0e6e-5f0e-4c6e-9a44-0f8bd1f4a3aa",
	"Referer: https://example.org/a/b/c",
	"X-API-Key: benchmark-key",
}

// sample is one round of one target.
type sample struct {
	cpu      float64 // µs of the proxy process per request
	added    float64 // of it, more than the first target beside it; of a paired workload
	rate     float64 // requests per second
	p50, p99 string
	rss      int // MiB, the most it was
	bad      int
}

// lab holds the origin and the places.
type lab struct {
	out    string // folder of built peers
	origin *exec.Cmd
	secret string // YAML of the certificate of the targets with TLS
}

func newLab() (*lab, error) {
	out, err := filepath.Abs("out")
	if err != nil {
		return nil, err
	}
	l := &lab{out: out}
	if err := l.prepare(); err != nil {
		return nil, err
	}
	l.origin = exec.Command("taskset", "-c", "1", filepath.Join(out, "origin"), strconv.Itoa(originPort))
	l.origin.Stderr = os.Stderr
	if err := l.origin.Start(); err != nil {
		return nil, err
	}
	return l, waitPort(originPort)
}

func (l *lab) close() {
	_ = l.origin.Process.Kill()
	_ = l.origin.Wait()
}

// start runs a target in a fresh folder, pinned to CPU 0.
func (l *lab) start(t target) (*exec.Cmd, func(), error) {
	dir, err := os.MkdirTemp("", "penstock-bench-")
	if err != nil {
		return nil, nil, err
	}
	place := strings.NewReplacer("@SECRET@", l.secret, "@DIR@", dir, "@OUT@", l.out, "@BIN@", filepath.Join(l.out, "../../bin"), "@PLUGINS@", filepath.Join(l.out, "../../build/plugins"))
	for name, text := range t.files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return nil, nil, err
		}
		if err := os.WriteFile(file, []byte(place.Replace(text)), 0o644); err != nil {
			return nil, nil, err
		}
	}
	args := []string{"-c", cmp.Or(t.cpus, "0")}
	for _, a := range t.command {
		args = append(args, place.Replace(a))
	}
	c := exec.Command("taskset", args...)
	c.Env = append(os.Environ(), "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	var log bytes.Buffer
	c.Stdout, c.Stderr = &log, &log
	if err := c.Start(); err != nil {
		return nil, nil, err
	}
	stop := func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		timer := time.AfterFunc(5*time.Second, func() { _ = c.Process.Kill() })
		_ = c.Wait()
		timer.Stop()
		_ = os.RemoveAll(dir)
	}
	err = waitPort(proxyPort)
	if err == nil && strings.HasPrefix(t.name, "penstock") {
		err = waitReady()
	}
	if err != nil {
		stop()
		return nil, nil, fmt.Errorf("%w\n%s", err, log.String())
	}
	return c, stop, nil
}

// measure loads a target for a while, after a second of warming up.
func (l *lab) measure(t target, w workload, length time.Duration) (sample, error) {
	if err := portFree(proxyPort); err != nil {
		return sample{}, err
	}
	c, stop, err := l.start(t)
	if err != nil {
		return sample{}, err
	}
	defer stop()
	stopServers, err := l.serve(w.servers)
	if err != nil {
		return sample{}, err
	}
	defer stopServers()
	load := w.load
	if load == nil {
		load = plainWrk
	}
	if _, _, err := load(w, time.Second); err != nil {
		return sample{}, err
	}
	before, err := runtime(c.Process.Pid)
	if err != nil {
		return sample{}, err
	}
	s, n, err := load(w, length)
	if err != nil {
		return sample{}, err
	}
	after, err := runtime(c.Process.Pid)
	if err != nil {
		return sample{}, err
	}
	s.cpu = float64((after - before).Nanoseconds()) / 1000 / float64(n)
	s.rss, err = status(c.Process.Pid, "VmHWM:")
	return s, err
}

// plainWrk loads over HTTP/1.1.
func plainWrk(w workload, length time.Duration) (sample, int, error) { return wrk(w, "http", length) }

func wrk(w workload, scheme string, length time.Duration, more ...string) (sample, int, error) {
	args := []string{"-c", "1", "wrk", "-t1", "-c" + strconv.Itoa(w.connections), fmt.Sprintf("-d%ds", int(length.Seconds())), "--latency"}
	for _, h := range slices.Concat(headers, more) {
		args = append(args, "-H", h)
	}
	out, err := exec.Command("taskset", append(args, fmt.Sprintf("%s://127.0.0.1:%d%s", scheme, proxyPort, w.path))...).CombinedOutput()
	if err != nil {
		return sample{}, 0, fmt.Errorf("wrk: %w\n%s", err, out)
	}
	return parse(string(out))
}

var (
	requestsForm = regexp.MustCompile(`(\d+) requests in`)
	rateForm     = regexp.MustCompile(`Requests/sec:\s+([\d.]+)`)
	latencyForm  = regexp.MustCompile(`(?m)^\s+(50|99)%\s+(\S+)`)
	badForm      = regexp.MustCompile(`Non-2xx or 3xx responses: (\d+)|connect (\d+), read (\d+), write (\d+), timeout (\d+)`)
)

func parse(out string) (s sample, requests int, err error) {
	m, r := requestsForm.FindStringSubmatch(out), rateForm.FindStringSubmatch(out)
	if m == nil || r == nil {
		return s, 0, fmt.Errorf("wrk said\n%s", out)
	}
	requests, err = strconv.Atoi(m[1])
	if err != nil || requests == 0 {
		return s, 0, fmt.Errorf("no request: %w\n%s", err, out)
	}
	if s.rate, err = strconv.ParseFloat(r[1], 64); err != nil {
		return s, 0, err
	}
	for _, m := range latencyForm.FindAllStringSubmatch(out, -1) {
		if m[1] == "50" {
			s.p50 = m[2]
		} else {
			s.p99 = m[2]
		}
	}
	for _, m := range badForm.FindAllStringSubmatch(out, -1) {
		for _, n := range m[1:] {
			if n == "" {
				continue
			}
			bad, err := strconv.Atoi(n)
			if err != nil {
				return s, 0, err
			}
			s.bad += bad
		}
	}
	return s, requests, nil
}

// processes returns pid and its children: nginx has a worker.
func processes(pid int) []int {
	all := []int{pid}
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, file := range lists {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for _, f := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(f); err == nil {
				all = append(all, processes(child)...)
			}
		}
	}
	return all
}

// runtime returns the CPU time of a process, its threads and children.
func runtime(pid int) (time.Duration, error) {
	var sum time.Duration
	for _, p := range processes(pid) {
		files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p))
		if err != nil {
			return 0, err
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err != nil {
				return 0, err
			}
			ns, err := strconv.ParseInt(strings.Fields(string(text))[0], 10, 64)
			if err != nil {
				return 0, err
			}
			sum += time.Duration(ns)
		}
	}
	return sum, nil
}

// status sums a field of /proc/PID/status in MiB.
func status(pid int, field string) (int, error) {
	sum := 0
	for _, p := range processes(pid) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p))
		if err != nil {
			return 0, err
		}
		_, rest, ok := strings.Cut(string(text), field)
		if !ok {
			continue
		}
		kb, err := strconv.Atoi(strings.Fields(rest)[0])
		if err != nil {
			return 0, err
		}
		sum += kb
	}
	return sum >> 10, nil
}

// memory returns the resident memory of penstock with two plugins: idle, and
// with 1,000 idle connections that have carried a request each.
func (l *lab) memory() ([]row, error) {
	var got [2]int
	c, stop, err := l.start(penstock("penstock, memory", 1, chain))
	if err != nil {
		return nil, err
	}
	defer stop()
	time.Sleep(time.Second)
	if got[0], err = status(c.Process.Pid, "VmRSS:"); err != nil {
		return nil, err
	}
	request := []byte("GET /1k HTTP/1.1\r\nHost: a\r\nX-API-Key: benchmark-key\r\n\r\n")
	answer := make([]byte, 64<<10)
	for range 1000 {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", proxyPort))
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		if _, err := conn.Write(request); err != nil {
			return nil, err
		}
		if _, err := conn.Read(answer); err != nil {
			return nil, err
		}
	}
	time.Sleep(2 * time.Second)
	if got[1], err = status(c.Process.Pid, "VmRSS:"); err != nil {
		return nil, err
	}
	return []row{
		{"resident memory, two plugins, idle, MiB", float64(got[0]), 120},
		{"the same with 1,000 idle connections, MiB", float64(got[1]), 140},
	}, nil
}

func waitPort(port int) error {
	for range 300 {
		c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Second)
		if err == nil {
			return c.Close()
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("nobody listens on port %d", port)
}

func waitReady() error {
	for range 600 {
		r, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/readyz", adminPort))
		if err == nil {
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return nil
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	return errors.New("penstock is not ready")
}

func portFree(port int) error {
	var err error
	for range 100 {
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			return l.Close()
		}
		time.Sleep(50 * time.Millisecond)
	}
	return err
}
