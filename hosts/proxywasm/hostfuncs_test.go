package proxywasm

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/sandbox"
	"penstock.dev/penstock/hosts/capability"
)

// number is how a property's number looks to a guest that reads text.
func number(n uint64) string { return string(binary.LittleEndian.AppendUint64(nil, n)) }

func TestAttributes(t *testing.T) {
	b := start(t, caller(), func(c *config.Filter) { c.RootID, c.VMID = "my_root", "vm" })
	x := newExchange()
	started := time.Unix(1700000000, 5)
	x.Start, x.Route, x.Upstream, x.Endpoint, x.Attempts = started, "HTTPRoute/ns/r/0", "ns/svc:80", "10.0.0.1:8080", 2
	x.RequestBytes, x.ResponseBytes = 10, 20
	x.Request.Version = exchange.HTTP11
	x.Request.Header.Add([]byte("User-Agent"), []byte("curl"))
	x.Request.Header.Add([]byte("X-Request-Id"), []byte("id-1"))
	x.Response.Status, x.Details = 200, "why"
	x.Response.Header.Add([]byte("X-Up"), []byte("u"))
	x.Response.Trailer.Add([]byte("Grpc-Status"), []byte("5"))
	x.UpstreamStart, x.UpstreamHeader = started, started.Add(time.Millisecond)
	uri, _ := url.Parse("spiffe://a/b")
	cert := &x509.Certificate{Raw: []byte("der"), DNSNames: []string{"client.example"}, URIs: []*url.URL{uri}, Subject: pkix.Name{CommonName: "me"}}
	x.Conn.TLS = &tls.ConnectionState{ServerName: "a.example", Version: tls.VersionTLS13, PeerCertificates: []*x509.Certificate{cert}}
	always := map[string]string{
		"plugin_name": "service/x", "plugin_root_id": "my_root", "plugin_vm_id": "vm", "plugin_vm_memory": number(128 << 10), "listener_direction": number(1),
		"listener_metadata": "", "route_metadata": "", "cluster_metadata": "", "upstream_host_metadata": "",
		"node.id": "node-1", "node.cluster": "penstock", "node.metadata.NAMESPACE": "ns", "node.metadata.NAME": "node-1", "node.metadata.LABELS": "", "xds.node.id": "node-1",
		"route_name": "HTTPRoute/ns/r/0", "xds.route_name": "HTTPRoute/ns/r/0", "cluster_name": "outbound|80||svc.ns.svc.cluster.local", "x_request_id": "id-1",
		"request.path": "/a?b", "request.url_path": "/a", "request.query": "b", "request.host": "a.example", "request.scheme": "http", "request.method": "GET",
		"request.useragent": "curl", "request.id": "id-1", "request.protocol": "HTTP/1.1", "request.time": number(uint64(started.UnixNano())), "request.headers.x-one": "1",
		"penstock.client_address": "\xc0\x00\x02\x01",
		"source.address":          "192.0.2.1:99", "source.port": number(99), "connection_id": number(7), "connection.id": number(7), "connection.mtls": "\x01",
		"connection.requested_server_name": "a.example", "connection.tls_version": "TLSv1.3", "connection.subject_peer_certificate": "CN=me",
		"connection.dns_san_peer_certificate": "client.example", "connection.uri_san_peer_certificate": "spiffe://a/b", "connection.termination_details": "",
		"upstream.address": "10.0.0.1:8080", "upstream.port": number(8080), "upstream.request_attempt_count": number(2), "upstream.transport_failure_reason": "",
	}
	sizes := map[string]string{"request.size": number(10), "request.total_size": number(10 + 10 + 18 + 20)}
	response := map[string]string{
		"response.code": number(200), "response.code_details": "why", "response.flags": number(0), "response.grpc_status": number(5), "response.size": number(20),
		"response.total_size": number(20 + 4 + 1 + 4), "response.headers.x-up": "u", "response.trailers.grpc-status": "5", "response.backend_latency": number(uint64(time.Millisecond)),
	}
	missing := []string{"nothing", "no.such", "request", "request.nothing", "response", "source", "source.nothing", "node", "node.nothing", "xds", "metadata.filter_metadata.x", "filter_state", "filter_state.x", "destination.address", "connection.nothing", ""}
	get := func(h *hand, path string) (string, uint32) {
		p, n := h.put(100, strings.ReplaceAll(path, ".", "\x00"))
		status := h.call("proxy_get_property", p, n, 8, 12)
		if status != statusOK {
			return "", status
		}
		return h.got(), status
	}
	check := func(h *hand, want map[string]string) {
		t.Helper()
		for path, text := range want {
			if got, status := get(h, path); status != statusOK || got != text {
				t.Errorf("%s: got %d, %q; want %q", path, status, got, text)
			}
		}
	}
	within(t, b, x, phaseRequestHeaders, func(h *hand) {
		check(h, always)
		check(h, map[string]string{"request.size": number(0), "request.total_size": number(10 + 18 + 20)}) // not counted yet
		for path := range response {
			if _, status := get(h, path); status != statusNotFound {
				t.Errorf("%s on the way in: got %d; want NOT_FOUND", path, status)
			}
		}
		for _, path := range missing {
			if _, status := get(h, path); status != statusNotFound {
				t.Errorf("%q: got %d; want NOT_FOUND", path, status)
			}
		}
		if _, status := get(h, "request.duration"); status != statusNotFound {
			t.Errorf("request.duration: got %d before the end", status)
		}
	})
	within(t, b, x, phaseResponseHeaders, func(h *hand) {
		check(h, always)
		check(h, sizes)
		check(h, response)
	})
	within(t, b, x, phaseDone, func(h *hand) {
		check(h, response)
		if _, status := get(h, "request.duration"); status != statusOK {
			t.Errorf("request.duration: got %d at the end", status)
		}
	})
}

