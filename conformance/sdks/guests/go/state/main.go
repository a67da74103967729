//go:build wasip1

// Command state is a plugin that shows what the SDK has beside a message: configuration,
// properties, shared data, queues, metrics, the log and the clock.
package main

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	sdk "penstock.dev/penstock/wasm-sdk/go"
)

func main() {}

func init() { sdk.Register(func() sdk.Plugin { return &plugin{} }) }

type config struct {
	Greeting string `json:"greeting"`
	Limits   []struct {
		Name string `json:"name"`
		Most int    `json:"most"`
	} `json:"limits"`
}

type plugin struct {
	config  config
	vm      string
	queue   sdk.Queue
	seen    sdk.Counter
	level   sdk.Gauge
	sizes   sdk.Histogram
	started time.Time
	ending  bool
}

// VMStart implements sdk.VMStarter.
func (p *plugin) VMStart(config []byte) error {
	p.vm = "started " + strconv.Itoa(len(config))
	return nil
}

// Configure implements sdk.Plugin.
func (p *plugin) Configure(text []byte) (err error) {
	if p.config, err = sdk.ParseConfig(text, config{Greeting: "good day"}); err != nil {
		return err
	}
	if _, err := sdk.ResolveQueue("", "nobody's"); !errors.Is(err, sdk.ErrNotFound) {
		return fmt.Errorf("a queue that nobody registered: %v", err)
	}
	if p.queue, err = sdk.RegisterQueue("paths"); err != nil {
		return err
	}
	if same, err := sdk.ResolveQueue("", "paths"); err != nil || same != p.queue {
		return fmt.Errorf("queue %d is %d, %v", p.queue, same, err)
	}
	if _, err := p.queue.Dequeue(); !errors.Is(err, sdk.ErrEmpty) {
		return fmt.Errorf("an empty queue: %v", err)
	}
	if p.seen, err = sdk.DefineCounter("requests_seen"); err != nil {
		return err
	}
	if p.level, err = sdk.DefineGauge("level"); err != nil {
		return err
	}
	if p.sizes, err = sdk.DefineHistogram("path_bytes"); err != nil {
		return err
	}
	if err := sdk.Done(); !errors.Is(err, sdk.ErrNotFound) {
		return fmt.Errorf("done before it is to end: %v", err)
	}
	p.started = sdk.Now()
	return nil
}

// NewStream implements sdk.Plugin.
func (p *plugin) NewStream() sdk.Stream { return &stream{plugin: p} }

// QueueReady implements sdk.QueueReader.
func (p *plugin) QueueReady(q sdk.Queue) {
	path, err := q.Dequeue()
	if err != nil {
		return // another instance was first
	}
	must(sdk.SetSharedData("last", append([]byte(nil), path...), 0))
}

// Done implements sdk.Finisher: the plugin wants a tick more.
func (p *plugin) Done() bool {
	p.ending = true
	must(sdk.SetTickPeriod(20 * time.Millisecond))
	return false
}

// Tick implements sdk.Ticker.
func (p *plugin) Tick() {
	if p.ending {
		p.ending = false
		must(sdk.Done())
		sdk.Log(sdk.Warn, "the plugin has finished")
	}
}

type stream struct {
	sdk.Base
	plugin *plugin
}

// RequestHeaders implements sdk.Stream.
func (s *stream) RequestHeaders(bool) sdk.Action {
	p := s.plugin
	path, _ := sdk.RequestHeader.Get(":path")
	must(p.queue.Enqueue([]byte(path)))
	p.seen.Increment(1)
	p.seen.Increment(-5) // not permitted: nothing happens
	p.level.Record(10)
	p.level.Increment(-3)
	p.sizes.Record(uint64(len(path)))
	must(sdk.UpdateSharedData("total", func(old []byte) []byte {
		n, _ := strconv.Atoi(string(old))
		return strconv.AppendInt(nil, int64(n)+1, 10)
	}))
	must(sdk.SetProperty([]string{"state", "mark"}, []byte("of "+path)))
	sdk.Log(sdk.Info, "an info line")
	if sdk.LogEnabled(sdk.Debug) {
		sdk.Log(sdk.Error, "debug is on")
	}
	total, _, err := sdk.SharedData("total")
	must(err)
	set := map[string]string{"x-total": string(total), "x-cas": swaps(), "x-vm": p.vm, "x-greeting": p.config.Greeting + " " + strconv.Itoa(len(p.config.Limits))}
	set["x-properties"] = properties()
	set["x-metrics"] = fmt.Sprint(p.seen.Value() > 0, " ", p.level.Value())
	set["x-time"] = fmt.Sprint(!sdk.Now().Before(p.started), " ", time.Since(sdk.Now()).Abs() < time.Minute)
	for name, value := range set {
		must(sdk.RequestHeader.Set(name, value))
	}
	return sdk.Continue
}

// swaps tries what compare and swap does with a key of the request's own.
func swaps() string {
	key := "key " + strconv.FormatInt(sdk.Now().UnixNano(), 10)
	_, _, missing := sdk.SharedData(key)
	must(sdk.SetSharedData(key, []byte("a"), 0))
	_, cas, err := sdk.SharedData(key)
	must(err)
	must(sdk.SetSharedData(key, []byte("b"), cas))
	late := sdk.SetSharedData(key, []byte("c"), cas)
	value, _, err := sdk.SharedData(key)
	must(err)
	return fmt.Sprint(errors.Is(missing, sdk.ErrNotFound), " ", errors.Is(late, sdk.ErrCASMismatch), " ", string(value))
}

func properties() string {
	method, _ := sdk.PropertyString("request", "method")
	port, hasPort := sdk.PropertyInt("source", "port")
	tls, hasTLS := sdk.PropertyBool("connection", "mtls")
	at, hasTime := sdk.PropertyTime("request", "time")
	_, hasNone := sdk.PropertyString("request", "none")
	_, wrong := sdk.PropertyInt("request", "method")
	return fmt.Sprint(method, " ", hasPort && port > 0 && port < 65536, " ", hasTLS, " ", tls, " ", hasTime && sdk.Now().Sub(at).Abs() < time.Minute, " ", hasNone, " ", wrong)
}

// ResponseHeaders implements sdk.Stream.
func (s *stream) ResponseHeaders(bool) sdk.Action {
	mark, _ := sdk.PropertyString("state", "mark")
	must(sdk.ResponseHeader.Set("x-mark", mark))
	if last, _, err := sdk.SharedData("last"); err == nil {
		must(sdk.ResponseHeader.Set("x-last", string(last)))
	}
	return sdk.Continue
}

// Log implements sdk.Logger.
func (s *stream) Log() {
	status, _ := sdk.PropertyInt("response", "code")
	took, ok := sdk.PropertyDuration("request", "duration")
	sdk.Log(sdk.Warn, fmt.Sprint("logged ", status, " ", ok && took > 0))
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
