package accesslog

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"penstock.dev/penstock/core/exchange"
)

func TestRawIsOneLineOfJSON(t *testing.T) {
	var out bytes.Buffer
	l := New(&out)
	l.Raw(&exchange.Raw{
		Conn: &exchange.Conn{ID: 7, RemoteIP: []byte("192.0.2.1"), ServerName: "a\"\x01"}, Protocol: "tls", Start: time.Unix(0, 0), ReceivedBytes: 1, SentBytes: 2,
		Route: "TLSRoute/ns/r/0", Service: "ns/svc", Endpoint: "127.0.0.1:1", Attempts: 2,
		Err: &exchange.Error{Phase: exchange.PhaseSend, Side: exchange.SideUpstream, Reason: "connect-refused", Err: errors.New("x")},
	}, time.Second)
	l.flush()
	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatalf("%v: %s", err, out.Bytes())
	}
	want := map[string]any{
		"connection": 7.0, "client": "192.0.2.1", "protocol": "tls", "serverName": "a\"\x01", "receivedBytes": 1.0, "sentBytes": 2.0, "duration": 1.0,
		"route": "TLSRoute/ns/r/0", "service": "ns/svc", "endpoint": "127.0.0.1:1", "attempts": 2.0, "phase": "send", "side": "upstream", "reason": "connect-refused", "err": "x",
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s: got %v; want %v", k, got[k], v)
		}
	}
}