func TestResponseFlags(t *testing.T) {
	for reason, want := range map[string]uint64{"no-endpoint": 2, "response-timeout": 4, "connect-refused": 32, "upstream-closed": 64, "no-route": 256, "client-gone": 1 << 14, "plugin-trap": 0} {
		x := &exchange.Exchange{Err: &exchange.Error{Reason: reason}}
		if got := responseFlags(x); got != want || string(codeDetails(x)) != reason {
			t.Errorf("%s: got %d, %s; want %d", reason, got, codeDetails(x), want)
		}
	}
	if got := codeDetails(&exchange.Exchange{}); string(got) != "via_upstream" {
		t.Errorf("got %s", got)
	}
}

func TestForeignFunctions(t *testing.T) {
	b := start(t, caller(), nil)
	x := newExchange()
	tests := []struct {
		name, args string
		status     uint32
		result     string
	}{
		{"get_log_level", "", statusOK, "\x04\x00\x00\x00"},
		{"clear_route_cache", "", statusOK, ""},
		{"set_global_max_requests_per_io_cycle", "\x05\x00\x00\x00\x00\x00\x00\x00", statusOK, ""},
		{"set_envoy_filter_state", "\x0a\x03key\x12\x05value\x18\x01", statusOK, ""},
		{"set_envoy_filter_state", "\x0a\xffkey", statusBadArgument, ""},
		{"set_envoy_filter_state", "\x12\x05value", statusBadArgument, ""},
		{"declare_property", "\x0a\x03mine", statusBadArgument, ""},
		{"declare_property", "\x0a\x04mine\x10\x01", statusOK, ""},
		{"declare_property", "\x0a\x04mine", statusBadArgument, ""},
		{"inject_encoded_data_to_filter_chain", "\x0a\x04data", statusBadArgument, ""},
		{"uncompress", "x\x9c\xcbH\xcd\xc9\xc9\x07\x00\x06,\x02\x15", statusOK, "hello"},
		{"uncompress", "no stream", statusSerialization, ""},
		{"compress", "", statusOK, "x\x9c\x01\x00\x00\xff\xff\x00\x00\x00\x01"},
		{"verify_signature", "\x0a\x03md5", statusOK, "\x12F\"md5\" is no hash function: want sha1, sha224, sha256, sha384 or sha512"},
		{"verify_signature", "\xff", statusBadArgument, ""},
		{"sign", "\xff", statusBadArgument, ""},
		{"nobody.knows", "", statusNotFound, ""},
	}
	within(t, b, x, phaseRequestHeaders, func(h *hand) {
		for _, test := range tests {
			p, n := h.put(100, test.name)
			q, m := h.put(2000, test.args)
			status := h.call("proxy_call_foreign_function", p, n, q, m, 8, 12)
			if status != test.status || status == statusOK && h.got() != test.result {
				t.Errorf("%s: got %d; want %d %q", test.name, status, test.status, test.result)
			}
		}
	})
	if string(x.State["key"]) != "value" {
		t.Errorf("filter state: got %q", x.State)
	}
}

