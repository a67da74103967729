package proxywasm

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"

	"penstock.dev/penstock/core/sandbox"
)

// instances is a pool of instances: one filter's own, or what the filters of a
// namespace share whose image says multiConfig (decisions D4).
type instances struct {
	key  string // empty: not shared
	pool *sandbox.Pool
	refs int // guarded by shares.mu
	// asker is the filter that asked last for an instance: a new one starts in its
	// name, until a root context runs.
	asker atomic.Pointer[Filter]
}

// shares are the shared instances, by key.
type shares struct {
	mu sync.Mutex
	by map[string]*instances
}

// shareKey is equal for filters that may share instances: what an instance is
// made from is the same for all of them.
func (f *Filter) shareKey() string {
	c := f.config
	text, err := json.Marshal([]any{c.Namespace, c.Tenant(), f.module.Digest(), c.VMID, c.VMConfig, c.Env, c.Limits.MemoryBytes, c.Limits.CPUTimeStart})
	if err != nil {
		panic("BUG: " + err.Error()) // strings and numbers
	}
	return string(text)
}

// own makes a pool of f's own; lazy: without a first instance.
func (f *Filter) own(ctx context.Context, lazy bool) (*instances, error) {
	n := &instances{refs: 1}
	return n, n.open(ctx, f, f.config.Owner.String(), f.config.ID(), lazy)
}

func (n *instances) open(ctx context.Context, f *Filter, owner, name string, lazy bool) error {
	c := f.config
	n.asker.Store(f)
	var err error
	n.pool, err = f.module.NewPool(ctx, sandbox.PoolOptions{
		Owner: owner, Filter: name, Tenant: c.Tenant(),
		MemoryBytes: c.Limits.MemoryBytes,
		StartSteps:  sandbox.Steps(c.Limits.CPUTimeStart),
		Env:         c.Env,
		Import:      f.abi.imports,
		Init:        n.start,
		Closing:     closing,
		Died:        died,
		Idle:        idle,
		Lazy:        lazy,
		Patient:     n.key != "",
		Line: func(i *sandbox.Instance, stderr bool, line []byte) {
			level := levelInfo
			if stderr {
				level = levelError
			}
			log, exchange := n.asker.Load().log, uint64(0)
			if v, ok := i.Data.(*vm); ok {
				log, exchange = v.r.f.log, v.exchange()
			}
			log.write(exchange, level, line)
		},
	})
	return err
}

// join returns the instances that f shares, made if it is the first.
func (a *ABI) join(ctx context.Context, f *Filter) (*instances, error) {
	key := f.shareKey()
	a.shares.mu.Lock()
	defer a.shares.mu.Unlock()
	if n := a.shares.by[key]; n != nil {
		n.refs++
		return n, nil
	}
	n := &instances{key: key, refs: 1}
	owner := "Namespace/" + f.config.Namespace
	if err := n.open(ctx, f, owner, "shared/"+shortDigest(f.module.Digest()), true); err != nil {
		return nil, err
	}
	a.shares.by[key] = n
	return n, nil
}

// shortDigest is enough of a digest to tell modules apart in a report.
func shortDigest(digest string) string {
	const prefix = len("sha256:")
	return digest[prefix:min(prefix+12, len(digest))]
}

// leave closes instances that nobody uses any more.
func (a *ABI) leave(ctx context.Context, n *instances) {
	a.shares.mu.Lock()
	n.refs--
	last := n.refs == 0
	if last && n.key != "" {
		delete(a.shares.by, n.key)
	}
	a.shares.mu.Unlock()
	if last {
		n.pool.Close(ctx)
	}
}

// acquire returns f's root context on a free instance, which is locked. A
// *sandbox.Failure, or ErrConfigRefused.
func (f *Filter) acquire() (*root, error) {
	for {
		n := f.on.Load()
		if n.key != "" && f.alone.Load() {
			var err error
			if n, err = f.separate(); err != nil {
				return nil, &sandbox.Failure{Cause: sandbox.CauseUnavailable, Err: err}
			}
			f.depart()
		}
		r, err := f.rootOn(n)
		if err == nil || n.key == "" || !f.alone.Load() {
			return r, err
		}
	}
}

// rootOn is acquire on these instances. Where others share them and do not take
// f's configuration, which has passed its trial, f is to be alone.
func (f *Filter) rootOn(n *instances) (*root, error) {
	if n.asker.Load() != f {
		n.asker.Store(f)
	}
	i, err := n.pool.Acquire()
	if err != nil {
		return nil, err
	}
	if f.ended.Load() || n.key != "" && f.alone.Load() { // others may go on here
		i.Unlock()
		return nil, &sandbox.Failure{Cause: sandbox.CauseUnavailable, Err: sandbox.ErrClosed}
	}
	v := i.Data.(*vm)
	if r := v.roots[f]; r != nil {
		return r, nil
	}
	left := sandbox.Steps(f.config.Limits.CPUTimeStart)
	r, err := v.add(f, &left)
	if err != nil {
		if !blameless(err) {
			f.alone.Store(true)
		}
		i.Unlock()
		return nil, fmt.Errorf("start on an instance that is shared: %w", err)
	}
	return r, nil
}

// separate gives f instances of its own: one of its calls has ended an instance
// that it shared, or its configuration was refused there.
func (f *Filter) separate() (*instances, error) {
	f.moving.Lock()
	defer f.moving.Unlock()
	n := f.on.Load()
	if n.key == "" {
		return n, nil
	}
	if f.ended.Load() {
		return nil, sandbox.ErrClosed
	}
	n, err := f.own(context.Background(), true)
	if err != nil {
		return nil, err
	}
	f.left = f.on.Swap(n)
	f.log.Warn("the plugin failed on an instance that it shared with others: it gets instances of its own")
	return n, nil
}

// depart closes the root contexts that f has left behind on the instances that it
// shared, once its streams there are done, and then gives these up. No instance is
// locked.
func (f *Filter) depart() {
	f.moving.Lock()
	n := f.left
	f.moving.Unlock()
	if n == nil {
		return
	}
	inUse := false
	n.pool.Each(func(i *sandbox.Instance) {
		r := i.Data.(*vm).roots[f]
		switch {
		case r == nil:
		case r.inUse():
			inUse = true
		default:
			r.end()
		}
	})
	if !inUse && f.takeLeft() != nil {
		nobody, cancel := context.WithCancel(context.Background())
		cancel() // who left before, or was closed, has no stream to wait for
		f.abi.leave(nobody, n)
	}
}

// takeLeft returns the instances that f shared before, for whoever gives them up;
// nil: that is done.
func (f *Filter) takeLeft() *instances {
	f.moving.Lock()
	defer f.moving.Unlock()
	n := f.left
	f.left = nil
	return n
}

// places are the instances on which f may have a root context.
func (f *Filter) places() []*instances {
	f.moving.Lock()
	defer f.moving.Unlock()
	all := []*instances{f.on.Load()}
	if f.left != nil {
		all = append(all, f.left)
	}
	return all
}

// eachRoot calls do with every root context of f, its instance locked.
func (f *Filter) eachRoot(do func(*root)) {
	for _, n := range f.places() {
		n.pool.Each(func(i *sandbox.Instance) {
			if v, ok := i.Data.(*vm); ok {
				if r := v.roots[f]; r != nil {
					do(r)
				}
			}
		})
	}
}
