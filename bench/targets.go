package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	originPort = 29000
	proxyPort  = 28080
	adminPort  = 28081
)

// target is a proxy in front of the origin.
type target struct {
	name string
	// files are written into a fresh folder; @DIR@ is the folder.
	files   map[string]string
	command []string
	cpus    string // default "0"
}

// workload is a load and who takes it.
type workload struct {
	name        string
	path        string
	connections int
	targets     []target
	// paired: what a target adds to the first one is a matter of few µs, and the machine's
	// speed drifts by more; so the first one is measured before and after each other one.
	paired bool
	// load makes the load; nil: wrk over HTTP/1.1.
	load  func(w workload, length time.Duration) (sample, int, error)
	cache bool // it is of the response cache
	// servers stand behind the targets in place of the origin.
	servers [][]string
}

func workloads() []workload {
	plain, plugins, many := penstock("penstock", 1, ""), penstock("penstock, 2 plugins", 1, chain), penstock("penstock, 1,000 routes", 1000, "")
	return append([]workload{
		{name: "1k", path: "/1k", connections: 64, targets: []target{plain, nginx(), haproxy(16384), caddy()}},
		{name: "1m", path: "/1m", connections: 16, targets: []target{plain, nginx(), haproxy(65536), caddy()}},
		{name: "plugins", path: "/1k", connections: 64, paired: true, targets: []target{plain, plugins}},
		{name: "hot plugins", path: "/1k", connections: 64, paired: true, load: tokenWrk, targets: hotTargets()},
		{name: "routes", path: "/1k", connections: 64, targets: []target{plain, many}},
		{name: "guests", path: "/1k", connections: 64, paired: true, targets: []target{plain, guests("C", "c"), guests("Go", "go"), guests("AssemblyScript", "assemblyscript"), guests("http-wasm", "http-wasm"),
			guests("5 of C", "c", "c", "c", "c", "c")}},
		wafs(),
	}, slices.Concat(wires(), caches(), compressing())...)
}

// guests is penstock with header plugins that make four host calls each.
func guests(name string, images ...string) target {
	var b strings.Builder
	for i, image := range images {
		fmt.Fprintf(&b, "\n      - {name: g%d, image: penstock.dev/bench/%s:1}", i, image)
	}
	return penstock("penstock, "+name, 1, b.String())
}

// chain is the Service annotation of the workload with two plugins.
const chain = `
      - image: penstock.dev/plugins/key-auth:1
        config: {keys: [{key: benchmark-key, consumer: bench}]}
      - image: penstock.dev/plugins/transform:1
        config: {request: {headers: {set: {X-Edge: "1"}}}, response: {headers: {set: {X-Served-By: penstock}}}}`

// setup is what differs between targets of penstock.
type setup struct {
	listener string // a Gateway's, in YAML
	extra    string // objects
	plugins  string // the Service's annotation
	port     string // what else its port has
	routes   int    // HTTPRoutes; 0: none
	behind   int    // port of the origin
}

const plainListener = "{name: http, protocol: HTTP, port: 28080}"

func penstock(name string, routes int, plugins string) target {
	return edge(name, setup{listener: plainListener, routes: routes, plugins: plugins, behind: originPort})
}

// edge is penstock with one Service.
func edge(name string, s setup) target {
	var b strings.Builder
	fmt.Fprintf(&b, `apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: penstock}
spec: {controllerName: penstock.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: penstock
  listeners: [%s]
---
apiVersion: penstock.dev/v1alpha1
kind: PluginPolicy
metadata: {name: bench}
spec:
  namespaceSelector: {}
  images: [{prefix: penstock.dev/plugins, unsigned: true, allowTags: true}, {prefix: penstock.dev/bench, unsigned: true, allowTags: true}]
  capabilities: [consumer]
---
apiVersion: v1
kind: Service
metadata:
  name: origin
`, s.listener)
	if s.plugins != "" {
		b.WriteString("  annotations:\n    penstock.dev/plugins: |" + s.plugins + "\n")
	}
	fmt.Fprintf(&b, `spec:
  ports: [{name: http, port: 80, targetPort: %[1]d%[2]s}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: origin-1
  labels: {kubernetes.io/service-name: origin}
addressType: IPv4
ports: [{name: http, port: %[1]d}]
endpoints: [{addresses: [127.0.0.1]}]
`, s.behind, s.port)
	for i := range s.routes {
		hostname, path := "127.0.0.1", "/"
		if i > 0 {
			hostname, path = fmt.Sprintf("host%d.example", i), fmt.Sprintf("/svc%d", i)
		}
		match := fmt.Sprintf("hostnames: [%s]\n  rules: [{matches: [{path: {type: PathPrefix, value: %s}}], backendRefs: [{name: origin, port: 80}]}]", hostname, path)
		if i == 0 { // an address is no hostname: this route takes any
			match = "rules: [{backendRefs: [{name: origin, port: 80}]}]"
		}
		fmt.Fprintf(&b, "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r%d}\nspec:\n  parentRefs: [{name: edge}]\n  %s\n", i, match)
	}
	b.WriteString(s.extra)
	return target{
		name:  name,
		files: map[string]string{"config/all.yaml": b.String()},
		command: []string{"@BIN@/penstock", "run", "--config", "@DIR@/config", "--state", "@DIR@/state", "--images", "@PLUGINS@", "--images", "@OUT@/plugins",
			"--bind", "127.0.0.1", "--admin", fmt.Sprintf("127.0.0.1:%d", adminPort), "--access-log", "off", "--log-level", "warn"},
	}
}

