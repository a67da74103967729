package proxywasm

import (
	"testing"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/sandbox"
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
