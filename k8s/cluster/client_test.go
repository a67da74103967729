package cluster

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"

	"penstock.dev/penstock/k8s/api"
)

// TestTokenIsReadAgain: after an answer that it is not valid, not a minute later.
func TestTokenIsReadAgain(t *testing.T) {
	valid := "first"
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Header.Get("Authorization") != "Bearer "+valid {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Unauthorized","code":401}`))
			return
		}
		_, _ = w.Write([]byte(`{"kind":"PluginList","apiVersion":"penstock.dev/v1alpha1","items":[]}`))
	}))
	defer s.Close()
	file := filepath.Join(t.TempDir(), "token")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first")
	cfg := &rest.Config{Host: s.URL, BearerToken: "first", BearerTokenFile: file}
	rereading(cfg)
	c, err := newClients(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ask := func() error {
		return c.byGV[api.GroupVersion].Get().Resource("plugins").Do(t.Context()).Into(&api.PluginList{})
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	valid = "second" // the first one has expired
	if err := ask(); !apierrors.IsUnauthorized(err) {
		t.Errorf("got %v; want that it has expired", err)
	}
	write("second")
	if err := ask(); err != nil {
		t.Errorf("got %v; want the new token", err)
	}
}
