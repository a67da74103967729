package cases

import (
	"slices"
	"sync"
	"time"

	"penstock.dev/penstock/core/sandbox"
)

// observer is a sandbox.Observer that keeps what it is told until it is taken.
type observer struct {
	mu  sync.Mutex
	now record
}

// record is what guests did.
type record struct {
	functions []*function // in the order of their first call
	host      map[string]int64
}

type function struct {
	name  string
	calls int64
	took  time.Duration
	each  []int64 // steps of each call
}

// Called implements sandbox.Observer.
func (o *observer) Called(name string, steps int64, took time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f := o.now.function(name)
	f.calls++
	f.took += took
	f.each = append(f.each, steps)
}

// HostCalled implements sandbox.Observer.
func (o *observer) HostCalled(name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.now.host == nil {
		o.now.host = map[string]int64{}
	}
	o.now.host[name]++
}

func (o *observer) take() record {
	o.mu.Lock()
	defer o.mu.Unlock()
	r := o.now
	o.now = record{}
	return r
}

func (r *record) function(name string) *function {
	i := slices.IndexFunc(r.functions, func(f *function) bool { return f.name == name })
	if i < 0 {
		i = len(r.functions)
		r.functions = append(r.functions, &function{name: name})
	}
	return r.functions[i]
}

// total is the steps of all calls.
func (r record) total() (steps int64) {
	for _, f := range r.functions {
		for _, n := range f.each {
			steps += n
		}
	}
	return steps
}

// largest is the steps of the dearest call of each function: what one instance's start
// takes, of several.
func (r record) largest() (steps int64) {
	for _, f := range r.functions {
		steps += slices.Max(f.each)
	}
	return steps
}

func (r *record) add(more record) {
	for _, f := range more.functions {
		into := r.function(f.name)
		into.calls, into.took, into.each = into.calls+f.calls, into.took+f.took, append(into.each, f.each...)
	}
	if r.host == nil {
		r.host = map[string]int64{}
	}
	for name, n := range more.host {
		r.host[name] += n
	}
}

var _ sandbox.Observer = (*observer)(nil)
