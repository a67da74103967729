package control

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestProxiesAreFound: once this process has served for longer than they look for it, who
// is not there is not coming.
func TestProxiesAreFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{}
		wants := func(want bool, when string) {
			t.Helper()
			if _, found := s.Purges(); found != want {
				t.Errorf("%s: found %v; want %v", when, found, want)
			}
		}
		time.Sleep(time.Hour)
		wants(false, "another one leads")
		s.since = time.Now()
		wants(false, "it begins to serve")
		time.Sleep(reconnectFor)
		wants(false, "it has served for as long as they look")
		time.Sleep(time.Millisecond)
		wants(true, "after that")
	})
}