func TestInjectedDataPassesWhileTheResponseIsHeld(t *testing.T) {
	s := newScene(t, sceneOptions{grant: []string{capability.HTTPCalls}, script: strings.Join([]string{
		`response_body: inject_encoded_data_to_filter_chain "now " 0; ` + callOut + `; return 1`,
		`http_call_response: set_effective_context 2; call_foreign_function "inject_encoded_data_to_filter_chain" "\x0a\x05later\x10\x01" 0 0`}, "\n")})
	e := s.exchange(config.Reject)
	e.request("")
	go func() {
		c := <-s.calls.begun
		c.done(&capability.HTTPAnswer{Status: 200}, nil)
		<-s.calls.begun
	}()
	e.x.Response.Status, e.x.Response.Body, e.x.Response.ContentLength = 200, &parts{list: []string{"dropped"}}, -1
	if e.Response() != filter.Passed || e.ResponseBody() != filter.Passed {
		t.Fatal(e.Err())
	}
	got := e.read(t, e.x.Response.Body)
	if !strings.HasPrefix(got, "now ") || !strings.HasSuffix(got, "later") || strings.Contains(got, "dropped") {
		t.Errorf("got %q; want what was injected, in order", got)
	}
	e.Done()
}

func TestPoint19RawConnections(t *testing.T) {
	s := script(t,
		`new_connection: get_property "source\x00address" &&; get_header_map_value 0 "x" &&; send_local_response 403 "" "" {} -1; continue_stream 0`,
		`downstream_data: get_buffer_bytes 2 0 100 &&; get_buffer_bytes 0 0 100 &&; set_buffer_bytes 2 0 100 "changed"; close_stream 0`,
		`upstream_data: get_buffer_bytes 3 0 100 &&; return 1`,
		`upstream_connection_close: continue_stream 3; close_stream 2`)
	if s.f.Callbacks()&filter.OnConnection == 0 {
		t.Error("the filter says that it has no callbacks for connections")
	}
	w := &filter.Waker{}
	c, err := s.f.BeginConn(newExchange().Conn, w)
	if err != nil {
		t.Fatal(err)
	}
	expect := func(v filter.Verdict, err error, want filter.Verdict) {
		t.Helper()
		if v != want || err != nil {
			t.Errorf("got %v, %v; want %v", v, err, want)
		}
	}
	v, err := c.NewConnection()
	expect(v, err, filter.Continue)
	down := &filter.Buffer{Data: []byte("hello")}
	v, err = c.Data(true, down, false)
	expect(v, err, filter.Continue)
	if string(down.Data) != "changed" {
		t.Errorf("got %q; want what the guest wrote", down.Data)
	}
	v, err = c.Data(false, &filter.Buffer{Data: []byte("world")}, true)
	expect(v, err, filter.Pause)
	if err := c.Closed(false, true); err != nil {
		t.Error(err)
	}
	if err := c.Closed(true, false); err != nil {
		t.Error(err)
	}
	c.Done()
	wantLines(t, s.take(), "context_create 2 1", "new_connection 2", `  get_property 0 "192.0.2.1:99"`, `  get_header_map_value 2 ""`, "  send_local_response 2", "  continue_stream 12",
		"downstream_data 2 5 0", `  get_buffer_bytes 0 "hello"`, `  get_buffer_bytes 1 ""`, "  set_buffer_bytes 0", "  close_stream 12",
		"upstream_data 2 5 1", `  get_buffer_bytes 0 "world"`, "upstream_connection_close 2 2", "  continue_stream 0", "  close_stream 0", "downstream_connection_close 2 1",
		"done 2", "log 2", "delete 2")
}

