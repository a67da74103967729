package oci

import (
	"context"
	"fmt"
	"sync"
)

// flights shares pulls between who asks for the same thing at one time.
type flights struct {
	mu  sync.Mutex
	all map[string]*flight
}

// flight is a pull under way.
type flight struct {
	waiting int // guarded by flights.mu
	cancel  context.CancelFunc
	done    chan struct{} // closed once img and err are set
	img     *Image
	err     error
}

// do returns what f returns, which runs once for all who wait for key. f's
// context ends when nobody waits any more.
func (fs *flights) do(ctx context.Context, key string, f func(context.Context) (*Image, error)) (*Image, error) {
	fs.mu.Lock()
	fl := fs.all[key]
	if fl == nil {
		run, cancel := context.WithCancel(context.WithoutCancel(ctx))
		fl = &flight{cancel: cancel, done: make(chan struct{})}
		if fs.all == nil {
			fs.all = map[string]*flight{}
		}
		fs.all[key] = fl
		go func() {
			fl.img, fl.err = f(run)
			fs.forget(key, fl)
			close(fl.done)
		}()
	}
	fl.waiting++
	fs.mu.Unlock()
	select {
	case <-fl.done:
		fs.leave(key, fl)
		if fl.err != nil {
			return nil, fl.err
		}
		img := *fl.img // callers set its reference
		return &img, nil
	case <-ctx.Done():
		fs.leave(key, fl)
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
}

func (fs *flights) leave(key string, fl *flight) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fl.waiting--; fl.waiting == 0 {
		fl.cancel()
		if fs.all[key] == fl { // whoever comes now starts anew
			delete(fs.all, key)
		}
	}
}

func (fs *flights) forget(key string, fl *flight) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.all[key] == fl {
		delete(fs.all, key)
	}
}
