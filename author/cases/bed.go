package cases

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/oci"
	"penstock.dev/penstock/core/plugin"
	"penstock.dev/penstock/core/sandbox"
	"penstock.dev/penstock/core/telemetry"
	"penstock.dev/penstock/hosts/capability"
)

// Options of a Bed.
type Options struct {
	Plugin *oci.Image // Module, Manifest and Schema
	// CacheDir and Compiler as in sandbox.Options.
	CacheDir string
	Compiler []string
	// ABIs makes the hosts of a case.
	ABIs func(World) []plugin.ABI
	// StartWithin bounds a plugin's start, with its compiling. Default 2 minutes.
	StartWithin time.Duration
}

// World is what the plugin of a case reaches: all of it is the case's own.
type World struct {
	Log     *zap.Logger
	Metrics *telemetry.Metrics
	HTTP    capability.HTTPCaller
	GRPC    capability.GRPCCaller
	Cache   capability.CacheObjects
	Redis   capability.RedisCaller
	// Rates makes a limiter, which counts by itself what proxies share, the case's: it
	// answers what the case has an answer to. Nil: there is no case.
	Rates func(capability.RateLimiter) capability.RateLimiter
	// Consumers are the Consumer objects of the case.
	Consumers capability.Consumers
	Clock     sandbox.Clock
}

// Bed runs cases of one plugin, one after another. Close it once.
type Bed struct {
	o      Options
	clock  *clock
	engine *sandbox.Engine
	// wanted are the callbacks that the plugin said it wants, of all cases together;
	// ran says that there was one.
	wanted filter.Callbacks
	ran    bool
}

// New returns a Bed.
func New(o Options) (*Bed, error) {
	if o.StartWithin == 0 {
		o.StartWithin = 2 * time.Minute
	}
	b := &Bed{o: o, clock: newClock()}
	var err error
	b.engine, err = sandbox.New(sandbox.Options{Dir: o.CacheDir, Compiler: o.Compiler, Clock: b.clock}, zap.NewNop(), telemetry.New())
	if err != nil {
		return nil, err
	}
	return b, nil
}

// Close frees what the bed holds.
func (b *Bed) Close() error { return b.engine.Close() }

// Result is what became of a case.
type Result struct {
	Name string `json:"name"`
	// Faults say what was not as wanted, each in a line; none: the case passed.
	Faults []string `json:"faults,omitempty"`
	// Logs are what the plugin logged, as "level: line".
	Logs []string      `json:"logs,omitempty"`
	Took time.Duration `json:"tookNs"`
}

// trial is a case that runs.
type trial struct {
	*Bed
	f     *config.Filter
	image *oci.Image
	who   []Someone // Consumer objects
	calls *calls
	logs  logs
	m     *telemetry.Metrics
	chain *filter.Chain
}

// Run runs a case of file. The error is for what is no fault of the plugin's.
func (b *Bed) Run(ctx context.Context, file *File, c *Case) (Result, error) {
	began := time.Now()
	t := b.trial(file, c)
	faults, err := t.run(ctx, c)
	return Result{Name: c.Name, Faults: faults, Logs: t.logs.lines(), Took: time.Since(began)}, err
}

// trial begins a case, at the time at which all begin.
func (b *Bed) trial(file *File, c *Case) *trial {
	b.clock.reset()
	t := &trial{Bed: b, calls: newCalls(b.clock), m: telemetry.New(), f: b.filter(file, c), image: b.o.Plugin, who: file.Consumers}
	if c.Schema != nil && !*c.Schema {
		without := *b.o.Plugin
		without.Schema = nil
		t.image = &without
	}
	if c.Consumers != nil {
		t.who = c.Consumers
	}
	t.logs.lacks = func(capability string) string {
		where := "plugin.json"
		switch {
		case c.Capabilities != nil:
			where = "the case"
		case file.Capabilities != nil:
			where = "the file of cases"
		}
		return fmt.Sprintf("%s; add %q to capabilities in %s", capability, capability, where)
	}
	return t
}

