package http2

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"penstock.dev/penstock/conformance/downgrade"
	"penstock.dev/penstock/conformance/harness"
)

// ask sends a request on a connection of its own and returns what became of it.
func ask(t *testing.T, port int, a *downgrade.Case) string {
	t.Helper()
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	var out bytes.Buffer
	out.WriteString(http2.ClientPreface)
	f := http2.NewFramer(&out, c)
	f.AllowIllegalWrites = true
	_ = f.WriteSettings()
	_ = f.WriteSettingsAck()
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	encode := func(fields []string) []byte {
		block.Reset()
		for _, field := range fields {
			name, value := downgrade.Split(field)
			_ = enc.WriteField(hpack.HeaderField{Name: name, Value: value})
		}
		return block.Bytes()
	}
	headers := func(fields []string, end bool) {
		b := encode(fields)
		for first := true; first || len(b) > 0; first = false {
			n := min(len(b), 16_000)
			if last := n == len(b); first {
				_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: b[:n], EndHeaders: last, EndStream: end})
			} else {
				_ = f.WriteContinuation(1, last, b[:n])
			}
			b = b[n:]
		}
	}
	headers(a.Fields, a.Content == "" && a.Trailer == nil)
	if a.Content != "" {
		_ = f.WriteData(1, a.Trailer == nil, []byte(a.Content))
	}
	if a.Trailer != nil {
		headers(a.Trailer, true)
	}
	if _, err := c.Write(out.Bytes()); err != nil {
		return "gone"
	}
	status := ""
	dec := hpack.NewDecoder(4096, func(f hpack.HeaderField) {
		if f.Name == ":status" {
			status = f.Value
		}
	})
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return "nothing"
			}
			if err == io.EOF || strings.Contains(err.Error(), "reset") {
				return "gone"
			}
			t.Fatal(err)
		}
		switch frame := frame.(type) {
		case *http2.HeadersFrame:
			_, _ = dec.Write(frame.HeaderBlockFragment())
			if frame.StreamEnded() {
				return status
			}
		case *http2.DataFrame:
			if frame.StreamEnded() {
				return status
			}
		case *http2.RSTStreamFrame:
			switch {
			case frame.ErrCode == http2.ErrCodeProtocol:
				return "reset"
			case frame.ErrCode == http2.ErrCodeNo && status != "":
				return status // an early answer
			}
			return frame.ErrCode.String()
		case *http2.GoAwayFrame:
			return "gone"
		}
	}
}

// TestDowngrade: nothing of a request over HTTP/2 can be read twice, or otherwise,
// once it is written as HTTP/1.1.
func TestDowngrade(t *testing.T) {
	o := harness.NewOrigin(t)
	service := strings.Replace(harness.Service("a", "", o.Port()), "value: /a", "value: /", 1)
	p := harness.Start(t, harness.Options{Files: map[string]string{"gateway.yaml": harness.GatewayFor(1), "a.yaml": service}})
	all := downgrade.Cases("http")
	t.Logf("%d cases", len(all))
	for i := range all {
		c := &all[i]
		o.Reset(nil)
		got := ask(t, p.Port, c)
		if r, err := http.Get(p.URL + downgrade.Next); err != nil || r.StatusCode != http.StatusOK {
			t.Errorf("%s: then got %v, %v", c.Name, r, err)
		} else {
			r.Body.Close()
		}
		downgrade.Judge(t, o, c, got)
	}
}
