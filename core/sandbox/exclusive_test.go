package sandbox

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func takers(t *testing.T, code []byte, change func(*PoolOptions)) *Pool {
	t.Helper()
	p, err := pool(t, engine(t, nil), code, func(o *PoolOptions) {
		o.Most = 3
		if change != nil {
			change(o)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func take(t *testing.T, p *Pool) *Instance {
	t.Helper()
	i, err := p.Take(time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// run calls f of a taken instance.
func run(i *Instance) error {
	if err := i.Lock(); err != nil {
		return err
	}
	defer i.Unlock()
	return i.Call(i.Func("f"), &Budget{Call: 1000}, nil)
}

func TestTake(t *testing.T) {
	p := takers(t, idle, nil)
	a, b, c := take(t, p), take(t, p), take(t, p)
	if a == b || b == c || a == c || len(*p.list.Load()) != 3 {
		t.Fatal("an instance was given twice")
	}
	if _, err := p.Take(time.Millisecond); !errors.Is(err, ErrBusy) {
		t.Errorf("got %v; want ErrBusy", err)
	}
	got := make(chan *Instance)
	go func() { got <- take(t, p) }()
	for p.waiting() == 0 {
		time.Sleep(time.Millisecond)
	}
	p.Give(b)
	if i := <-got; i != b {
		t.Error("the instance that was given back is not the one that was waited for")
	}
	for _, i := range []*Instance{a, b, c} {
		p.Give(i)
	}
	if i := take(t, p); i != a {
		t.Error("the first free instance is to be preferred, so that the others become idle")
	}
	b.used.Store(-3600)
	c.used.Store(-3600)
	p.shrink()
	if b.Alive() || c.Alive() || !a.Alive() || len(*p.list.Load()) != 1 {
		t.Error("idle instances were not closed")
	}
	p.Give(a)
}

func (p *Pool) waiting() int {
	p.exclusive.mu.Lock()
	defer p.exclusive.mu.Unlock()
	return len(p.exclusive.waiting)
}

// TestTakenInstancesThatDie are replaced for those who wait, until the back-off.
func TestTakenInstancesThatDie(t *testing.T) {
	p := takers(t, trapping, nil)
	for range freeDeaths {
		i := take(t, p)
		if err := run(i); err == nil || i.Alive() {
			t.Fatalf("got %v; want a dead instance", err)
		}
		p.Give(i)
	}
	held := []*Instance{take(t, p), take(t, p), take(t, p)}
	errs := make(chan error)
	go func() {
		_, err := p.Take(time.Minute)
		errs <- err
	}()
	for p.waiting() == 0 {
		time.Sleep(time.Millisecond)
	}
	for _, i := range held {
		_ = run(i)
		p.Give(i)
	}
	if err := <-errs; !errors.Is(err, ErrBackOff) {
		t.Errorf("got %v; want ErrBackOff at once for whoever waits", err)
	}
	if _, err := p.Take(time.Minute); !errors.Is(err, ErrBackOff) {
		t.Errorf("got %v; want ErrBackOff", err)
	}
}

// TestCutCallsAreNoFailures: the instance is gone, the pool does not back off.
func TestCutCallsAreNoFailures(t *testing.T) {
	cut := errors.New("cut")
	p := takers(t, hosting, func(o *PoolOptions) {
		o.Import = func(Import) HostFunc {
			return func(i *Instance, _ []uint64) { i.Abort(&Failure{CauseCut, cut}) }
		}
	})
	for range 3 * freeDeaths {
		i := take(t, p)
		if err := run(i); !errors.Is(err, cut) || i.Alive() {
			t.Fatalf("got %v; want cut", err)
		}
		p.Give(i)
	}
}

func TestTakeFromAPoolThatCannotGrow(t *testing.T) {
	var fails atomic.Bool
	p := takers(t, idle, func(o *PoolOptions) {
		o.Init = func(*Instance) error {
			if fails.Load() {
				return errors.New("no more")
			}
			return nil
		}
	})
	i := take(t, p)
	fails.Store(true)
	if _, err := p.Take(50 * time.Millisecond); !errors.Is(err, ErrBusy) {
		t.Errorf("got %v; want ErrBusy: the one there is may become free", err)
	}
	i.mu.Lock()
	p.bury(i, &Failure{CauseTrap, errAbort})
	i.mu.Unlock()
	p.Give(i)
	for range 2 { // why none can be made, or that it is too soon to try
		var f *Failure
		if _, err := p.Take(time.Minute); !errors.As(err, &f) || f.Cause != CauseUnavailable {
			t.Errorf("got %v; want that there is none", err)
		}
	}
	fails.Store(false)
	time.Sleep(20 * firstBackOff)
	p.Give(take(t, p))
}

func TestClosingWaitsForTakenInstances(t *testing.T) {
	p := takers(t, idle, nil)
	i := take(t, p)
	done := make(chan struct{})
	go func() { p.Close(context.Background()); close(done) }()
	time.Sleep(20 * time.Millisecond)
	if err := run(i); err != nil {
		t.Errorf("got %v; want a taken instance to be usable", err)
	}
	select {
	case <-done:
		t.Error("closed while an instance is taken")
	default:
	}
	p.Give(i)
	<-done
	if _, err := p.Take(time.Minute); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v; want ErrClosed", err)
	}
}

func TestTakersAtOnce(t *testing.T) {
	p := takers(t, idle, nil)
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			for range 200 {
				i := take(t, p)
				i.Data = p // what only the owner may
				if err := run(i); err != nil {
					t.Error(err)
				}
				p.Give(i)
			}
		})
	}
	stop := make(chan struct{})
	go func() {
		defer close(stop)
		for range 50 {
			for _, i := range *p.list.Load() {
				i.used.Store(-3600)
			}
			p.shrink()
		}
	}()
	group.Wait()
	<-stop
	if n := p.waiting(); n != 0 {
		t.Errorf("%d still wait", n)
	}
}

// TestWaitingGivesTheTokenBack: a guest that waits for a body keeps no slow one out.
func TestWaitingGivesTheTokenBack(t *testing.T) {
	p := takers(t, hosting, func(o *PoolOptions) {
		o.Import = func(Import) HostFunc {
			return func(i *Instance, _ []uint64) {
				i.started = time.Now()
				i.pool.engine.slow <- struct{}{}
				i.token = true
				i.Waiting(func() {
					if n := len(i.pool.engine.slow); n != 0 {
						t.Errorf("%d tokens are held; want none", n)
					}
					time.Sleep(5 * time.Millisecond)
				})
				if i.waited < 5*time.Millisecond {
					t.Errorf("got %v of waiting", i.waited)
				}
			}
		}
	})
	i := take(t, p)
	if err := run(i); err != nil {
		t.Error(err)
	}
	p.Give(i)
}
