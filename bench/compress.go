package main

import (
	"fmt"
	"strings"
	"time"
)

// gzipLevels are those that are compared with nginx's.
var gzipLevels = []int{1, 5, 6}

// compressing is 64 KiB of text that each target compresses with gzip at the same level.
func compressing() []workload {
	var all []workload
	for _, level := range gzipLevels {
		all = append(all, workload{name: fmt.Sprintf("gzip %d", level), path: "/text", connections: 16, load: gzipWrk, targets: []target{
			penstock("penstock", 1, hotEntry("compress", fmt.Sprintf("{codings: [gzip], level: {gzip: %d}}", level))),
			nginxGzip(level),
		}})
	}
	return append(all, workload{name: "compress", path: "/text", connections: 16, load: gzipWrk, targets: []target{penstock("penstock, plain", 1, ""), nginx()}})
}

func compressGoals() (all []goal) {
	for _, level := range gzipLevels {
		all = append(all, goal{fmt.Sprintf("64 KiB of text, gzip %d, of nginx", level), fmt.Sprintf("gzip %d", level), "penstock", "nginx", 1.1, false})
	}
	return all
}

func gzipWrk(w workload, length time.Duration) (sample, int, error) {
	return wrk(w, "http", length, "Accept-Encoding: gzip")
}

// nginxGzip is nginx that compresses.
func nginxGzip(level int) target {
	t := nginx()
	const place = "access_log off;"
	files := map[string]string{}
	for name, text := range t.files {
		files[name] = strings.Replace(text, place, fmt.Sprintf("%s gzip on; gzip_comp_level %d; gzip_proxied any; gzip_vary on; gzip_min_length 1024;", place, level), 1)
	}
	t.files = files
	return t
}
