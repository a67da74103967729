package sandbox

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// notes is an Observer that notes what it is told.
type notes struct{ all []string }

// Called implements Observer.
func (n *notes) Called(function string, steps int64, took time.Duration) {
	n.all = append(n.all, fmt.Sprintf("%s %d %t", function, steps, took > 0))
}

// HostCalled implements Observer.
func (n *notes) HostCalled(name string) { n.all = append(n.all, name) }

// TestObserver: who observes is told of each call, also of one that fails, and of what the
// guest calls, with the steps that the budget pays.
func TestObserver(t *testing.T) {
	n := &notes{}
	e := engine(t, func(o *Options) { o.Observer = n })
	for _, test := range []struct {
		name   string
		code   []byte
		before []string
	}{{"a guest that calls", hosting, []string{"host"}}, {"one that does nothing", idle, nil}, {"one that traps", trapping, nil}} {
		n.all = nil
		p, err := pool(t, e, test.code, nil)
		if err != nil {
			t.Fatal(err)
		}
		exchange := int64(1 << 40)
		err = call(t, p, Budget{Call: 1 << 40, Exchange: &exchange})
		if (err != nil) != (test.name == "one that traps") {
			t.Errorf("%s: got %v", test.name, err)
		}
		if want := append(test.before, fmt.Sprintf("f %d true", 1<<40-exchange)); !slices.Equal(n.all, want) {
			t.Errorf("%s: got %q; want %q", test.name, n.all, want)
		}
	}
}
