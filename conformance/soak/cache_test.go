package soak

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/harness"
)

// pageSize is how long a page is: most are short, one in 500 is 1 MiB.
func pageSize(n uint64) int {
	r := rand.New(rand.NewPCG(n, 7)) //nolint:gosec // a page's size, no secret
	if r.IntN(500) == 0 {
		return 1 << 20
	}
	return 512 + r.IntN(16<<10)
}

const meanPage = 512 + 8<<10 + 1<<20/500

// page is what page n holds: its number, over and over.
func page(n uint64) []byte {
	size := pageSize(n)
	return bytes.Repeat(fmt.Appendf(nil, "%d ", n), size/2+1)[:size]
}

// TestCache asks for twenty times as many bytes as the cache may hold, in memory and on
// disk: what comes is right, both stay within their budgets, and it becomes no slower.
// PENSTOCK_SOAK is how long, default 10 seconds.
func TestCache(t *testing.T) {
	length, err := time.ParseDuration(os.Getenv("PENSTOCK_SOAK"))
	memory, disk := 256<<20, 1<<30
	if err != nil {
		length, memory, disk = 10*time.Second, 16<<20, 64<<20
	}
	upstream := harness.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		var n uint64
		if _, err := fmt.Sscanf(r.URL.Path, "/page/%d", &n); err != nil {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		b := page(n)
		w.Header().Set("Cache-Control", "max-age=36000")
		w.Header().Set("Content-Length", fmt.Sprint(len(b)))
		_, _ = w.Write(b)
	})
	folder := t.TempDir()
	p := harness.Start(t, harness.Options{
		Files: map[string]string{"gateway.yaml": harness.GatewayFor(1), "page.yaml": harness.Service("page", "- cache", upstream)},
		Args:  []string{"--access-log", "off", "--cache-memory", fmt.Sprint(memory), "--cache-disk", fmt.Sprint(disk), "--cache-dir", folder},
	})
	idle := p.Resident()
	pages := uint64(20 * (memory + disk) / meanPage)

	stop := make(chan struct{})
	var group sync.WaitGroup
	var sent, hits atomic.Int64
	var mu sync.Mutex
	var took []time.Duration // of the present window
	for c := range 4 {
		group.Go(func() {
			r := rand.New(rand.NewPCG(uint64(c), 1)) //nolint:gosec // an order, no secret
			popular := rand.NewZipf(r, 1.01, 1, pages-1)
			conn, err := net.Dial("tcp", strings.TrimPrefix(p.URL, "http://"))
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			in := bufio.NewReaderSize(conn, 64<<10)
			for {
				select {
				case <-stop:
					return
				default:
				}
				n := popular.Uint64()
				if r.IntN(2) == 0 {
					n = r.Uint64N(pages)
				}
				began := time.Now()
				hit, err := askPage(conn, in, n)
				if err != nil {
					t.Errorf("page %d: %v", n, err)
					return
				}
				mu.Lock()
				took = append(took, time.Since(began))
				mu.Unlock()
				if sent.Add(1); hit {
					hits.Add(1)
				}
			}
		})
	}
	windows := 10
	var p99 []time.Duration
	mostMemory, mostDisk := 0, int64(0)
	for range windows {
		for end := time.Now().Add(length / time.Duration(windows)); time.Now().Before(end); time.Sleep(time.Second / 4) {
			mostMemory = max(mostMemory, p.Resident())
			mostDisk = max(mostDisk, folderBytes(folder))
		}
		mu.Lock()
		window := took
		took = nil
		mu.Unlock()
		if t.Failed() || len(window) == 0 {
			break
		}
		slices.Sort(window)
		p99 = append(p99, window[len(window)*99/100])
		t.Logf("%d requests, %.3f hits, resident %d MiB, on disk %d MiB, p99 %v",
			sent.Load(), float64(hits.Load())/float64(sent.Load()), p.Resident(), folderBytes(folder)>>20, p99[len(p99)-1].Round(time.Microsecond))
	}
	close(stop)
	group.Wait()
	t.Logf("%d pages, %d requests; resident: %d MiB idle, %d at most, of %d cached; on disk %d MiB at most of %d",
		pages, sent.Load(), idle, mostMemory, memory>>20, mostDisk>>20, disk>>20)
	limit := idle + memory*11/10>>20
	if length < 10*time.Minute {
		limit += 48 // what is allocated between collections, whatever is cached
	}
	if mostMemory > limit {
		t.Errorf("%d MiB resident; want %d at most", mostMemory, limit)
	}
	if mostDisk > int64(disk) {
		t.Errorf("%d bytes on disk; want %d at most", mostDisk, disk)
	}
	if length >= 10*time.Minute && slices.Max(p99[windows/2:]) > 3*slices.Max(p99[1:windows/2]) {
		t.Errorf("p99 grows: %v", p99)
	}
}

// askPage asks for a page, checks all of it, and reports whether it was stored.
func askPage(conn net.Conn, in *bufio.Reader, n uint64) (hit bool, err error) {
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second)) // a closed connection shows below
	if _, err := fmt.Fprintf(conn, "GET /page/%d HTTP/1.1\r\nHost: a\r\n\r\n", n); err != nil {
		return false, err
	}
	r, err := http.ReadResponse(in, nil)
	if err != nil {
		return false, err
	}
	defer r.Body.Close()
	got, err := io.ReadAll(r.Body)
	if err != nil {
		return false, err
	}
	if r.StatusCode != http.StatusOK || !bytes.Equal(got, page(n)) {
		return false, fmt.Errorf("%s, %d bytes of another: %.60q", r.Status, len(got), got)
	}
	return strings.HasPrefix(r.Header.Get("Cache-Status"), "Penstock; hit"), nil
}

// folderBytes is what the files of a folder take.
func folderBytes(dir string) (sum int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			if info, err := d.Info(); err == nil { // else it is gone meanwhile
				sum += info.Size()
			}
		}
		return nil
	})
	return sum
}
