package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// row is a measured figure beside what is wanted.
type row struct {
	text       string
	got, limit float64
}

// Tenants: namespaces with Services that have filters each.
const (
	tenantServices = 10
	tenantFilters  = 3
)

// tenants is penstock with n namespaces of ten Services, each with three
// filters of one image; none without an image.
func tenants(n int, image string) target {
	t := penstock("penstock, tenants", 0, "")
	var b strings.Builder
	b.WriteString(t.files["config/all.yaml"])
	for ns := range n {
		fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: t%d}\n", ns)
		for s := range tenantServices {
			var entries []string
			for f := range tenantFilters {
				if image != "" {
					entries = append(entries, fmt.Sprintf("- {name: f%d, image: %s, config: {service: %d, filter: %d}}", f, image, s, f))
				}
			}
			b.WriteString(service(fmt.Sprintf("t%d", ns), fmt.Sprintf("s%d", s), fmt.Sprintf("/t%d/s%d/", ns, s), entries))
		}
	}
	text := strings.Replace(b.String(), "listeners: [{name: http, protocol: HTTP, port: 28080}]", "listeners: [{name: http, protocol: HTTP, port: 28080, allowedRoutes: {namespaces: {from: All}}}]", 1)
	t.files["config/all.yaml"] = text
	return t
}

// service is a Service in front of the origin, with a filter for each entry, and
// its route under a path prefix, which is taken off.
func service(namespace, name, path string, entries []string) string {
	annotations := ""
	if len(entries) > 0 {
		annotations = "\n  annotations:\n    penstock.dev/plugins: |\n      " + strings.Join(entries, "\n      ")
	}
	return fmt.Sprintf(`---
apiVersion: v1
kind: Service
metadata:
  name: %[2]s
  namespace: %[1]s%[4]s
spec:
  ports: [{name: http, port: 80, targetPort: %[5]d}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[2]s-1, namespace: %[1]s, labels: {kubernetes.io/service-name: %[2]s}}
addressType: IPv4
ports: [{name: http, port: %[5]d}]
endpoints: [{addresses: [127.0.0.1]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %[2]s, namespace: %[1]s}
spec:
  parentRefs: [{name: edge, namespace: default}]
  rules:
  - matches: [{path: {type: PathPrefix, value: %[3]s}}]
    filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]
    backendRefs: [{name: %[2]s, port: 80}]
`, namespace, name, path, annotations, originPort)
}

// askAll asks every Service of n namespaces, rounds times, eight at a time.
func askAll(n, rounds int) error {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}, Timeout: 30 * time.Second}
	paths := make(chan string)
	var group sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for range 8 {
		group.Go(func() {
			for path := range paths {
				if err := ask(client, path); err != nil {
					mu.Lock()
					failed = err
					mu.Unlock()
				}
			}
		})
	}
	for range rounds {
		for ns := range n {
			for s := range tenantServices {
				paths <- fmt.Sprintf("/t%d/s%d/1k", ns, s)
			}
		}
	}
	close(paths)
	group.Wait()
	return failed
}

func ask(client *http.Client, path string) error {
	r, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d%s", proxyPort, path))
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return err
	}
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: status %d", path, r.StatusCode)
	}
	return nil
}

// resident starts penstock with tenants, asks all, and returns its resident
// memory right after, and after a rest; MiB.
func (l *lab) resident(n int, image string, rest time.Duration) (busy, rested float64, err error) {
	c, stop, err := l.start(tenants(n, image))
	if err != nil {
		return 0, 0, err
	}
	defer stop()
	for deadline := time.Now().Add(3 * time.Minute); ; {
		if err = askAll(n, 1); err == nil {
			break
		}
		if time.Now().After(deadline) {
			return 0, 0, err
		}
	}
	if err := askAll(n, 5); err != nil {
		return 0, 0, err
	}
	mib, err := status(c.Process.Pid, "VmRSS:")
	if err != nil {
		return 0, 0, err
	}
	busy = float64(mib)
	time.Sleep(rest)
	mib, err = status(c.Process.Pid, "VmRSS:")
	return busy, float64(mib), err
}

// tenancy measures the memory that many tenants with plugins take.
func (l *lab) tenancy() ([]row, error) {
	const all, some = 300, 30
	busy, rested, err := l.resident(all, "penstock.dev/bench/c:1", 2*time.Minute)
	if err != nil {
		return nil, err
	}
	plain, _, err := l.resident(some, "", 0)
	if err != nil {
		return nil, err
	}
	goBusy, _, err := l.resident(some, "penstock.dev/bench/go:1", 0)
	if err != nil {
		return nil, err
	}
	return []row{
		{"300 namespaces of 10 Services with 3 filters each, all active, MiB", busy, 1024},
		{"the same 2 minutes after the load, MiB", rested, 300},
		{"a namespace of 10 Services with 3 filters in Go, MiB", (goBusy - plain) / some, 10},
	}, nil
}

var errNoPauses = errors.New("no garbage collection was seen")
