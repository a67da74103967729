package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.uber.org/zap"

	"penstock.dev/penstock/core/config"
)

// tokenRegistry serves one image, team/p:1, to who shows a bearer token, which
// its realm gives to the users it knows.
type tokenRegistry struct {
	*httptest.Server
	mu       sync.Mutex
	users    map[string]string
	foreign  string // another server as realm
	digest   string
	manifest []byte
	module   []byte
	asked    int // requests for the manifest that were answered
}

func newTokenRegistry(t *testing.T) *tokenRegistry {
	t.Helper()
	r := &tokenRegistry{users: map[string]string{"user": "pass"}, module: []byte("\x00asm")}
	var err error
	r.manifest, err = json.Marshal(ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Layers: []ocispec.Descriptor{
		{MediaType: MediaTypeWasm, Digest: digest.FromBytes(r.module), Size: int64(len(r.module))},
	}})
	if err != nil {
		t.Fatal(err)
	}
	r.digest = digest.FromBytes(r.manifest).String()
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *tokenRegistry) host() string { return strings.TrimPrefix(r.URL, "http://") }

func (r *tokenRegistry) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if q.URL.Path == "/token" {
		if user, password, ok := q.BasicAuth(); ok && password != "" && r.users[user] == password {
			fmt.Fprintf(w, `{"token":"for-%s-%s"}`, user, password)
			return
		}
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	allowed := false
	for user, password := range r.users {
		allowed = allowed || q.Header.Get("Authorization") == "Bearer for-"+user+"-"+password
	}
	if !allowed {
		realm := r.URL
		if r.foreign != "" {
			realm = r.foreign
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="test"`, realm))
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	send := func(mediaType string, content []byte) {
		w.Header().Set("Content-Type", mediaType)
		w.Header().Set("Docker-Content-Digest", digest.FromBytes(content).String())
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		_, _ = w.Write(content)
	}
	switch q.URL.Path {
	case "/v2/team/p/manifests/1", "/v2/team/p/manifests/" + r.digest:
		r.asked++
		send(ocispec.MediaTypeImageManifest, r.manifest)
	case "/v2/team/p/blobs/" + digest.FromBytes(r.module).String():
		send("application/octet-stream", r.module)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (r *tokenRegistry) store(t *testing.T, more ...string) *Store {
	t.Helper()
	s, err := New(Options{Dir: t.TempDir(), LocalRegistries: append(more, r.host())}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (r *tokenRegistry) request(namespace, password string) Request {
	q := Request{Reference: r.host() + "/team/p@" + r.digest, Namespace: namespace}
	if password != "" {
		q.Credentials = []config.PullCredential{{Registry: r.host(), Username: "user", Password: password}}
	}
	return q
}

// age makes every remembered answer older.
func (s *Store) age(by time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, v := range s.rights {
		v.At = v.At.Add(-by)
		s.rights[k] = v
	}
}

func TestRights(t *testing.T) {
	r := newTokenRegistry(t)
	s := r.store(t)
	good := r.request("shop", "pass")
	if img, err := s.Get(t.Context(), good); err != nil || string(img.Module) != "\x00asm" {
		t.Fatalf("got %v, %v", img, err)
	}
	// Stored bytes are nobody's right.
	for name, q := range map[string]Request{"no credentials": r.request("blog", ""), "a wrong password": r.request("blog", "guess"), "the same namespace": r.request("shop", "guess")} {
		if _, err := s.Get(t.Context(), q); !errors.Is(err, ErrForbidden) {
			t.Errorf("%s: got %v; want ErrForbidden", name, err)
		}
	}
	byTag := good
	byTag.Reference = r.host() + "/team/p:1"
	if _, err := s.Get(t.Context(), byTag); err != nil {
		t.Error(err)
	}

	r.Close()
	s.age(time.Hour)
	if _, err := s.Get(t.Context(), good); err != nil {
		t.Errorf("got %v; want the last answer to count", err)
	}
	if err := s.Recheck(t.Context(), byTag, r.digest); err != nil {
		t.Errorf("got %v; want the last answer to count", err)
	}
	again, err := New(s.o, zap.NewNop()) // the answers were written down
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.Get(t.Context(), good); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	if _, err := again.Get(t.Context(), r.request("shop", "guess")); !errors.Is(err, ErrForbidden) {
		t.Errorf("after a restart: got %v; want ErrForbidden", err)
	}
	if _, err := again.Get(t.Context(), r.request("new", "pass")); !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v; want ErrUnavailable for a namespace that was never admitted", err)
	}
	s.age(rightLasts)
	if _, err := s.Get(t.Context(), good); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "too old") {
		t.Errorf("got %v; want an answer of a day ago not to count", err)
	}
}

func TestRecheckSeesARevokedRight(t *testing.T) {
	r := newTokenRegistry(t)
	s := r.store(t)
	q := r.request("shop", "pass")
	if _, err := s.Get(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	before := r.asked
	if err := s.Recheck(t.Context(), q, r.digest); err != nil || r.asked != before {
		t.Errorf("got %v after %d questions; want a fresh answer to do", err, r.asked-before)
	}
	r.mu.Lock()
	r.users["user"] = "new"
	r.mu.Unlock()
	s.age(rightFresh)
	if err := s.Recheck(t.Context(), q, r.digest); !errors.Is(err, ErrForbidden) {
		t.Errorf("got %v; want ErrForbidden", err)
	}
	if _, err := s.Get(t.Context(), q); !errors.Is(err, ErrForbidden) {
		t.Errorf("got %v; want ErrForbidden", err)
	}
	if err := s.Recheck(t.Context(), r.request("shop", "new"), r.digest); err != nil {
		t.Error(err)
	}
}

// A registry cannot make a client show its password to somebody else.
func TestCredentialsStayWithTheirRegistry(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	thief := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, q.Header.Get("Authorization"))
		_, _ = w.Write([]byte(`{"token":"for-user-pass"}`))
	}))
	defer thief.Close()
	r := newTokenRegistry(t)
	s := r.store(t, strings.TrimPrefix(thief.URL, "http://"))
	q := r.request("shop", "")
	q.Credentials = []config.PullCredential{{Registry: "registry.example.com", Username: "user", Password: "pass"}}
	if _, err := s.Get(t.Context(), q); !errors.Is(err, ErrForbidden) {
		t.Errorf("got %v; want ErrForbidden: the credential is another registry's", err)
	}
	q = Request{Reference: strings.TrimPrefix(thief.URL, "http://") + "/team/p:1", Namespace: "shop", Credentials: r.request("", "pass").Credentials}
	_, _ = s.Get(t.Context(), q)
	mu.Lock()
	defer mu.Unlock()
	if len(seen) == 0 || slices.ContainsFunc(seen, func(h string) bool { return h != "" }) {
		t.Errorf("got %q; want requests without credentials", seen)
	}
}

func TestMatching(t *testing.T) {
	all := []config.PullCredential{{Registry: "r.example"}, {Registry: "r.example/team"}, {Registry: "r.example:5000"}, {Registry: "example"}}
	tests := map[string][]string{
		"r.example/team/p:1":     {"r.example/team", "r.example"},
		"r.example/team:1":       {"r.example/team", "r.example"},
		"r.example/teams/p:1":    {"r.example"},
		"r.example:5000/p:1":     {"r.example:5000"},
		"sub.r.example/team/p:1": nil,
		"r.example.com/p:1":      nil,
	}
	for in, want := range tests {
		var got []string
		for _, c := range matching(all, ref(t, in)) {
			got = append(got, c.Registry)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v; want %v", in, got, want)
		}
	}
}
