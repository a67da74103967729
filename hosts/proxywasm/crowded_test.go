package proxywasm

import (
	"errors"
	"testing"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/sandbox"
	"penstock.dev/penstock/hosts/capability"
)

// crowded is how the sandbox ends a call that has waited for too long while other
// slow guests had the processors.
var crowded = &sandbox.Failure{Cause: sandbox.CauseUnavailable, Err: sandbox.ErrCrowded}

// crowd ends the scene's next calls out with the guest's call, on the instance that
// there is.
func (s *scene) crowd(t *testing.T) {
	t.Helper()
	var i *sandbox.Instance
	s.f.on.Load().pool.Each(func(only *sandbox.Instance) { i = only })
	if i == nil {
		t.Fatal("there is no instance")
	}
	s.calls.before = func() { i.Abort(crowded) }
}

// refusedAsBusy says that an exchange ended with 503 and Retry-After.
func (e *exchangeOf) refusedAsBusy(t *testing.T, out filter.Outcome) {
	t.Helper()
	if err := e.Err(); out != filter.Failed || err == nil || err.Status != 503 || err.Reason != "plugin-busy" {
		t.Errorf("got %v, %v; want 503 plugin-busy", out, err)
	}
}

// TestCrowdedOut: who finds no processor is told to come again.
func TestCrowdedOut(t *testing.T) {
	s := script(t, "request_headers: "+callOut)
	s.crowd(t)
	e := s.exchange(config.Reject)
	e.refusedAsBusy(t, e.request(""))
	e.Done()
}

// waiting runs an exchange that waits for the answer to a call out.
func (s *scene) waiting(t *testing.T) (e *exchangeOf, ended chan filter.Outcome) {
	t.Helper()
	e, ended = s.exchange(config.Reject), make(chan filter.Outcome, 1)
	go func() { ended <- e.request("") }()
	<-s.calls.begun
	return e, ended
}

// TestCrowdedOutBlamesNobody: the filter's exchanges that wait on the instance fail
// for want of it, which does not count against the filter.
func TestCrowdedOutBlamesNobody(t *testing.T) {
	s := script(t, "request_headers: "+callOut+"; return 1")
	waits, ended := s.waiting(t)
	s.crowd(t)
	e := s.exchange(config.Reject)
	e.refusedAsBusy(t, e.request(""))
	e.Done()
	out := <-ended
	unavailable(t, out, waits)
}

// TestCrowdedOutBlamesNobodyLater: likewise those that had gone on, at their next
// callback.
func TestCrowdedOutBlamesNobodyLater(t *testing.T) {
	s := script(t, "request_headers: "+callOut, "response_headers: return 0")
	first := pass(t, s)
	s.crowd(t)
	e := s.exchange(config.Reject)
	e.refusedAsBusy(t, e.request(""))
	e.Done()
	unavailable(t, first.response(""), first)
}

// unavailable says that an exchange failed for want of its instance.
func unavailable(t *testing.T, out filter.Outcome, e *exchangeOf) {
	t.Helper()
	var failure *filter.Error
	if err := e.Err(); out != filter.Failed || !errors.As(err, &failure) || failure.Cause != sandbox.CauseUnavailable {
		t.Errorf("got %v, %v; want cause unavailable", out, err)
	}
	e.Done()
}

// TestCrowdedOutOfSharedInstances: neither a call nor a configuration that found no
// processor there sends its filter to instances of its own.
func TestCrowdedOutOfSharedInstances(t *testing.T) {
	for name, at := range map[string]string{"a call": "request_headers", "a configuration": "configure"} {
		t.Run(name, func(t *testing.T) {
			grant := []string{capability.HTTPCalls}
			a := newScene(t, sceneOptions{multi: true, name: "first", grant: grant})
			a.calls.refuse = capability.ErrBusy // a call under way would keep the trial's instance
			b := newScene(t, sceneOptions{script: at + ": " + callOut, multi: true, name: "second", grant: grant, with: a})
			b.calls = a.calls
			shared := b.f.on.Load()
			if at == "configure" { // it is configured there once more
				shared.pool.Each(func(i *sandbox.Instance) { i.Data.(*vm).roots[b.f].end() })
			}
			b.crowd(t)
			e := b.exchange(config.Reject)
			e.refusedAsBusy(t, e.request(""))
			e.Done()
			b.calls.before = nil
			pass(t, b).Done()
			pass(t, a).Done()
			if a.f.on.Load() != shared || b.f.on.Load() != shared {
				t.Error("a filter has left the shared instances")
			}
		})
	}
}
