package node

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"time"

	remotecommandconsts "k8s.io/apimachinery/pkg/util/remotecommand"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

// serve serves the part of the kubelet's HTTPS API that kubectl logs and exec
// need, to those whose certificate is the cluster's.
func (a *Agent) serve(ctx context.Context) error {
	cert, err := tls.LoadX509KeyPair(a.config.Certificate, a.config.Key)
	if err != nil {
		return err
	}
	ca, err := os.ReadFile(a.config.CA)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", a.serveLogs)
	mux.HandleFunc("/exec/{namespace}/{pod}/{container}", a.serveExec)
	mux.HandleFunc("/exec/{namespace}/{pod}/{uid}/{container}", a.serveExec)
	server := &http.Server{
		Addr: net.JoinHostPort(a.config.Address, strconv.Itoa(port)), Handler: mux, ReadHeaderTimeout: 10 * time.Second,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12},
	}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.ListenAndServeTLS("", ""); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// asked finds the container that a request names.
func (a *Agent) asked(r *http.Request) (*container, error) {
	p := a.named(r.PathValue("namespace"), r.PathValue("pod"))
	if p == nil {
		return nil, errors.New("no such pod on this node")
	}
	for _, c := range p.containers {
		if c.spec.Name == r.PathValue("container") {
			return c, nil
		}
	}
	return nil, fmt.Errorf("container %s is not in the pod", r.PathValue("container"))
}

// logOptions are those of PodLogOptions.
type logOptions struct {
	since      time.Time
	tail       int // -1: all
	limit      int64
	timestamps bool
	follow     bool
}

func parseLogOptions(r *http.Request) (o logOptions, err error) {
	q := r.URL.Query()
	o.tail, o.limit = -1, 1<<62
	o.timestamps, o.follow = q.Get("timestamps") == "true", q.Get("follow") == "true"
	if s := q.Get("sinceTime"); s != "" {
		if o.since, err = time.Parse(time.RFC3339, s); err != nil {
			return o, err
		}
	}
	if s := q.Get("sinceSeconds"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			return o, err
		}
		o.since = time.Now().Add(-time.Duration(n) * time.Second)
	}
	if s := q.Get("tailLines"); s != "" {
		if o.tail, err = strconv.Atoi(s); err != nil {
			return o, err
		}
	}
	if s := q.Get("limitBytes"); s != "" {
		if o.limit, err = strconv.ParseInt(s, 10, 64); err != nil {
			return o, err
		}
	}
	return o, nil
}

func (a *Agent) serveLogs(w http.ResponseWriter, r *http.Request) {
	c, err := a.asked(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	o, err := parseLogOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	path, err := c.logPath(r.URL.Query().Get("previous") == "true")
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	if err := o.copy(r.Context(), w, path, c); err != nil && r.Context().Err() == nil {
		a.log.Printf("logs: %v", err)
	}
}

// copy writes the log, and what is added to it while the container runs if the
// client follows.
func (o *logOptions) copy(ctx context.Context, w io.Writer, path string, c *container) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	all, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	lines := bytes.SplitAfter(all, []byte("\n"))
	rest := lines[len(lines)-1] // not yet ended by a newline
	lines = lines[:len(lines)-1]
	if o.tail >= 0 && len(lines) > o.tail {
		lines = lines[len(lines)-o.tail:]
	}
	for _, line := range lines {
		if err := o.write(w, line); err != nil {
			return err
		}
	}
	if !o.follow {
		return nil
	}
	in := bufio.NewReader(io.MultiReader(bytes.NewReader(rest), f))
	var line []byte
	for {
		if flusher, ok := w.(http.Flusher); ok {
			flusher.Flush()
		}
		part, err := in.ReadBytes('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			if err := o.write(w, line); err != nil {
				return err
			}
			line = nil
		case !c.writes(path):
			if info, err := f.Stat(); err == nil {
				if at, err := f.Seek(0, io.SeekCurrent); err == nil && at >= info.Size() {
					return nil
				}
			}
		default:
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(50 * time.Millisecond):
			}
			if info, err := f.Stat(); err == nil {
				if at, err := f.Seek(0, io.SeekCurrent); err == nil && at > info.Size() { // it started again
					_, _ = f.Seek(0, io.SeekStart)
				}
			}
			in.Reset(f)
		}
	}
}

// writes tells whether the container is still writing this log.
func (c *container) writes(path string) bool {
	c.pod.mu.Lock()
	defer c.pod.mu.Unlock()
	return c.log != nil && c.log.path == path && c.state.Running != nil
}

func (o *logOptions) write(w io.Writer, line []byte) error {
	stamp, text, _ := bytes.Cut(line, []byte(" "))
	if at, err := time.Parse(time.RFC3339Nano, string(stamp)); err == nil && at.Before(o.since) {
		return nil
	}
	if o.timestamps {
		text = line
	}
	if int64(len(text)) > o.limit {
		text = text[:o.limit]
	}
	o.limit -= int64(len(text))
	_, err := w.Write(text)
	return err
}

func (a *Agent) serveExec(w http.ResponseWriter, r *http.Request) {
	c, err := a.asked(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	o, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	remotecommand.ServeExec(w, r, executor{c}, c.pod.name, string(c.pod.uid), c.spec.Name, r.URL.Query()["command"], o,
		4*time.Hour, 30*time.Second, remotecommandconsts.SupportedStreamingProtocols)
}

// executor runs one command in a container.
type executor struct{ *container }

// ExecInContainer is called by the library that speaks the streaming protocols.
func (e executor) ExecInContainer(ctx context.Context, _, _, _ string, command []string, in io.Reader, out, errw io.WriteCloser, _ bool, _ <-chan remotecommand.TerminalSize, timeout time.Duration) error {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	cmd, err := e.enter(ctx, command, func(cmd *exec.Cmd) {
		if in != nil {
			cmd.Stdin = in
		}
		if out != nil {
			cmd.Stdout = out
		}
		if errw != nil {
			cmd.Stderr = errw
		}
	})
	if err != nil {
		return err
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return utilexec.CodeExitError{Err: err, Code: exit.ExitCode()}
	}
	return err
}
