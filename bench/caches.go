package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// cacheEntry is the Service annotation of the workloads with a cache.
const cacheEntry = `
      - use: cache`

// caches are the workloads of the response cache.
func caches() []workload {
	cached, disk := penstock("penstock", 1, cacheEntry), penstock("penstock", 1, cacheEntry)
	disk.command = append(disk.command, "--cache-memory", "1Mi", "--cache-disk", "4Gi")
	roomy := penstock("penstock", 1, cacheEntry)
	roomy.command = append(roomy.command, "--cache-memory", "256Mi")
	bare := penstock("penstock, no cache", 1, "")
	keyed := penstock("penstock, key-auth", 1, chainOfKey+cacheEntry)
	return []workload{
		{cache: true, name: "hit 1k", path: "/1k", connections: 64, targets: []target{cached, haproxyCache(), nginxCache(""), varnish(), trafficserver(), keyed}},
		{cache: true, name: "hit 64k", path: "/64k", connections: 64, targets: []target{cached, haproxyCache(), nginxCache(""), varnish()}},
		{cache: true, name: "hit h2", path: "/1k", connections: 16, load: h2load("https", 8), targets: []target{secureCache(), nginxCache("ssl")}},
		{cache: true, name: "hit 1m disk", path: "/1m", connections: 16, targets: []target{disk, nginxCache("")}},
		{cache: true, name: "miss 1k", path: "/1k", connections: 64, load: missing, targets: []target{roomy, bare}},
		{cache: true, name: "miss 1m", path: "/1m", connections: 16, load: missing, targets: []target{roomy, bare}},
	}
}

const chainOfKey = `
      - image: penstock.dev/plugins/key-auth:1
        config: {keys: [{key: benchmark-key, consumer: bench}]}`

// cacheGoals are those of the response cache.
func cacheGoals() []goal {
	return []goal{
		{"cache hit 1 KiB, of HAProxy", "hit 1k", "penstock", "HAProxy", 0.95, false},
		{"cache hit 1 KiB, of Varnish", "hit 1k", "penstock", "Varnish", 0.40, false},
		{"cache hit 1 KiB, of nginx", "hit 1k", "penstock", "nginx", 0.60, false},
		{"cache hit 64 KiB, of HAProxy", "hit 64k", "penstock", "HAProxy", 0.90, false},
		{"cache hit 1 KiB over HTTP/2 with TLS, of nginx", "hit h2", "penstock", "nginx", 0.40, false},
		{"cache hit 1 MiB from disk, of nginx", "hit 1m disk", "penstock", "nginx", 1.10, false},
		{"cache miss 1 KiB, stored, of the same without cache", "miss 1k", "penstock", "penstock, no cache", 1.35, false},
		{"cache miss 1 MiB, stored, of the same without cache", "miss 1m", "penstock", "penstock, no cache", 1.25, false},
		{"cache hit behind key-auth adds, µs", "hit 1k", "penstock, key-auth", "penstock", 6, true},
	}
}

// secureCache is penstock with TLS and a cache.
func secureCache() target {
	t := secureEdge()
	for name, text := range t.files {
		t.files[name] = strings.Replace(text, "metadata:\n  name: origin\n", "metadata:\n  name: origin\n  annotations:\n    penstock.dev/plugins: |"+cacheEntry+"\n", 1)
	}
	return t
}

// nginxCache is nginx with proxy_cache: bytes in files, sent by sendfile.
func nginxCache(tls string) target {
	t := nginx()
	if tls != "" {
		t = nginxTLS()
	}
	text := t.files["nginx.conf"]
	text = strings.Replace(text, "  upstream origin", "  proxy_cache_path @DIR@/cache levels=1:2 keys_zone=c:32m max_size=4g inactive=1h use_temp_path=off;\n  open_file_cache max=10000 inactive=1h; open_file_cache_valid 1h;\n  upstream origin", 1)
	text = strings.Replace(text, "location / {", "location / { proxy_cache c; proxy_cache_lock on;", 1)
	text = "user root;\n" + text
	t.files["nginx.conf"] = text
	return t
}

