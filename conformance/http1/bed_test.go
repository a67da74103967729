// Package http1 sends the proxy HTTP/1.1 that is wrong, ambiguous or rare, byte by
// byte, and looks at what the client gets and what reaches the origin.
package http1

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/harness"
)

// bed is a proxy in front of an origin.
type bed struct {
	proxy  *harness.Proxy
	origin *harness.Origin
}

func start(t *testing.T) *bed {
	t.Helper()
	o := harness.NewOrigin(t)
	service := strings.Replace(harness.Service("a", "", o.Port()), "value: /a", "value: /", 1)
	return &bed{harness.Start(t, harness.Options{Files: map[string]string{"gateway.yaml": harness.GatewayFor(1), "a.yaml": service + tunnels}}), o}
}

// answers are the statuses and contents of what came, and whether the proxy has
// closed the connection.
type answers struct {
	raw    string
	status []string
	closed bool
}

// quiet is how long nothing must come for the proxy to have nothing to say.
const quiet = 150 * time.Millisecond

// send sends bytes on a connection of its own, and returns what comes.
func (b *bed) send(t *testing.T, raw string) answers {
	t.Helper()
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", b.proxy.Port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go func() { _, _ = io.WriteString(c, raw) }() // the proxy may close before it has read all
	var a answers
	var all []byte
	p := make([]byte, 64<<10)
	wait := 2 * time.Second // for the first byte
	for {
		_ = c.SetReadDeadline(time.Now().Add(wait))
		n, err := c.Read(p)
		all = append(all, p[:n]...)
		wait = quiet
		if err != nil {
			a.closed = !errors.Is(err, os.ErrDeadlineExceeded)
			break
		}
	}
	a.raw = string(all)
	for rest := a.raw; ; {
		i := strings.Index(rest, "HTTP/1.1 ")
		if i < 0 || len(rest) < i+12 {
			break
		}
		if status := rest[i+9 : i+12]; status[0] != '1' {
			a.status = append(a.status, status)
		}
		rest = rest[i+12:]
	}
	return a
}
