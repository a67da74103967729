// Command start runs the quick start in the foreground: the upstream and the
// proxy. It prints lines to paste once the proxy is ready. Ctrl-C ends both.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
)

const text = `
Penstock serves examples/quickstart on http://127.0.0.1:8080. In another terminal:

  curl -i http://127.0.0.1:8080/                                      # 401: key-auth wants a key
  curl -i -H 'X-API-Key: quickstart-key' http://127.0.0.1:8080/       # 200, and transform added X-Served-By
  curl -s http://127.0.0.1:9901/metrics | grep penstock_plugin_       # what the plugins took
  curl -s http://127.0.0.1:9901/chains                                # what runs
  curl -i http://127.0.0.1:8080/catalog/17                            # twice: Cache-Status says that the second is a hit

Edit examples/quickstart/config/*.yaml: a change is live at once, a mistake is
refused with its place, and traffic goes on. Ctrl-C ends it.
`

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

func run() error {
	bin := flag.String("bin", "bin", "folder of the binaries")
	config := flag.String("config", "examples/quickstart/config", "folder of YAML files")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	ended := make(chan error, 2)
	upstream, err := start(ended, *bin+"/quickstart-upstream")
	if err != nil {
		return err
	}
	proxy, err := start(ended, *bin+"/penstock", "run", "--config", *config, "--bind", "127.0.0.1", "--images", "build/plugins")
	if err != nil {
		return errors.Join(err, end(upstream, ended))
	}
	go ready(ctx)
	var first error
	select {
	case <-ctx.Done():
	case first = <-ended:
		ended <- nil // end waits for two
		first = fmt.Errorf("a process ended: %w", first)
	}
	return errors.Join(first, end(proxy, ended), end(upstream, ended))
}

func start(ended chan<- error, name string, args ...string) (*exec.Cmd, error) {
	c := exec.Command(name, args...)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	if err := c.Start(); err != nil {
		return nil, err
	}
	go func() {
		err := c.Wait()
		if err == nil {
			err = errors.New(name + ": exit 0")
		}
		ended <- err
	}()
	return c, nil
}

// end asks the process to stop and waits for one that ended.
func end(c *exec.Cmd, ended <-chan error) error {
	if err := c.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-ended //nolint:errcheck // it ended because it was asked to
	return nil
}

// ready prints the text once the proxy says that it is ready.
func ready(ctx context.Context) {
	for ctx.Err() == nil {
		response, err := http.Get("http://127.0.0.1:9901/readyz")
		if err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				fmt.Print(text)
				return
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}