func TestPoint19ARawPauseIsUndoneByASignal(t *testing.T) {
	s := script(t, `downstream_data: return 1`, `configure: set_tick_period_milliseconds 10`, `tick: set_effective_context 2; continue_stream 2`)
	w := &filter.Waker{}
	c, err := s.f.BeginConn(newExchange().Conn, w)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Done()
	if v, err := c.Data(true, &filter.Buffer{Data: []byte("x")}, false); v != filter.Pause || err != nil {
		t.Fatalf("got %v, %v", v, err)
	}
	s.until(t, "  continue_stream 0")
	for w.Take(filter.ResumeRequest) == 0 {
		s.until(t, "  continue_stream 0")
	}
}

// TestVersion010: short header callbacks, functions without a
// context of their own.
func TestVersion010(t *testing.T) {
	g := minimal()
	g.asks("proxy_get_configuration", "ii")
	g.asks("proxy_continue_request", "")
	g.asks("proxy_clear_route_cache", "")
	g.asks("proxy_get_header_map_value", "iiiii")
	for i, f := range []struct{ name, params string }{{"proxy_get_configuration", "ii"}, {"proxy_continue_request", ""}, {"proxy_clear_route_cache", ""}, {"proxy_get_header_map_value", "iiiii"}} {
		var code []byte
		for p := range f.params {
			code = append(code, 0x20, byte(p))
		}
		g.has("call_"+f.name, f.params, 1, append(append(code, 0x10), leb(i)...)...)
	}
	g.has("proxy_abi_version_0_1_0", "", 0)
	g.has("malloc", "i", 1, 0x41, 0x80, 0x80, 0x04)
	// Pauses, then continues by itself: the call wins.
	g.has("proxy_on_request_headers", "ii", 1, 0x10, 1, 0x1a, 0x41, 1)
	g.has("proxy_on_response_headers", "ii", 1, 0x41, 0)
	b := start(t, g.module(), func(c *config.Filter) { c.VMConfig = []byte("vm") })
	if b.err != nil {
		t.Fatal(b.err)
	}
	x := newExchange()
	s, _ := b.f.Begin(x, &filter.Waker{})
	if v, err := s.RequestHeaders(true); v != filter.Continue || err != nil {
		t.Errorf("got %v, %v; want Continue", v, err)
	}
	s.Done()
	within(t, b, x, phaseRequestHeaders, func(h *hand) {
		if h.call("proxy_get_configuration", 8, 12); h.got() != "config" {
			t.Errorf("configuration: got %q", h.got())
		}
		h.v.vmStart = true
		if h.call("proxy_get_configuration", 8, 12); h.got() != "vm" {
			t.Errorf("VM configuration: got %q", h.got())
		}
		h.v.vmStart = false
		p, n := h.put(100, "x-none")
		if status := h.call("proxy_get_header_map_value", 0, p, n, 8, 12); status != statusOK || h.got() != "" {
			t.Errorf("a missing field: got %d; want OK and nothing", status)
		}
		if status := h.call("proxy_clear_route_cache"); status != statusOK {
			t.Errorf("clear_route_cache: got %d", status)
		}
	})
}

// TestVersionMarkers: 0.2.0 and the dialect differ from 0.2.1 in the marker
// alone, as far as a guest can tell.
func TestVersionMarkers(t *testing.T) {
	for name, edit := range map[string]func([]byte) []byte{
		"0.2.0":   func(b []byte) []byte { return renameExport(b, "proxy_abi_version_0_2_1", "proxy_abi_version_0_2_0") },
		"0.2.1":   func(b []byte) []byte { return b },
		"0.2.100": dialect,
	} {
		s := newScene(t, sceneOptions{script: `request_headers: get_header_map_value 0 "x-none" &&`, edit: edit})
		if s.f.old || s.f.short || s.f.raw != (name == "0.2.100") {
			t.Errorf("%s: got old %v, short %v, raw %v", name, s.f.old, s.f.short, s.f.raw)
		}
		s.take()
		e := s.exchange(config.Reject)
		e.request("")
		e.Done()
		wantLines(t, s.take()[:3], "context_create 2 1", "request_headers 2 5 1", `  get_header_map_value 1 ""`)
	}
}

