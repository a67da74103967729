//go:build wasip1

// Command harm is a plugin that does harm: its configuration says where and
// what, as "request spin".
package main

import (
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

func main() {}

func init() { proxywasm.SetVMContext(&vm{}) }

type vm struct{ types.DefaultVMContext }

func (*vm) NewPluginContext(id uint32) types.PluginContext { return &plugin{} }

type plugin struct {
	types.DefaultPluginContext
	where, what string
	queue       uint32
	waiting     uint32
}

func (p *plugin) OnPluginStart(int) types.OnPluginStartStatus {
	config, err := proxywasm.GetPluginConfiguration()
	if err != nil {
		return types.OnPluginStartStatusFailed
	}
	p.where, p.what, _ = strings.Cut(string(config), " ")
	switch p.where {
	case "tick":
		_ = proxywasm.SetTickPeriodMilliSeconds(1)
	case "queue":
		p.queue, _ = proxywasm.RegisterSharedQueue("q")
	}
	return types.OnPluginStartStatusOK
}

var current uint32 // the stream whose callback runs

// armed is set by the first harmful request: what has no request does harm from then on.
var armed bool

func (p *plugin) OnTick() {
	if armed {
		do(p.what)
	}
}

func (p *plugin) OnQueueReady(uint32) { do(p.what) }

func (p *plugin) NewHttpContext(id uint32) types.HttpContext { return &stream{p: p, id: id} }

type stream struct {
	types.DefaultHttpContext
	p    *plugin
	id   uint32
	harm bool
}

func (s *stream) at(where string) bool { return s.harm && s.p.where == where }

func (s *stream) OnHttpRequestHeaders(int, bool) types.Action {
	current = s.id
	_, err := proxywasm.GetHttpRequestHeader("x-harm")
	if s.harm = err == nil; s.harm {
		armed = true
	}
	switch {
	case s.at("request"):
		if s.p.what == "pause" {
			return types.ActionPause
		}
		do(s.p.what)
	case s.at("queue"):
		_ = proxywasm.EnqueueSharedQueue(s.p.queue, []byte("x"))
	case s.at("answer"):
		_, _ = proxywasm.DispatchHttpCall("good", [][2]string{{":method", "GET"}, {":path", "/"}, {":authority", "good"}}, nil, nil, 1000, func(int, int, int) { do(s.p.what) })
		return types.ActionPause
	}
	return types.ActionContinue
}

func (s *stream) OnHttpRequestBody(int, bool) types.Action {
	if s.at("body") {
		if s.p.what == "pause" {
			return types.ActionPause
		}
		do(s.p.what)
	}
	return types.ActionContinue
}

func (s *stream) OnHttpResponseHeaders(int, bool) types.Action {
	if s.at("response") {
		do(s.p.what)
	}
	return types.ActionContinue
}

func (s *stream) OnHttpResponseBody(int, bool) types.Action {
	if s.at("responsebody") {
		do(s.p.what)
	}
	return types.ActionContinue
}

func (s *stream) OnHttpStreamDone() {
	if s.at("done") {
		do(s.p.what)
	}
}

//go:noinline
func recurse(n int) int {
	if n < 0 {
		return n
	}
	return recurse(n+1) + 1
}

var (
	zero  int
	never func()
	kept  [][]byte
)

// do does one kind of harm. What the host refuses is ignored, so that all of it is tried.
func do(what string) {
	switch what {
	case "spin":
		for i := 0; ; i++ {
			zero = i & 0
		}
	case "recurse":
		recurse(0)
	case "grow":
		for {
			block := make([]byte, 1<<20)
			for i := 0; i < len(block); i += 4096 {
				block[i] = 1
			}
			kept = append(kept, block)
		}
	case "one-allocation":
		kept = append(kept, make([]byte, 1<<30))
	case "trap":
		panic("harm")
	case "divide":
		zero = 1 / zero
	case "nil-call":
		never()
	case "exit":
		os.Exit(3)
	case "goroutines":
		for range 1 << 20 {
			go func() { select {} }()
		}
	case "sleep":
		time.Sleep(time.Hour)
	case "random":
		for {
			_, _ = rand.Read(make([]byte, 1<<16))
		}
	case "clock":
		for {
			_ = time.Now()
		}
	case "files":
		if _, err := os.ReadFile("/etc/passwd"); err == nil {
			panic("a file was read")
		}
		if os.WriteFile("/harm", nil, 0o600) == nil {
			panic("a file was written")
		}
	case "network":
		if c, err := net.Dial("tcp", "127.0.0.1:80"); err == nil {
			_ = c.Close()
			panic("a connection was opened")
		}
	case "environment":
		if len(os.Environ()) > 0 || len(os.Args) > 1 {
			panic("the environment is seen")
		}
	default:
		abuse(what)
	}
}

func abuse(what string) {
	long := strings.Repeat("x", 1<<20)
	switch what {
	case "log":
		for i := range 100_000 {
			proxywasm.LogErrorf("line %d", i)
		}
	case "log-long":
		for range 100 {
			proxywasm.LogError(long)
		}
	case "metrics":
		for i := range 100_000 {
			proxywasm.DefineCounterMetric(fmt.Sprintf("m%d", i))
		}
	case "shared-keys":
		for i := range 100_000 {
			_ = proxywasm.SetSharedData(fmt.Sprintf("k%d", i), []byte("v"), 0)
		}
	case "shared-bytes":
		for i := range 100 {
			_ = proxywasm.SetSharedData(fmt.Sprintf("k%d", i), []byte(long), 0)
		}
	case "queues":
		for i := range 10_000 {
			_, _ = proxywasm.RegisterSharedQueue(fmt.Sprintf("q%d", i))
		}
	case "queue-items":
		id, _ := proxywasm.RegisterSharedQueue("items")
		for range 100_000 {
			_ = proxywasm.EnqueueSharedQueue(id, []byte("item"))
		}
	case "queue-bytes":
		id, _ := proxywasm.RegisterSharedQueue("bytes")
		for range 100 {
			_ = proxywasm.EnqueueSharedQueue(id, []byte(long))
		}
	case "headers":
		for i := range 100_000 {
			_ = proxywasm.AddHttpRequestHeader(fmt.Sprintf("x-%d", i), "v")
		}
	case "header-long":
		_ = proxywasm.AddHttpRequestHeader("x-long", long)
	case "headers-bytes":
		value := strings.Repeat("y", 60<<10)
		for i := range 1000 {
			_ = proxywasm.AddHttpRequestHeader(fmt.Sprintf("x-%d", i), value)
		}
	case "response-headers":
		for i := range 100_000 {
			_ = proxywasm.AddHttpResponseHeader(fmt.Sprintf("x-%d", i), "v")
		}
	case "framing":
		for _, h := range [][2]string{{"transfer-encoding", "chunked"}, {"content-length", "1"}, {"connection", "close, x-a"}, {"te", "gzip"}, {"upgrade", "h2c"}} {
			_ = proxywasm.AddHttpRequestHeader(h[0], h[1])
		}
	case "pseudo":
		for _, h := range [][2]string{{":path", "/x HTTP/1.1\r\nHost: evil"}, {":method", "GET / HTTP/1.1\r\n"}, {":authority", "a\r\nx: y"}, {":status", "999"}, {":made-up", "x"}} {
			_ = proxywasm.ReplaceHttpRequestHeader(h[0], h[1])
		}
	case "status":
		for _, s := range []string{"99", "100", "999", "-1", "2e2", ""} {
			_ = proxywasm.ReplaceHttpResponseHeader(":status", s)
		}
	case "local-status":
		_ = proxywasm.SendHttpResponse(42, nil, nil, -1)
	case "local-body":
		_ = proxywasm.SendHttpResponse(200, nil, []byte(strings.Repeat(long, 20)), -1)
	case "local-headers":
		list := make([][2]string, 2000)
		for i := range list {
			list[i] = [2]string{fmt.Sprintf("x-%d", i), "v"}
		}
		_ = proxywasm.SendHttpResponse(200, list, nil, -1)
	case "amplify":
		for range 64 {
			_ = proxywasm.AppendHttpRequestBody([]byte(long))
		}
	case "amplify-response":
		for range 64 {
			_ = proxywasm.AppendHttpResponseBody([]byte(long))
		}
	case "calls":
		for range 10_000 {
			_, _ = proxywasm.DispatchHttpCall("good", [][2]string{{":method", "GET"}, {":path", "/"}, {":authority", "good"}}, nil, nil, 1000, func(int, int, int) {})
		}
	case "calls-elsewhere":
		for _, name := range []string{"127.0.0.1:1", "localhost:80", "169.254.169.254", "kubernetes.default.svc", "outbound|443||kubernetes.default.svc.cluster.local", "[::1]:80"} {
			if _, err := proxywasm.DispatchHttpCall(name, [][2]string{{":method", "GET"}, {":path", "/"}, {":authority", "a"}}, nil, nil, 100, func(int, int, int) {}); err == nil {
				panic("the call was begun: " + name)
			}
		}
	case "properties":
		for i := range 100_000 {
			_ = proxywasm.SetProperty([]string{fmt.Sprintf("p%d", i)}, []byte("v"))
		}
	case "properties-bytes":
		for i := range 100 {
			_ = proxywasm.SetProperty([]string{fmt.Sprintf("p%d", i)}, []byte(long))
		}
	case "contexts":
		for id := range uint32(10_000) {
			if id == current {
				continue
			}
			if proxywasm.SetEffectiveContext(id) == nil {
				_ = proxywasm.ReplaceHttpRequestHeader("x-stolen", "yes")
				_ = proxywasm.ResumeHttpRequest()
			}
		}
	case "foreign":
		for range 100_000 {
			_, _ = proxywasm.CallForeignFunction("nobody", []byte("x"))
		}
	case "consumer":
		if _, err := proxywasm.CallForeignFunction("penstock.set_consumer", []byte(`{"name":"admin"}`)); err == nil {
			panic("a consumer was set without the right to")
		}
	case "unzip":
		packed, _ := proxywasm.CallForeignFunction("compress", make([]byte, 8<<20))
		for range 1000 {
			_, _ = proxywasm.CallForeignFunction("uncompress", packed)
		}
	case "verify":
		for range 100_000 {
			_, _ = proxywasm.CallForeignFunction("verify_signature", []byte("\x0a\x06sha256"))
		}
	case "resume":
		for range 100_000 {
			_ = proxywasm.ResumeHttpRequest()
		}
	case "read":
		for {
			_, _ = proxywasm.GetHttpRequestHeaders()
		}
	}
}
