package sdk

import "testing"

// TestCallbacksAfterTheRequest: what is set at the request needs no context for the response.
func TestCallbacksAfterTheRequest(t *testing.T) {
	for c, want := range map[Callbacks]bool{
		OnRequestHeaders: true, OnRequestHeaders | SetsResponseHeaders: true,
		0: false, SetsResponseHeaders: false, OnRequestHeaders | OnResponseHeaders | SetsResponseHeaders: false, OnRequestHeaders | OnDone: false,
	} {
		if got := c.endWithRequestHeaders(); got != want {
			t.Errorf("%#x: got %v; want %v", uint32(c), got, want)
		}
	}
}
