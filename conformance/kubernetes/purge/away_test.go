package purge

import (
	"errors"
	"fmt"
	"hash/crc32"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"penstock.dev/penstock/conformance/kubernetes/bed"
)

// outsider is a proxy with a disk that the test starts and ends.
type outsider struct {
	*edge
	control, dir string
	log          string // its file
	command      *exec.Cmd
	asker        *http.Client // without connections of a process before
}

const health = "127.0.0.1:19902"

// newOutsider makes one that is not started. Like the others it answers at e's port.
func newOutsider(t *testing.T, e *edge) *outsider {
	t.Helper()
	o := &outsider{edge: &edge{T: t, namespace: e.namespace, client: e.client}, dir: t.TempDir(), asker: &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}}
	o.log = filepath.Join(o.dir, "log")
	_, port, err := net.SplitHostPort(e.at[0])
	if err != nil {
		t.Fatal(err)
	}
	o.at = []string{net.JoinHostPort("127.0.0.1", port)}
	secret, err := b.Client.CoreV1().Secrets(bed.Namespace).Get(t.Context(), "penstock-proxy", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(o.dir, "tls"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, data := range secret.Data {
		if err := os.WriteFile(filepath.Join(o.dir, "tls", name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	leader, err := b.Leader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	o.control = net.JoinHostPort(leader.Status.PodIP, "9443")
	t.Cleanup(func() {
		if o.command != nil {
			o.end(syscall.SIGKILL)
		}
		if t.Failed() {
			text, _ := os.ReadFile(o.log)
			t.Logf("the proxy says:\n%s", text)
		}
	})
	return o
}

// start starts it, and returns once it is ready.
func (o *outsider) start() {
	o.Helper()
	log, err := os.OpenFile(o.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		o.Fatal(err)
	}
	defer log.Close()
	o.command = exec.Command(filepath.Join(b.Root, "bin", "penstock"), "proxy", "--control", o.control, "--tls", filepath.Join(o.dir, "tls"),
		"--state", filepath.Join(o.dir, "state"), "--cache-disk", "64Mi", "--name", "outsider", "--bind", "127.0.0.1", "--health", health, "--admin", "127.0.0.1:19901", "--access-log", "off", "--drain", "1s")
	o.command.Stdout, o.command.Stderr = log, log
	if err := o.command.Start(); err != nil {
		o.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if answer, err := o.asker.Get("http://" + health + "/readyz"); err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(end) {
			o.Fatal("it is not ready")
		}
	}
}

// end ends it, and returns once it has.
func (o *outsider) end(how os.Signal) {
	o.Helper()
	o.client.CloseIdleConnections()
	if err := o.command.Process.Signal(how); err != nil && !errors.Is(err, os.ErrProcessDone) {
		o.Error(err)
	}
	_ = o.command.Wait() // a signal ended it
	o.command = nil
}

// says counts the lines of its log that have this in them.
func (o *outsider) says(what string) int {
	o.Helper()
	text, err := os.ReadFile(o.log)
	if err != nil {
		o.Fatal(err)
	}
	return strings.Count(string(text), what)
}

// age makes it forget when control was there in that time.
func (o *outsider) age(by time.Duration) {
	o.Helper()
	name := filepath.Join(o.dir, "state", "config", "contact")
	text, err := os.ReadFile(name)
	if err != nil {
		o.Fatal(err)
	}
	parts := regexp.MustCompile(`^(.*\n)(\d+)(\n.*\n)[0-9a-f]{8}\n$`).FindStringSubmatch(string(text))
	if parts == nil {
		o.Fatalf("%s: %q", name, text)
	}
	at, err := strconv.ParseInt(parts[2], 10, 64)
	if err != nil {
		o.Fatal(err)
	}
	aged := fmt.Sprintf("%s%d%s", parts[1], at-int64(by.Seconds()), parts[3])
	aged = fmt.Sprintf("%s%08x\n", aged, crc32.Checksum([]byte(aged), crc32.MakeTable(crc32.Castagnoli)))
	if err := os.WriteFile(name, []byte(aged), 0o600); err != nil {
		o.Fatal(err)
	}
}

// TestAway: a proxy that was away while something was purged does not serve it from its
// disk once it is ready; one that was away for longer than purges are kept serves nothing
// that it had.
func TestAway(t *testing.T) {
	b.Scale(t, proxies)
	namespace := b.Space(t, "away", nil)
	b.Put(t, namespace, objects)
	e := newEdge(t, namespace)
	o := newOutsider(t, e)
	const pages = 300
	target := func(i int) string { return fmt.Sprintf("/cached/%d?tag=of-%d", i, i%3) }
	fill := func() {
		t.Helper()
		o.each(pages, func(i int) error {
			_, err := o.get(0, target(i))
			return err
		})
	}
	// served asks for all pages; want says of which tags they are hits.
	served := func(when string, hits func(tag int) bool) {
		t.Helper()
		o.each(pages, func(i int) error {
			did, err := o.get(0, target(i))
			if hit := strings.HasPrefix(did, "hit"); err == nil && hit != hits(i%3) {
				err = fmt.Errorf("%s: page %d: %s", when, i, did)
			}
			return err
		})
	}
	all := func(int) bool { return true }
	others := func(tag int) bool { return tag != 1 } // each process carries the purge out once

	const dropped = "what was cached is dropped"
	o.start()
	bed.Eventually(t, "the Service answers", time.Minute, func() error {
		_, err := o.get(0, "/ready")
		return err
	})
	fill()
	served("filled", all)

	o.end(syscall.SIGTERM)
	e.purge("while-it-is-away", map[string]any{"tags": []any{"of-1"}})
	o.start()
	served("back within the hour", others)
	served("filled again", all)
	if n := o.says(dropped); n > 0 {
		t.Errorf("it has dropped all %d times", n)
	}

	time.Sleep(1500 * time.Millisecond) // it notes soon that control is there
	o.end(syscall.SIGKILL)
	o.start()
	served("after a crash", others)
	served("filled again", all)

	o.end(syscall.SIGTERM)
	o.age(55 * time.Minute)
	o.start()
	served("away for 55 minutes", func(int) bool { return false })
	if n := o.says(dropped); n != 1 {
		t.Errorf("the log says %d times that all was dropped; want once", n)
	}
	o.end(syscall.SIGTERM)
	o.start()
	served("away for a moment again", others)
	if n := o.says(dropped); n != 1 {
		t.Errorf("the log says %d times that all was dropped; want once", n)
	}
	o.end(syscall.SIGTERM)
}
