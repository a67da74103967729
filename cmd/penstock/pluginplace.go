package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"penstock.dev/penstock/core/oci"
	"penstock.dev/penstock/core/upstream"
)

// place is where penstock plugin run serves, and what is behind.
type place struct {
	bind string // address
	port uint16
	url  *url.URL
	// services: the first is that of the URL, the others those that the plugin may call.
	services []target
}

// target is a Service that is written, and where it leads.
type target struct {
	name     string
	port, to uint16
	targets  []netip.Addr
}

// placeOf reads the addresses of the flags.
func placeOf(ctx context.Context, o tryOptions) (*place, error) {
	at, err := netip.ParseAddrPort(o.listen)
	if err != nil || at.Port() == 0 {
		return nil, fmt.Errorf("--listen %q: want an address and a port, as 127.0.0.1:8080", o.listen)
	}
	p := &place{bind: at.Addr().String(), port: at.Port()}
	p.url, err = url.Parse(o.to)
	if err != nil || p.url.Scheme != "http" && p.url.Scheme != "https" || p.url.Hostname() == "" || p.url.User != nil || p.url.RawQuery != "" || p.url.Fragment != "" {
		return nil, fmt.Errorf("--to %q: want http://HOST[:PORT][/PATH] or https://..., without user, query and fragment", o.to)
	}
	behind := target{name: "plugin", port: 80, to: 80}
	if p.url.Scheme == "https" {
		behind.to = 443
	}
	if text := p.url.Port(); text != "" {
		if behind.to, err = portOf(text); err != nil {
			return nil, fmt.Errorf("--to %q: port: want 1 to 65535", o.to)
		}
	}
	if behind.targets, err = targetsOf(ctx, p.url.Hostname()); err != nil {
		return nil, fmt.Errorf("--to %q: %w", o.to, err)
	}
	p.services = []target{behind}
	for _, text := range o.services {
		s, err := serviceOf(ctx, text)
		if err != nil {
			return nil, fmt.Errorf("--service %q: %w", text, err)
		}
		if slices.ContainsFunc(p.services, func(other target) bool { return other.name == s.name }) {
			return nil, fmt.Errorf("--service %q: there is a Service %s already: give it another name", text, s.name)
		}
		p.services = append(p.services, s)
	}
	return p, nil
}

// targetsOf returns the addresses of a host, of one family: an EndpointSlice has no other.
func targetsOf(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a.Unmap()}, nil
	}
	all, err := upstream.ResolveDNS(ctx, host)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, errors.New("the name has no address")
	}
	first := all[0]
	return slices.DeleteFunc(all, func(a netip.Addr) bool { return a.Is4() != first.Is4() }), nil
}

// serviceName is RFC 1035's label, as Kubernetes wants it.
var serviceName = regexp.MustCompile(`^[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?$`)

// serviceOf reads NAME[:PORT]=HOST:PORT.
func serviceOf(ctx context.Context, text string) (s target, err error) {
	want := errors.New("want NAME=HOST:PORT or NAME:PORT=HOST:PORT, as check=127.0.0.1:9001")
	left, right, ok := strings.Cut(text, "=")
	name, port, named := strings.Cut(left, ":")
	host, to, err := net.SplitHostPort(right)
	if !ok || err != nil || host == "" {
		return s, want
	}
	s = target{name: name, port: 80}
	if named {
		if s.port, err = portOf(port); err != nil {
			return s, want
		}
	}
	if s.to, err = portOf(to); err != nil {
		return s, want
	}
	if !serviceName.MatchString(name) {
		return s, fmt.Errorf("a Service cannot be called %q: want a-z, 0-9 and -, at most 63, first a letter", name)
	}
	s.targets, err = targetsOf(ctx, host)
	return s, err
}

// portOf reads a port from 1 to 65535.
func portOf(text string) (uint16, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err == nil && n == 0 {
		err = strconv.ErrRange
	}
	return uint16(n), err
}

// quoted is a value in YAML, which has JSON in it.
func quoted(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return string(b)
}

