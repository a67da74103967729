package http3

import (
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/harness"
)

// TestChromium: a browser loads a page, and what a script of it fetches, over
// HTTP/3.
func TestChromium(t *testing.T) {
	program, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("no chromium: install it to test HTTP/3 with a browser")
	}
	const page = `<!doctype html><title>-</title><script>
const body = "x".repeat(200000);
Promise.all([...Array(20).keys()].map(i => fetch("/a/echo?" + i, {method: "POST", body}).then(r => r.text())))
	.then(all => {
		const loads = [...performance.getEntriesByType("resource"), ...performance.getEntriesByType("navigation")];
		document.title = [all.every(s => s === body), loads.length > 20, loads.every(e => e.nextHopProtocol === "h3")];
	});
</script>`
	b := start(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/a/page" {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, page)
			return
		}
		harness.Echo(w, r)
	})
	spki := b.renew()
	ctx, done := context.WithTimeout(t.Context(), 60*time.Second)
	defer done()
	at := fmt.Sprintf("a.example:%d", b.Port)
	c := exec.CommandContext(ctx, program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--user-data-dir="+t.TempDir(),
		"--host-resolver-rules=MAP a.example 127.0.0.1", "--origin-to-force-quic-on="+at, "--ignore-certificate-errors-spki-list="+spki,
		"--virtual-time-budget=10000", "--dump-dom", "https://"+at+"/a/page")
	c.WaitDelay = 5 * time.Second
	out, err := c.Output()
	if err != nil {
		t.Fatalf("chromium: %v\n%s", err, out)
	}
	const want = "<title>true,true,true</title>" // echoed, all of them, over HTTP/3
	if !strings.Contains(string(out), want) {
		t.Errorf("got %s\nwant %s", out, want)
	}
}
