package plugin

import (
	"sync/atomic"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/filter"
)

// Phase is how far a runtime is.
type Phase string

// The phases, with the names that reports use (annotations.md, section 3).
const (
	Pulling   Phase = "Pulling"
	Compiling Phase = "Compiling"
	Ready     Phase = "Ready"
	Failed    Phase = "Failed"
	// Quarantined: it runs, and takes no exchange for now.
	Quarantined Phase = "Quarantined"
	// RolledBack: its object runs the filter's form before it.
	RolledBack Phase = "RolledBack"
)

// State is what is known of a runtime; immutable.
type State struct {
	Phase   Phase
	Reason  string // of a failure: "ImageUnavailable", "InvalidModule", ...
	Message string // for operators; names the cause, never config or secrets
	Digest  string // of the image, once known
	Guard   bool   // known to guard access: by its entry, capability or manifest
	// Missing are the capabilities that the image asks for and is not granted.
	Missing []string
	Since   time.Time
}

// Runtime is the compiled, running form of one configured filter. It is shared
// by reference count: Manager.Acquire adds one, Release drops one.
type Runtime struct {
	manager *Manager
	config  *config.Filter
	base    *config.Filter // the filter as configured, if its tag has moved; else nil
	refs    int            // guarded by Manager.mu
	// latest is the newest form of config: pull secrets may change.
	latest atomic.Pointer[config.Filter]
	kick   chan struct{} // capacity 1: try again now

	state   atomic.Pointer[State]
	note    atomic.Pointer[string] // Note
	running Running                // set before state says Ready
	gate    gate                   // around running
	ready   atomic.Bool            // it has been Ready once
	health  health
	entry   entryParts
	canary  *canary // nil: it is none
	told    Phase   // that states count; guarded by states.mu
	cancel  func()
	done    chan struct{} // closed when the loader has ended
}

// State returns what is known now. Any goroutine may call it.
func (r *Runtime) State() *State { return r.state.Load() }

// Config returns the filter that r runs.
func (r *Runtime) Config() *config.Filter { return r.config }

// Latest returns the filter as it was last acquired: what is no part of its hash may
// have changed since it began to run.
func (r *Runtime) Latest() *config.Filter { return r.latest.Load() }

// Runnable reports whether exchanges can be handed to the runtime; in
// quarantine they meet onError.
func (s *State) Runnable() bool {
	return s.Phase == Ready || s.Phase == Quarantined || s.Phase == RolledBack
}

// Entry returns f's place in a chain. f has r's hash, but may stand in another
// part or have other exceptions. Only for a runtime that is Runnable. The Filter of a
// native one, the response cache, is left to the caller.
func (r *Runtime) Entry(f *config.Filter) filter.Entry {
	e := filter.Entry{
		Filter:    &r.gate,
		ID:        f.ID(),
		OnError:   f.OnError,
		BodyBytes: f.Limits.BodyBytes,
		Tenant:    f.Tenant(),
		Bodies:    r.manager.o.Bodies,
		Failures:  r.entry.failures,
		Failed:    r.failed,
	}
	for _, x := range f.Except {
		m := config.Match{PathType: x.PathType, Path: x.Path, Regex: x.Regex}
		if len(x.Methods) == 0 {
			e.Except = append(e.Except, m)
		}
		for _, m.Method = range x.Methods {
			e.Except = append(e.Except, m)
		}
	}
	return e
}

// Release drops a reference. The last one drains and closes the runtime; it
// does not wait for that.
func (r *Runtime) Release() { r.manager.release(r) }