// objects are what an operator would write to serve an image in front of the URL.
//
// config is the name of a ConfigMap; empty: there is none.
func (p *place) objects(name oci.Reference, digest string, capabilities []string, config string, egress []string) string {
	var b strings.Builder
	configFrom := ""
	if config != "" {
		configFrom = "\n        configFrom: [{configMapKeyRef: {name: " + config + ", key: config}}]"
	}
	if capabilities == nil {
		capabilities = []string{}
	}
	outward := []map[string]string{}
	for _, hostname := range egress {
		outward = append(outward, map[string]string{"hostname": hostname})
	}
	fmt.Fprintf(&b, `apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: penstock}
spec: {controllerName: %s}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: run}
spec: {gatewayClassName: penstock, listeners: [{name: http, protocol: HTTP, port: %d}]}
---
apiVersion: penstock.dev/v1alpha1
kind: PluginPolicy
metadata: {name: run}
spec:
  namespaceSelector: {}
  images: [{prefix: %s, unsigned: true, allowTags: true}]
  capabilities: %s
  egress: %s
  limits: {totals: {compilesPerHour: 10000}}
---
apiVersion: v1
kind: Service
metadata:
  name: plugin
  annotations:
    penstock.dev/plugins: |
      - image: %s@%s%s
%s---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: plugin}
spec:
  parentRefs: [{name: run}]
  rules:
    - backendRefs: [{name: plugin, port: 80}]
%s`, quoted(controllerName), p.port, name.Name(), quoted(capabilities), quoted(outward), name.String(), digest, configFrom, p.services[0].rest(), p.rewrite())
	for _, s := range p.services[1:] {
		fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Service\nmetadata: {name: %s}\n%s", s.name, s.rest())
	}
	if p.url.Scheme == "https" {
		fmt.Fprintf(&b, `---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: plugin}
spec:
  targetRefs: [{group: "", kind: Service, name: plugin}]
  validation: {hostname: %s, wellKnownCACertificates: System}
`, quoted(p.url.Hostname()))
	}
	return b.String()
}

// rest is what follows a Service's metadata, with its EndpointSlice.
func (s *target) rest() string {
	family := "IPv4"
	if !s.targets[0].Is4() {
		family = "IPv6"
	}
	return fmt.Sprintf(`spec: {ports: [{name: http, port: %d, targetPort: %d}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[3]s-1, labels: {kubernetes.io/service-name: %[3]s}}
addressType: %s
ports: [{name: http, port: %[2]d}]
endpoints: [{addresses: %[5]s}]
`, s.port, s.to, s.name, family, quoted(s.targets))
}

// configMap is a configuration under a name of its own, so that what ran before keeps its
// own.
func configMap(config []byte) (name, object string) {
	sum := sha256.Sum256(config)
	name = "config-" + hex.EncodeToString(sum[:8])
	return name, fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {config: %s}\n", name, quoted(string(config)))
}

// rewrite is the part of the route that makes requests those of the URL: its host, if
// that is a name, and its path before that of the request.
func (p *place) rewrite() string {
	change := map[string]any{}
	if _, err := netip.ParseAddr(p.url.Hostname()); err != nil && p.url.Hostname() != "localhost" {
		change["hostname"] = p.url.Hostname()
	}
	if path := strings.TrimSuffix(p.url.EscapedPath(), "/"); path != "" {
		change["path"] = map[string]string{"type": "ReplacePrefixMatch", "replacePrefixMatch": path}
	}
	if len(change) == 0 {
		return ""
	}
	match := `      matches: [{path: {type: PathPrefix, value: /}}]` + "\n"
	return match + "      filters: [{type: URLRewrite, urlRewrite: " + quoted(change) + "}]\n"
}

// look is what the plugin's files are now: their names, sizes and times.
func (w *workshop) look() string {
	var b strings.Builder
	note := func(path string, info fs.FileInfo) { fmt.Fprintln(&b, path, info.Size(), info.ModTime().UnixNano()) }
	_ = filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil { // it goes as it is read
			return nil //nolint:nilerr // the next look sees what there is
		}
		name := d.Name()
		switch {
		case path == w.dir:
		case d.IsDir() && (strings.HasPrefix(name, ".") || name == "node_modules" || name == "target"):
			return fs.SkipDir
		case d.IsDir(), strings.HasPrefix(name, "."), strings.HasSuffix(name, "~"), name == moduleName:
		default:
			if info, err := d.Info(); err == nil {
				note(path, info)
			}
		}
		return nil
	})
	if w.o.config != "" {
		if info, err := os.Stat(w.o.config); err == nil {
			note(w.o.config, info)
		}
	}
	return b.String()
}