func nginx() target {
	return target{
		name: "nginx",
		files: map[string]string{"nginx.conf": fmt.Sprintf(`daemon off; worker_processes 1; pid @DIR@/pid; error_log stderr error;
events { worker_connections 8192; }
http {
  access_log off; sendfile on; tcp_nodelay on; keepalive_requests 1000000000; keepalive_timeout 3600s;
  client_body_temp_path @DIR@/a; proxy_temp_path @DIR@/b; fastcgi_temp_path @DIR@/c; uwsgi_temp_path @DIR@/d; scgi_temp_path @DIR@/e;
  upstream origin { server 127.0.0.1:%d; keepalive 512; keepalive_requests 1000000000; }
  proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme;
  proxy_buffer_size 16k; proxy_buffers 8 32k; proxy_busy_buffers_size 64k; proxy_max_temp_file_size 0;
  server { listen 127.0.0.1:%d reuseport; location / { proxy_pass http://origin; } }
}
`, originPort, proxyPort)},
		command: []string{"nginx", "-e", "stderr", "-p", "@DIR@", "-c", "@DIR@/nginx.conf"},
	}
}

func haproxy(buffer int) target { return haproxyHTTP(buffer, "", originPort, "") }

// haproxyHTTP is HAProxy before that port; bind and server are what else its two
// sides have.
func haproxyHTTP(buffer int, bind string, port int, server string) target {
	return haproxyIn("http", buffer, bind, `
  timeout client 60s
  timeout server 60s
  timeout tunnel 1h
  timeout http-keep-alive 60s`, fmt.Sprintf(`
  option forwardfor
  http-reuse always
  http-request set-header X-Forwarded-Proto http
  server s 127.0.0.1:%d %s pool-max-conn -1`, port, server))
}

func haproxyTCP(buffer int) target {
	return haproxyIn("tcp", buffer, "", `
  timeout client 1h
  timeout server 1h`, fmt.Sprintf(`
  option splice-auto
  server s 127.0.0.1:%d`, echoPort))
}

// haproxyIn is HAProxy in one of its modes, with lines of its sections.
func haproxyIn(mode string, buffer int, bind, defaults, backend string) target {
	return target{
		name: "HAProxy",
		files: map[string]string{"haproxy.cfg": fmt.Sprintf(`global
  nbthread 1
  maxconn 6000
  ssl-default-bind-curves X25519
  tune.bufsize %d
defaults
  mode %s
  timeout connect 5s%s
frontend f
  bind 127.0.0.1:%d %s
  default_backend b
backend b%s
`, buffer, mode, defaults, proxyPort, bind, backend)},
		command: []string{"haproxy", "-db", "-f", "@DIR@/haproxy.cfg"},
	}
}

func caddy() target {
	return target{
		name: "Caddy",
		files: map[string]string{"Caddyfile": fmt.Sprintf(`{
	admin off
	auto_https off
	persist_config off
}
http://:%d {
	bind 127.0.0.1
	reverse_proxy 127.0.0.1:%d {
		transport http {
			keepalive_idle_conns_per_host 2048
			keepalive_idle_conns 4096
			compression off
		}
	}
}
`, proxyPort, originPort)},
		command: []string{"@OUT@/caddy", "run", "--config", "@DIR@/Caddyfile", "--adapter", "caddyfile"},
	}
}