// manager runs the plugin in the world of the case, where it logs to log.
func (t *trial) manager(log *zap.Logger) *plugin.Manager {
	return plugin.New(plugin.Options{
		Images: fixed{t.image}, Engine: t.engine, Log: log, Metrics: t.m, Bodies: filter.NewBudget(1<<30, t.m),
		ABIs: t.o.ABIs(World{log, t.m, t.calls, t.calls, &objects{clock: t.clock}, t.calls, t.calls.rates, index(t.who, t.f), t.clock}),
	})
}

// filter is the entry of a chain that the case stands for.
func (b *Bed) filter(file *File, c *Case) *config.Filter {
	f := &config.Filter{
		Part: "service", Name: "plugin", Owner: config.Object{Kind: "Service", Namespace: "default", Name: "case"}, Namespace: "default",
		Hash: "case", Image: "cases/plugin", Limits: config.DefaultLimits(), Config: c.Config.text, Grant: config.GrantManifest,
		Egress: []config.Egress{{Hostname: "*"}}, Redis: file.redisOf(),
	}
	if !c.Config.set {
		f.Config = file.Config.text
	}
	l := file.Limits
	for _, d := range []struct {
		to   *time.Duration
		said Duration
	}{{&f.Limits.CPUTime, l.CPUTime}, {&f.Limits.CPUTimeExchange, l.CPUTimeExchange}, {&f.Limits.CPUTimeStart, l.CPUTimeStart}} {
		if d.said != 0 {
			*d.to = time.Duration(d.said)
		}
	}
	if l.Memory != 0 {
		f.Limits.MemoryBytes = int64(l.Memory)
	}
	if l.Body != 0 {
		f.Limits.BodyBytes = int64(l.Body)
	}
	if granted := c.granted(file); granted != nil {
		f.Grant, f.Capabilities = config.GrantListed, granted
	}
	return f
}

func (t *trial) run(ctx context.Context, c *Case) (faults []string, err error) {
	manager := t.manager(zap.New(&t.logs))
	defer manager.Close()
	r := manager.Acquire(t.f)
	defer r.Release()
	state, err := t.started(ctx, manager, r)
	switch {
	case err != nil:
		return nil, err
	case c.Refused != "" && state.Phase == plugin.Ready:
		return []string{"refused: the plugin took its configuration"}, nil
	case c.Refused != "":
		if !strings.Contains(state.Message, c.Refused) && !t.logs.hold(c.Refused) {
			return []string{fmt.Sprintf("refused for another reason: %s: %s; want %q in it or in the log", state.Reason, state.Message, c.Refused)}, nil
		}
		return t.logs.compare(c.Logs), nil
	case state.Phase != plugin.Ready:
		return []string{fmt.Sprintf("the plugin does not start: %s: %s", state.Reason, state.Message)}, nil
	}
	entry := r.Entry(t.f)
	t.ran, t.wanted = true, t.wanted|entry.Filter.Callbacks()
	t.chain = filter.New([]filter.Entry{entry})
	for i := range c.Exchanges {
		for _, fault := range t.exchange(&c.Exchanges[i]) {
			if len(c.Exchanges) > 1 {
				fault = fmt.Sprintf("exchanges[%d].%s", i, fault)
			}
			faults = append(faults, fault)
		}
	}
	for i := range c.Connections {
		for _, fault := range t.connection(&c.Connections[i]) {
			faults = append(faults, fmt.Sprintf("connections[%d].%s", i, fault))
		}
	}
	for p, _ := t.calls.next(); p != nil; p, _ = t.calls.next() { // what nobody waits for comes too
		t.calls.answer(p)
	}
	got := t.m.GuestValues(t.f.Owner.String(), t.f.ID())
	for name, want := range c.Metrics {
		if v, ok := got[name]; !ok {
			faults = append(faults, fmt.Sprintf("metrics.%s: no metric of this name; there %s", name, thereAre(slices.Sorted(maps.Keys(got)))))
		} else if v != want {
			faults = append(faults, fmt.Sprintf("metrics.%s: got %d; want %d", name, v, want))
		}
	}
	return append(faults, t.logs.compare(c.Logs)...), nil
}

