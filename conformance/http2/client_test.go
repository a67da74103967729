package http2

import (
	"bytes"
	"io"
	"net/http"
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