func TestActionsOfTheDialect(t *testing.T) {
	tests := map[string]struct {
		headers, body string
		want          string // of the body that goes on; "held" if nothing does
		bodies        int    // body callbacks before the headers went on
	}{
		"continue":                     {"0", "0", "abcdef", 0},
		"stop iteration":               {"1", "0", "abcdef", 1},
		"continue and end the stream":  {"2", "0", "", 0},
		"stop all, with a buffer":      {"3", "0", "held", 0},
		"stop all, with a watermark":   {"4", "0", "held", 0},
		"stop and buffer the body":     {"0", "1", "held", 0},
		"stop and watermark the body":  {"0", "2", "held", 0},
		"stop without a buffer at all": {"0", "3", "held", 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, sceneOptions{edit: dialect, script: "request_headers: return " + test.headers + "\nrequest_body: return " + test.body})
			s.take()
			e := s.exchange(config.Reject)
			e.Wait(30 * time.Millisecond)
			e.x.Request.Body, e.x.Request.ContentLength = &parts{list: []string{"abc", "def"}}, -1
			out := e.Request(e.chain, []byte("/"))
			if got := strings.Count(strings.Join(s.take(), "\n"), "request_body"); got != test.bodies {
				t.Errorf("got %d body callbacks before the headers went on; want %d", got, test.bodies)
			}
			if out == filter.Passed {
				out = e.RequestBody()
			}
			got := "held"
			if out == filter.Passed && e.x.Request.Body == nil {
				got = ""
			} else if out == filter.Passed {
				var b [100]byte
				n := 0
				for {
					m, err := e.x.Request.Body.Read(b[n:])
					if n += m; err != nil {
						break
					}
				}
				if n > 0 {
					got = string(b[:n])
				}
			}
			if got != test.want {
				t.Errorf("got %q; want %q", got, test.want)
			}
			e.Done()
		})
	}
}

func TestBeforeTheStartOnlyTheLogWorks(t *testing.T) {
	g := minimal()
	g.asks("proxy_set_shared_data", "iiiii")
	g.asks("proxy_log", "iii")
	// _initialize keeps what the two calls answered at address 0 and 4.
	g.has("_initialize", "", 0,
		0x41, 0, 0x41, 0, 0x41, 1, 0x41, 0, 0x41, 1, 0x41, 0, 0x10, 0, 0x36, 2, 0,
		0x41, 4, 0x41, 2, 0x41, 0, 0x41, 1, 0x10, 1, 0x36, 2, 0)
	g.has("proxy_on_request_headers", "iii", 1, 0x41, 0)
	b := start(t, g.complete(), nil)
	if b.err != nil {
		t.Fatal(b.err)
	}
	within(t, b, newExchange(), phaseRequestHeaders, func(h *hand) {
		shared, _ := h.s.i.Memory().ReadUint32Le(0)
		log, _ := h.s.i.Memory().ReadUint32Le(4)
		if shared != statusInternal || log != statusOK {
			t.Errorf("got %d and %d; want %d and %d", shared, log, statusInternal, statusOK)
		}
	})
}

// TestHostFunctionsAreCharged: a guest that has the host work for it spends its
// own budget.
func TestHostFunctionsAreCharged(t *testing.T) {
	g := minimal()
	g.asks("proxy_get_header_map_pairs", "iii")
	// An endless loop over a map of many KiB, into the same place.
	g.has("proxy_on_request_headers", "iii", 1, 0x03, 0x40, 0x41, 0, 0x41, 8, 0x41, 12, 0x10, 0, 0x1a, 0x0c, 0, 0x0b, 0)
	b := start(t, g.complete(), func(c *config.Filter) { c.Limits.CPUTime = 20 * time.Millisecond })
	if b.err != nil {
		t.Fatal(b.err)
	}
	x := newExchange()
	x.Request.Header.Add([]byte("X-Long"), []byte(strings.Repeat("x", 60<<10)))
	s, _ := b.f.Begin(x, &filter.Waker{})
	_, err := s.RequestHeaders(true)
	var failure *filter.Error
	if !errors.As(err, &failure) || failure.Cause != sandbox.CauseCPU {
		t.Errorf("got %v; want %s", err, sandbox.CauseCPU)
	}
	s.Done()
}
