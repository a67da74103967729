package proxywasm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/sandbox"
	"penstock.dev/penstock/core/telemetry"
	"penstock.dev/penstock/hosts/capability"
)

// scriptGuest builds testdata/script once.
var scriptGuest = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "script")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "script.wasm")
	c := exec.Command("go", "build", "-buildmode=c-shared", "-trimpath", "-o", out, "./testdata/script")
	c.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if text, err := c.CombinedOutput(); err != nil {
		return nil, errors.New(string(text))
	}
	return os.ReadFile(out)
})

// compiled is a folder for the script guest's code.
var compiled string

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == compileArgument {
		if err := sandbox.Compile(os.Args[3], 1<<30, time.Minute, os.Stdin); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	dir, err := os.MkdirTemp("", "proxywasm-")
	if err != nil {
		panic(err)
	}
	compiled = dir
	code := m.Run()
	_ = os.RemoveAll(dir) // it only takes room
	os.Exit(code)
}

// compiler is a process that compiles without the race detector, which would take minutes: this
// package's tests, whose TestMain compiles if its first argument is that. nil: this one does.
func compiler() []string {
	out := filepath.Join(compiled, "compiler")
	if !raceEnabled || exec.Command("go", "test", "-c", "-o", out, ".").Run() != nil {
		return nil
	}
	return []string{out, compileArgument}
}

const compileArgument = "compile"

// scriptEngine compiles the guest once for all tests, and keeps it loaded: loading is a
// quarter of the tests' time with the race detector.
var scriptEngine = sync.OnceValues(func() (*sandbox.Engine, error) {
	e, err := sandbox.New(sandbox.Options{Dir: filepath.Join(compiled, "c"), Compiler: compiler()}, zap.NewNop(), telemetry.New())
	if err != nil {
		return nil, err
	}
	wasm, err := scriptGuest()
	if err == nil {
		_, err = e.Load(context.Background(), wasm)
	}
	return e, err
})

// trace is what the guest wrote.
type trace struct {
	zapcore.LevelEnabler
	mu    sync.Mutex
	lines []string
	grown chan struct{}
}

func newTrace() *trace {
	return &trace{LevelEnabler: zapcore.DebugLevel, grown: make(chan struct{}, 1)}
}

func (l *trace) With([]zapcore.Field) zapcore.Core { return l }
func (l *trace) Sync() error                       { return nil }
func (l *trace) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return c.AddCore(e, l)
}

func (l *trace) Write(e zapcore.Entry, _ []zapcore.Field) error {
	l.mu.Lock()
	l.lines = append(l.lines, e.Message)
	l.mu.Unlock()
	select {
	case l.grown <- struct{}{}:
	default:
	}
	return nil
}

// take returns what was written since the last time.
func (l *trace) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := l.lines
	l.lines = nil
	return lines
}

// until waits for a line that starts with prefix, and returns all up to it.
func (l *trace) until(tb testing.TB, prefix string) []string {
	tb.Helper()
	deadline := time.After(10 * time.Second)
	for {
		l.mu.Lock()
		i := slices.IndexFunc(l.lines, func(s string) bool { return strings.HasPrefix(s, prefix) })
		if i >= 0 {
			lines := l.lines[:i+1]
			l.lines = l.lines[i+1:]
			l.mu.Unlock()
			return lines
		}
		l.mu.Unlock()
		select {
		case <-l.grown:
		case <-deadline:
			tb.Fatalf("no line %q; got\n%s", prefix, strings.Join(l.take(), "\n"))
		}
	}
}

// calls is an HTTPCaller whose answers the test gives.
type calls struct {
	begun  chan *begunCall
	refuse error
	before func() // called first; nil: nothing is
}

type begunCall struct {
	*capability.HTTPCall
	done      func(*capability.HTTPAnswer, error)
	cancelled chan struct{}
}

func (c *calls) HTTPCall(call *capability.HTTPCall, done func(*capability.HTTPAnswer, error)) (func(), error) {
	if c.before != nil {
		c.before()
	}
	if c.refuse != nil {
		return nil, c.refuse
	}
	b := &begunCall{call, done, make(chan struct{})}
	c.begun <- b
	return sync.OnceFunc(func() { close(b.cancelled) }), nil
}

// scene is a filter that runs a script.
type scene struct {
	*trace
	tb    testing.TB
	abi   *ABI
	f     *Filter
	calls *calls
	grpc  *grpcCalls
	redis *redisCalls
	cache *shelves
}

type sceneOptions struct {
	script string
	change func(*config.Filter)
	edit   func(wasm []byte) []byte
	grant  []string
	with   *scene // shares its ABI, and its trace
	names  capability.Resolver
	cache  *shelves // nil: UNIMPLEMENTED
	people capability.Consumers
	multi  bool   // the image says multiConfig
	name   string // of the owner; default the test's
}

