package http2

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// client is Go's own, with prior knowledge.
func client(t *testing.T) *http.Client {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: protocols}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 30 * time.Second}
}

// TestClient sends many requests at once, with and without bodies, through the
// binary to an HTTP/1.1 upstream.
func TestClient(t *testing.T) {
	p := start(t)
	c := client(t)
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MiB
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			var body io.Reader
			want := 0
			switch i % 4 {
			case 1:
				body, want = bytes.NewReader(big), len(big)
			case 2:
				body, want = io.MultiReader(bytes.NewReader(big)), len(big) // no length
			case 3:
				body, want = strings.NewReader("x"), 1
			}
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.URL+"/x?y", body)
			if err != nil {
				t.Error(err)
				return
			}
			r.Header.Set("X-Forwarded-For", "192.0.2.1")
			resp, err := c.Do(r)
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			if err != nil || resp.ProtoMajor != 2 || resp.StatusCode != http.StatusOK || len(b) < want || !bytes.Equal(b[:want], big[:min(want, len(big))]) && want > 1 {
				t.Errorf("got %s %d, %d bytes, %v", resp.Proto, resp.StatusCode, len(b), err)
			}
			if via, by := resp.Header.Get("X-Got-Via"), resp.Header.Get("X-Got-X-Forwarded-For"); via != "2.0 penstock" || by != "127.0.0.1" {
				t.Errorf("the upstream got Via %q, X-Forwarded-For %q", via, by)
			}
		})
	}
	wg.Wait()
}

// TestTrailers: they pass both ways, through an upstream that speaks HTTP/1.1.
func TestTrailers(t *testing.T) {
	p := start(t)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.URL+"/", io.MultiReader(strings.NewReader("abc")))
	if err != nil {
		t.Fatal(err)
	}
	r.Trailer = http.Header{"X-Sum": {"42"}}
	resp, err := client(t).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.Trailer.Get("X-Sum") != "42!" {
		t.Errorf("got trailer %v, %v", resp.Trailer, err)
	}
}

// TestAFloodIsCounted: a client that resets all it asks for is sent away, and
// the upstream saw few of its requests.
func TestAFloodIsCounted(t *testing.T) {
	p := start(t)
	nc, err := net.Dial("tcp", strings.TrimPrefix(p.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	const n = 5000
	b := []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
	for i := range uint32(n) {
		id := binary.BigEndian.AppendUint32(nil, 2*i+1)
		b = append(append(append(b, 0, 0, 6, 1, 5), id...), 0x82, 0x86, 0x84, 1, 1, 'a')
		b = append(append(append(b, 0, 0, 4, 3, 0), id...), 0, 0, 0, 8)
	}
	go nc.Write(b)
	nc.SetReadDeadline(time.Now().Add(10 * time.Second))
	all, err := io.ReadAll(nc)
	goAway := []byte{0, 0, 8, 7, 0, 0, 0, 0, 0}
	if i := bytes.LastIndex(all, goAway); i < 0 || i+17 > len(all) || all[i+16] != 0xb {
		t.Errorf("no GOAWAY with ENHANCE_YOUR_CALM: %v", err)
	}
	m := p.Metrics()
	if !strings.Contains(m, `penstock_codec_rejected_total{reason="reset-flood"} 1`) {
		t.Error("not counted")
	}
	if served := requests(t, m); served > 300 {
		t.Errorf("%d of %d requests were served", served, n)
	}
}

// requests returns how many requests were served, by the metrics.
func requests(t *testing.T, metrics string) int {
	t.Helper()
	sum := 0
	for line := range strings.Lines(metrics) {
		if strings.HasPrefix(line, "penstock_proxy_requests_total{") {
			n, err := strconv.Atoi(strings.TrimSpace(line[strings.LastIndex(line, " ")+1:]))
			if err != nil {
				t.Fatal(err)
			}
			sum += n
		}
	}
	return sum
}

// TestGivingUpIsNoHarm: responses that are not read to their end are no flood.
func TestGivingUpIsNoHarm(t *testing.T) {
	p := start(t)
	c := client(t)
	for range 20 {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.URL+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close() // before it was read
	}
	if m := p.Metrics(); strings.Contains(m, `penstock_codec_rejected_total{reason="reset-flood"} 1`) {
		t.Error("an honest client was taken for a flood")
	}
}