// thereAre says which names there are, of many the first.
func thereAre(names []string) string {
	const most = 20
	switch n := len(names); {
	case n == 0:
		return "are none"
	case n > most:
		return fmt.Sprintf("are: %s, and %d more", strings.Join(names[:most], ", "), n-most)
	}
	return "are: " + strings.Join(names, ", ")
}

// started waits until a runtime is ready, or has failed.
func (t *trial) started(ctx context.Context, m *plugin.Manager, r *plugin.Runtime) (*plugin.State, error) {
	timeout := time.After(t.o.StartWithin)
	for {
		if s := r.State(); s.Phase == plugin.Ready || s.Phase == plugin.Failed {
			return s, nil
		}
		select {
		case <-m.Changed():
		case <-time.After(20 * time.Millisecond):
		case <-timeout:
			return nil, fmt.Errorf("the plugin has not started in %v", t.o.StartWithin)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// fixed is the one image there is.
type fixed struct{ image *oci.Image }

// Get implements plugin.Images.
func (f fixed) Get(context.Context, oci.Request) (*oci.Image, error) { return f.image, nil }

// Recheck implements plugin.Images.
func (fixed) Recheck(context.Context, oci.Request, string) error { return nil }

// Resolve implements plugin.Images.
func (f fixed) Resolve(context.Context, oci.Request) (string, error) { return f.image.Digest, nil }

// logs is a zapcore.Core that keeps what is written.
type logs struct {
	// lacks says what to do for a plugin that was not granted a capability; nil: nothing.
	lacks func(capability string) string

	mu  sync.Mutex
	all []string
}

const maxLogs = 10_000

// Enabled implements zapcore.LevelEnabler: all levels are of interest.
func (*logs) Enabled(zapcore.Level) bool { return true }

// With implements zapcore.Core.
func (l *logs) With([]zapcore.Field) zapcore.Core { return l }

// Check implements zapcore.Core.
func (l *logs) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return c.AddCore(e, l)
}

// Write implements zapcore.Core.
func (l *logs) Write(e zapcore.Entry, fields []zapcore.Field) error {
	line := e.Level.String() + ": " + e.Message
	var rest []string
	for _, f := range fields {
		switch err, ok := f.Interface.(error); {
		case ok:
			line += ": " + err.Error()
		case f.Type == zapcore.StringType && f.Key == "capability" && l.lacks != nil:
			line += ": " + l.lacks(f.String)
		case f.Key == "upstream", f.Key == "call", f.Key == "reason": // the others say what is tested
			rest = append(rest, f.Key+" "+f.String)
		}
	}
	if rest != nil {
		line += " (" + strings.Join(rest, ", ") + ")"
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.all) < maxLogs {
		l.all = append(l.all, line)
	}
	return nil
}

// Sync implements zapcore.Core.
func (*logs) Sync() error { return nil }

func (l *logs) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(l.all), func(line string) bool { return strings.HasSuffix(line, ": filter ready") })
}

func (l *logs) hold(text string) bool {
	return slices.ContainsFunc(l.lines(), func(line string) bool { return strings.Contains(line, text) })
}

// compare says which of the lines that are wanted, in their order, are not there.
func (l *logs) compare(want []string) []string {
	rest := l.lines()
	for i, text := range want {
		at := slices.IndexFunc(rest, func(line string) bool { return strings.Contains(line, text) })
		if at < 0 {
			return []string{fmt.Sprintf("logs[%d]: no line has %q", i, text)}
		}
		rest = rest[at+1:]
	}
	return nil
}

var (
	_ plugin.Images = fixed{}
	_ zapcore.Core  = (*logs)(nil)

	errNoExchange = errors.New("the exchange does not end")
	errHeld       = errors.New("the plugin holds the exchange, and nothing is to come that it could wait for")
)
