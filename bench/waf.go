package main

import (
	"fmt"
	"net/http"
	"time"
)

// wafConnections keep both busy: a request takes a millisecond and more.
const wafConnections = 16

// wafs are the bundled waf, with its defaults, and Coraza in a Go program with the same
// rules.
func wafs() workload {
	return workload{name: "waf", path: "/1k?colour=red&page=2", connections: wafConnections, load: wafWrk, targets: []target{
		penstock("penstock", 1, wafEntry), coraza(),
	}}
}

const wafEntry = `
      - use: waf
        limits: {cpuTime: 1s, cpuTimeExchange: 3s, cpuTimeStart: 30s, memory: 128Mi}`

func coraza() target {
	return target{name: "Coraza", command: []string{"@OUT@/coraza", fmt.Sprintf("127.0.0.1:%d", proxyPort), fmt.Sprintf("http://127.0.0.1:%d", originPort)}}
}

// wafWrk sends ten fields, with Host; none is an alarm. The module takes a while to be
// compiled the first time.
func wafWrk(w workload, length time.Duration) (sample, int, error) {
	if err := waitAnswer(w.path); err != nil {
		return sample{}, 0, err
	}
	return wrk(w, "http", length, "Host: shop.example", "Accept-Encoding: gzip, br", "Cookie: session=7c2d9a41f0; theme=dark", "Upgrade-Insecure-Requests: 1")
}

// waitAnswer waits until a request passes.
func waitAnswer(path string) error {
	status := 0
	for range 1200 {
		r, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d%s", proxyPort, path))
		if err == nil {
			r.Body.Close()
			if status = r.StatusCode; status == http.StatusOK {
				return nil
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("no request passes in a minute: status %d", status)
}

func wafGoals() []goal {
	return []goal{{"the waf on a GET with ten fields, of Coraza in Go", "waf", "penstock", "Coraza", 2.5, false}}
}
