package cluster

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
)

// TestNewcomersLetOthersLead: a process that begins while others may be there waits a
// little; one that is alone, or leads by the Lease, does not.
func TestNewcomersLetOthersLead(t *testing.T) {
	lease := func(holder string, ago time.Duration) *coordinationv1.Lease {
		at := metav1.NewMicroTime(time.Now().Add(-ago))
		return &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, RenewTime: &at}}
	}
	tests := map[string]struct {
		lease *coordinationv1.Lease
		waits bool
	}{
		"there is no Lease":            {nil, false},
		"it was never held":            {&coordinationv1.Lease{}, false},
		"another one leads":            {lease("other", time.Second), true},
		"another one has just ended":   {lease("", time.Second), true},
		"it leads itself":              {lease("me", time.Second), false},
		"nobody has led for some time": {lease("other", 2*time.Minute), false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				if test.lease == nil {
					w.WriteHeader(http.StatusNotFound)
					_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`))
					return
				}
				test.lease.TypeMeta = metav1.TypeMeta{Kind: "Lease", APIVersion: "coordination.k8s.io/v1"}
				_ = json.NewEncoder(w).Encode(test.lease)
			}))
			defer s.Close()
			client, err := coordinationclient.NewForConfig(&rest.Config{Host: s.URL})
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			letOthers(t.Context(), client.Leases("n"), "me")
			if waited := time.Since(began) >= newcomerWait; waited != test.waits {
				t.Errorf("waited %v; want %v", waited, test.waits)
			}
		})
	}
}