func newScene(tb testing.TB, o sceneOptions) *scene {
	tb.Helper()
	s, err := tryScene(tb, o)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func tryScene(tb testing.TB, o sceneOptions) (*scene, error) {
	tb.Helper()
	wasm, err := scriptGuest()
	if err != nil {
		tb.Fatal(err)
	}
	e, err := scriptEngine()
	if err != nil {
		tb.Fatal(err)
	}
	if o.edit != nil {
		wasm = o.edit(slices.Clone(wasm))
	}
	module, err := e.Load(tb.Context(), wasm)
	if err != nil {
		tb.Fatal(err)
	}
	c := &config.Filter{Part: "service", Name: "script", Owner: config.Object{Kind: "Service", Namespace: "ns", Name: tb.Name()}, Namespace: "ns", Config: []byte(o.script), Limits: config.DefaultLimits()}
	c.Limits.CPUTime, c.Limits.CPUTimeExchange = time.Second, 5*time.Second
	if o.name != "" {
		c.Owner.Name = o.name
	}
	if o.change != nil {
		o.change(c)
	}
	s := &scene{trace: newTrace(), tb: tb, calls: &calls{begun: make(chan *begunCall, 100)}, grpc: &grpcCalls{begun: make(chan *grpcBegun, 100)}, redis: &redisCalls{begun: make(chan *redisBegun, 200)}}
	with := Options{Log: zap.New(s.trace), Metrics: telemetry.New(), HTTP: s.calls, GRPC: s.grpc, Redis: s.redis, Names: o.names, NodeID: "node-1"}
	with.Consumers = o.people
	if o.cache != nil {
		with.Cache, s.cache = o.cache, o.cache
	}
	s.abi = New(with)
	if o.with != nil {
		s.trace, s.abi = o.with.trace, o.with.abi
	}
	s.f, err = s.abi.Start(tb.Context(), module, c, config.Loaded{Grant: o.grant, MultiConfig: o.multi, Connections: true})
	if err == nil {
		tb.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			s.f.Close(ctx)
		})
	}
	return s, err
}

// script runs s as a filter with all grants.
func script(tb testing.TB, lines ...string) *scene {
	tb.Helper()
	s := newScene(tb, sceneOptions{script: strings.Join(lines, "\n"), grant: []string{capability.HTTPCalls, capability.Consumer}})
	s.take()
	return s
}

// exchangeOf is one exchange through the scene's filter.
type exchangeOf struct {
	filter.Run
	x     *exchange.Exchange
	chain *filter.Chain
}

type quietClient struct{}

func (quietClient) Inform(*exchange.Exchange, int, *exchange.Header) error { return nil }
func (quietClient) Send(*exchange.Exchange) error                          { return nil }
func (quietClient) Watch(func()) func()                                    { return func() {} }

func (s *scene) exchange(onError config.OnError) *exchangeOf {
	x := newExchange()
	x.Client = quietClient{}
	failures := telemetry.New().Counters("penstock_test_failures_total", "test", "name")
	e := &exchangeOf{x: x, chain: filter.New([]filter.Entry{{Filter: s.f, ID: "service/script", OnError: onError, BodyBytes: s.f.config.Limits.BodyBytes, Failures: failures.With("x")}})}
	e.Start(x)
	e.Wait(5 * time.Second)
	return e
}

// request runs the request's way with this body, "" for none.
func (e *exchangeOf) request(body string) filter.Outcome {
	if body != "" {
		e.x.Request.Body, e.x.Request.ContentLength = exchange.NewBytes([]byte(body)), -1
	}
	if out := e.Request(e.chain, []byte("/")); out != filter.Passed {
		return out
	}
	return e.RequestBody()
}

// response runs the response's way.
func (e *exchangeOf) response(body string) filter.Outcome {
	e.x.Response.Status = 200
	if body != "" {
		e.x.Response.Body, e.x.Response.ContentLength = exchange.NewBytes([]byte(body)), -1
	}
	if out := e.Response(); out != filter.Passed {
		return out
	}
	return e.ResponseBody()
}

func (e *exchangeOf) read(tb testing.TB, b exchange.Body) string {
	tb.Helper()
	if b == nil {
		return ""
	}
	text, err := io.ReadAll(b)
	if err != nil {
		tb.Errorf("body: %v", err)
	}
	return string(text)
}

// wantLines compares what the guest wrote; "..." stands for anything.
func wantLines(tb testing.TB, got []string, want ...string) {
	tb.Helper()
	for i := range want {
		if i >= len(got) {
			break
		}
		if head, ok := strings.CutSuffix(want[i], "..."); ok && strings.HasPrefix(got[i], head) {
			got[i] = want[i]
		}
	}
	if !slices.Equal(got, want) {
		tb.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}
