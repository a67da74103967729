package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// startProbes starts the container's probes; they end with ctx.
func (c *container) startProbes(ctx context.Context) *sync.WaitGroup {
	var running sync.WaitGroup
	begun := make(chan struct{})
	if c.spec.StartupProbe == nil {
		close(begun)
	} else {
		running.Go(func() {
			starting, done := context.WithCancel(ctx)
			defer done()
			c.probe(starting, c.spec.StartupProbe, "Startup", func(ok bool) {
				if !ok {
					c.fail("Startup", c.spec.StartupProbe)
					return
				}
				c.set(func() { c.started, c.ready = true, c.spec.ReadinessProbe == nil })
				close(begun)
				done()
			})
		})
	}
	after := func(kind string, spec *corev1.Probe, result func(ok bool)) {
		if spec != nil {
			running.Go(func() {
				select {
				case <-begun:
					c.probe(ctx, spec, kind, result)
				case <-ctx.Done():
				}
			})
		}
	}
	after("Readiness", c.spec.ReadinessProbe, func(ok bool) { c.set(func() { c.ready = ok }) })
	after("Liveness", c.spec.LivenessProbe, func(ok bool) {
		if !ok {
			c.fail("Liveness", c.spec.LivenessProbe)
		}
	})
	return &running
}

func (c *container) set(change func()) {
	c.pod.mu.Lock()
	change()
	c.pod.mu.Unlock()
	c.pod.report()
}

// fail ends a container whose startup or liveness probe failed; the restart
// policy does the rest. A Pod that is ending is left alone.
func (c *container) fail(kind string, spec *corev1.Probe) {
	select {
	case <-c.stop:
		return
	default:
	}
	grace := c.pod.grace()
	if spec.TerminationGracePeriodSeconds != nil {
		grace = time.Duration(*spec.TerminationGracePeriodSeconds) * time.Second
	}
	c.pod.agent.event(c.pod, corev1.EventTypeNormal, "Killing", fmt.Sprintf("Container %s failed %s probe, will be restarted", c.spec.Name, kind))
	c.pod.agent.running.Go(func() { c.end(c.pod.agent.ctx, grace) })
}

// probe asks until ctx is done, and calls result when the thresholds are reached
// and the answer is another than before.
func (c *container) probe(ctx context.Context, spec *corev1.Probe, kind string, result func(ok bool)) {
	wait := func(seconds int32) bool {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(time.Duration(seconds) * time.Second):
			return true
		}
	}
	if !wait(spec.InitialDelaySeconds) {
		return
	}
	var successes, failures int32
	said, last := false, false
	for {
		attempt, cancel := context.WithTimeout(ctx, time.Duration(max(1, spec.TimeoutSeconds))*time.Second)
		err := c.ask(attempt, &spec.ProbeHandler)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			successes, failures = successes+1, 0
		} else {
			successes, failures = 0, failures+1
			c.pod.agent.event(c.pod, corev1.EventTypeWarning, "Unhealthy", fmt.Sprintf("%s probe failed: %v", kind, err))
		}
		ok, reached := err == nil, false
		if ok {
			reached = successes >= max(1, spec.SuccessThreshold)
		} else {
			reached = failures >= max(1, spec.FailureThreshold)
		}
		if reached && (!said || last != ok) {
			said, last = true, ok
			result(ok)
		}
		if !wait(max(1, spec.PeriodSeconds)) {
			return
		}
	}
}

func (c *container) ask(ctx context.Context, h *corev1.ProbeHandler) error {
	switch {
	case h.Exec != nil:
		return c.exec(ctx, h.Exec.Command)
	case h.HTTPGet != nil:
		return c.httpGet(ctx, h.HTTPGet)
	case h.TCPSocket != nil:
		addr, err := c.address(h.TCPSocket.Host, h.TCPSocket.Port)
		if err != nil {
			return err
		}
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", addr)
		if err == nil {
			_ = conn.Close()
		}
		return err
	case h.GRPC != nil:
		return c.grpcHealth(ctx, h.GRPC)
	}
	return errors.New("probe without a handler")
}

// address finds a port by number or by its name in the container.
func (c *container) address(hostname string, port intstr.IntOrString) (string, error) {
	if hostname == "" {
		hostname = c.pod.sandbox.addr.String()
	}
	if port.Type == intstr.Int {
		return net.JoinHostPort(hostname, strconv.Itoa(port.IntValue())), nil
	}
	for _, p := range c.spec.Ports {
		if p.Name == port.StrVal {
			return net.JoinHostPort(hostname, strconv.Itoa(int(p.ContainerPort))), nil
		}
	}
	return "", fmt.Errorf("container %s has no port %s", c.spec.Name, port.StrVal)
}

func (c *container) httpGet(ctx context.Context, h *corev1.HTTPGetAction) error {
	addr, err := c.address(h.Host, h.Port)
	if err != nil {
		return err
	}
	path, err := url.Parse(h.Path)
	if err != nil {
		return err
	}
	scheme := "http"
	if h.Scheme == corev1.URISchemeHTTPS {
		scheme = "https"
	}
	u := &url.URL{Scheme: scheme, Host: addr, Path: path.Path, RawQuery: path.RawQuery}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	r.Header.Set("User-Agent", "kube-probe/testbed")
	for _, f := range h.HTTPHeaders {
		if http.CanonicalHeaderKey(f.Name) == "Host" {
			r.Host = f.Value
		} else {
			r.Header.Add(f.Name, f.Value)
		}
	}
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, //nolint:gosec // a probe does not verify, as the kubelet's
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 10<<10))
	if resp.StatusCode < 200 || resp.StatusCode >= 400 {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}

func (c *container) grpcHealth(ctx context.Context, h *corev1.GRPCAction) error {
	addr := net.JoinHostPort(c.pod.sandbox.addr.String(), strconv.Itoa(int(h.Port)))
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	request := &grpc_health_v1.HealthCheckRequest{}
	if h.Service != nil {
		request.Service = *h.Service
	}
	resp, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, request)
	if err != nil {
		return err
	}
	if resp.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		return fmt.Errorf("status %v", resp.GetStatus())
	}
	return nil
}
