package harness

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Upstream serves handler on loopback and returns its port.
func Upstream(t testing.TB, handler http.HandlerFunc) int {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s.Listener.Addr().(*net.TCPAddr).Port
}

// UpstreamTCP serves each connection on a port of loopback, which it returns, and
// closes it then.
func UpstreamTCP(t testing.TB, serve func(*net.TCPConn)) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer nc.Close()
				serve(nc.(*net.TCPConn))
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

// UpstreamOf runs a server of another library on a port of loopback, which it
// returns, until the test ends.
func UpstreamOf(t testing.TB, serve func(net.Listener) error, stop func()) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := serve(l); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		stop()
		wg.Wait()
	})
	return l.Addr().(*net.TCPAddr).Port
}

// Echo answers with the request's header fields as X-Got-* and its body.
func Echo(w http.ResponseWriter, r *http.Request) {
	for name, values := range r.Header {
		w.Header()["X-Got-"+name] = values
	}
	w.Header().Set("X-Got-Path", r.URL.RequestURI())
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	_, _ = w.Write(body)
}

// Guest builds the Go program in dir to Wasm and returns the module's path.
func Guest(t testing.TB, dir string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), filepath.Base(dir)+".wasm")
	c := exec.Command("go", "build", "-buildmode=c-shared", "-trimpath", "-ldflags=-s -w", "-o", out, "./"+dir)
	c.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if text, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return out
}

// Pack puts a module into the OCI layout dir as test.example/plugins/NAME:1.
// args are flags of `penstock image pack`. It returns the digest of the image.
func Pack(t testing.TB, dir, name, module string, args ...string) (digest string) {
	t.Helper()
	all := append([]string{"image", "pack", "--layout", dir, "--name", "test.example/plugins/" + name + ":1"}, args...)
	text, err := exec.Command(Binary(t), append(all, module)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	_, digest, _ = strings.Cut(strings.TrimSpace(string(text)), "@")
	return digest
}