// haproxyCache is HAProxy with its cache in memory.
func haproxyCache() target {
	t := haproxy(131072)
	text := t.files["haproxy.cfg"]
	text = strings.Replace(text, "defaults\n", "cache c\n  total-max-size 256\n  max-object-size 2000000\n  max-age 3600\ndefaults\n", 1)
	text = strings.Replace(text, "backend b", "backend b\n  http-request cache-use c\n  http-response cache-store c", 1)
	t.files["haproxy.cfg"] = strings.Replace(text, "default_backend b\nbackend b\n", "default_backend b\nbackend b\n", 1)
	return t
}

func varnish() target {
	return target{
		name: "Varnish",
		command: []string{"varnishd", "-F", "-j", "none", "-n", "@DIR@", "-a", fmt.Sprintf("127.0.0.1:%d", proxyPort), "-b", fmt.Sprintf("127.0.0.1:%d", originPort),
			"-s", "malloc,256m", "-p", "thread_pools=1", "-p", "thread_pool_min=100"},
	}
}

// trafficserver keeps its cache in memory and in one file.
func trafficserver() target {
	return target{
		name: "ATS",
		files: map[string]string{
			"etc/trafficserver/records.config": fmt.Sprintf(`CONFIG proxy.config.http.server_ports STRING %d:ip-in=127.0.0.1
CONFIG proxy.config.exec_thread.autoconfig INT 0
CONFIG proxy.config.exec_thread.limit INT 1
CONFIG proxy.config.http.cache.required_headers INT 0
CONFIG proxy.config.log.logging_enabled INT 0
CONFIG proxy.config.cache.ram_cache.size INT 268435456
CONFIG proxy.config.reverse_proxy.enabled INT 1
CONFIG proxy.config.url_remap.remap_required INT 1
CONFIG proxy.config.admin.user_id STRING #-1
CONFIG proxy.config.crash_log_helper STRING
CONFIG proxy.config.http.keep_alive_no_activity_timeout_in INT 3600
CONFIG proxy.config.net.max_connections_in INT 4000
`, proxyPort),
			"etc/trafficserver/remap.config":   fmt.Sprintf("map http://127.0.0.1:%d/ http://127.0.0.1:%d/\n", proxyPort, originPort),
			"etc/trafficserver/storage.config": "@DIR@/var/cache 256M\n",
			"etc/trafficserver/ip_allow.yaml":  "ip_allow: [{apply: in, ip_addrs: 0/0, action: allow, methods: ALL}]\n",
			"var/cache/.keep":                  "", "var/log/trafficserver/.keep": "", "var/run/.keep": "", "run/trafficserver/.keep": "",
		},
		command: []string{"env", "TS_ROOT=@DIR@", "PROXY_CONFIG_CONFIG_DIR=@DIR@/etc/trafficserver", "traffic_server"},
	}
}

// missing asks for another target with each request.
func missing(w workload, length time.Duration) (sample, int, error) {
	script, err := os.CreateTemp("", "penstock-miss-*.lua")
	if err != nil {
		return sample{}, 0, err
	}
	defer os.Remove(script.Name())
	_, err = fmt.Fprintf(script, "local n = %d\nrequest = function() n = n + 1; return wrk.format(\"GET\", \"%s?\" .. n) end\n", time.Now().UnixNano()%1e12, w.path)
	if err != nil {
		return sample{}, 0, err
	}
	if err := script.Close(); err != nil {
		return sample{}, 0, err
	}
	args := []string{"-c", "1", "wrk", "-t1", "-c" + strconv.Itoa(w.connections), fmt.Sprintf("-d%ds", int(length.Seconds())), "--latency", "-s", filepath.Clean(script.Name())}
	for _, h := range headers {
		args = append(args, "-H", h)
	}
	out, err := exec.Command("taskset", append(args, fmt.Sprintf("http://127.0.0.1:%d%s", proxyPort, w.path))...).CombinedOutput()
	if err != nil {
		return sample{}, 0, fmt.Errorf("wrk: %w\n%s", err, out)
	}
	return parse(string(out))
}
