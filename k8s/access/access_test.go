package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// server stands for an API server: it knows token "good" of a user with some rights.
type server struct {
	mu     sync.Mutex
	users  map[string]authenticationv1.TokenReviewStatus // by token
	rights map[string]bool                               // by what Right.String says
	broken string                                        // resource that cannot be asked for, with
	status int                                           // this status
	hold   chan struct{}                                 // not nil: answers wait until it is closed

	reviews map[string]int // by resource
	specs   []authorizationv1.SubjectAccessReviewSpec
	tokens  []authenticationv1.TokenReviewSpec
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	hold := s.hold
	s.mu.Unlock()
	if hold != nil {
		<-hold
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	resource := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	s.reviews[resource]++
	w.Header().Set("Content-Type", "application/json")
	if s.broken == resource {
		w.WriteHeader(s.status)
		reason := metav1.StatusReasonInternalError
		if s.status == http.StatusForbidden {
			reason = metav1.StatusReasonForbidden
		}
		_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Reason: reason, Code: int32(s.status), Message: "broken"})
		return
	}
	switch r.Method + " " + r.URL.Path {
	case "POST /apis/authentication.k8s.io/v1/tokenreviews":
		var review authenticationv1.TokenReview
		_ = json.NewDecoder(r.Body).Decode(&review)
		s.tokens = append(s.tokens, review.Spec)
		review.Status = s.users[review.Spec.Token]
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(review)
	case "POST /apis/authorization.k8s.io/v1/subjectaccessreviews":
		var review authorizationv1.SubjectAccessReview
		_ = json.NewDecoder(r.Body).Decode(&review)
		s.specs = append(s.specs, review.Spec)
		right := Right{}
		if a := review.Spec.NonResourceAttributes; a != nil {
			right.Path = a.Path
		} else {
			right.Namespace = review.Spec.ResourceAttributes.Namespace
		}
		review.Status.Allowed = s.rights[review.Spec.User+" "+right.String()]
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(review)
	default:
		http.NotFound(w, r)
	}
}

func (s *server) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// asked returns how many token and access reviews there were since the last call.
func (s *server) asked() [2]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := [2]int{s.reviews["tokenreviews"], s.reviews["subjectaccessreviews"]}
	s.reviews = map[string]int{}
	return n
}

// clock is what a Reviewer takes for the time.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) time() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

var mine = Right{Namespace: "mine"}

func start(t *testing.T) (*server, *Reviewer, *clock, *httptest.Server) {
	t.Helper()
	known := func(name string) authenticationv1.TokenReviewStatus {
		return authenticationv1.TokenReviewStatus{Authenticated: true, User: authenticationv1.UserInfo{
			Username: name, UID: "uid-" + name, Groups: []string{"group-" + name, "system:authenticated"}, Extra: map[string]authenticationv1.ExtraValue{"key": {"a", "b"}},
		}}
	}
	s := &server{
		users: map[string]authenticationv1.TokenReviewStatus{
			"good": known("someone"), "other": known("other"), "nameless": {Authenticated: true},
			"expired": {Error: "token has expired"},
			"odd":     {User: authenticationv1.UserInfo{Username: "someone"}},
		},
		rights:  map[string]bool{"someone " + mine.String(): true, "someone get /proxies": true},
		reviews: map[string]int{},
	}
	api := httptest.NewServer(s)
	t.Cleanup(api.Close)
	r, err := New(&rest.Config{Host: api.URL}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	c := &clock{now: time.Unix(1_800_000_000, 0)}
	r.now = c.time
	return s, r, c, api
}

func TestAnswers(t *testing.T) {
	s, r, _, _ := start(t)
	tests := map[string]struct {
		token string
		right Right
		err   error
		says  string
	}{
		"a right that the owner has":             {"good", mine, nil, ""},
		"a path that the owner may get":          {"good", Right{Path: "/proxies"}, nil, ""},
		"another namespace":                      {"good", Right{Namespace: "yours"}, ErrDenied, "someone may not get chainstatuses.penstock.dev in namespace yours"},
		"all namespaces":                         {"good", Right{}, ErrDenied, "in all namespaces"},
		"another path":                           {"good", Right{Path: "/metrics"}, ErrDenied, "someone may not get /metrics"},
		"another owner":                          {"other", mine, ErrDenied, "other may not"},
		"an unknown token":                       {"bad", mine, ErrToken, ""},
		"an expired token":                       {"expired", mine, ErrToken, ""},
		"a token without an owner":               {"nameless", mine, ErrToken, ""},
		"an owner without word that they are it": {"odd", mine, ErrToken, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			for range 2 { // asked, and known
				err := r.Authorize(t.Context(), test.token, test.right)
				if !errors.Is(err, test.err) || err != nil && !strings.Contains(err.Error(), test.says) {
					t.Errorf("got %v; want %v, %s", err, test.err, test.says)
				}
				if err != nil && test.token != "other" && strings.Contains(err.Error(), test.token) {
					t.Errorf("the token is told: %v", err)
				}
			}
		})
	}
	if kept := fmt.Sprintf("%v %+v", r.known, r.known); strings.Contains(kept, "expired") {
		t.Error("a token is kept")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, spec := range s.tokens {
		if len(spec.Audiences) != 0 {
			t.Errorf("audiences %v", spec.Audiences)
		}
	}
	for _, spec := range s.specs {
		if spec.User != "someone" {
			continue
		}
		want := authorizationv1.SubjectAccessReviewSpec{
			User: "someone", UID: "uid-someone", Groups: []string{"group-someone", "system:authenticated"}, Extra: map[string]authorizationv1.ExtraValue{"key": {"a", "b"}},
			ResourceAttributes: spec.ResourceAttributes, NonResourceAttributes: spec.NonResourceAttributes,
		}
		if d := cmp.Diff(want, spec); d != "" {
			t.Error(d)
		}
		if a := spec.ResourceAttributes; a != nil {
			if d := cmp.Diff(&authorizationv1.ResourceAttributes{Namespace: a.Namespace, Verb: "get", Group: "penstock.dev", Version: "v1alpha1", Resource: "chainstatuses"}, a); d != "" {
				t.Error(d)
			}
		} else if a := spec.NonResourceAttributes; a == nil || a.Verb != "get" {
			t.Errorf("got %+v", spec)
		}
	}
}

// TestHowLongAnswersAreBelieved: what is taken back on the API server counts within
// 10 seconds, what is granted within 5.
func TestHowLongAnswersAreBelieved(t *testing.T) {
	s, r, now, _ := start(t)
	authorize := func(want error, asked [2]int) {
		t.Helper()
		if err := r.Authorize(t.Context(), "good", mine); !errors.Is(err, want) {
			t.Errorf("got %v; want %v", err, want)
		}
		if got := s.asked(); got != asked {
			t.Errorf("asked %v; want %v", got, asked)
		}
	}
	authorize(nil, [2]int{1, 1})
	s.set(func() { s.rights = nil })
	now.add(yesFor - time.Nanosecond)
	authorize(nil, [2]int{0, 0})
	now.add(time.Nanosecond)
	authorize(ErrDenied, [2]int{1, 1})
	s.set(func() { s.rights = map[string]bool{"someone " + mine.String(): true} })
	now.add(noFor - time.Nanosecond)
	authorize(ErrDenied, [2]int{0, 0})
	now.add(time.Nanosecond)
	authorize(nil, [2]int{0, 1}) // whose it is is known still
	user := s.users["good"]
	s.set(func() { delete(s.users, "good") })
	now.add(noFor)
	authorize(ErrToken, [2]int{1, 0}) // though the right was asked for 5 s ago
	s.set(func() { s.users["good"] = user })
	now.add(noFor)
	authorize(nil, [2]int{1, 1})
}

// TestNothingIsKnown: whatever keeps the API server from answering lets nobody in,
// and is not remembered.
func TestNothingIsKnown(t *testing.T) {
	tests := map[string]struct {
		broken string
		status int
		says   string
	}{
		"token reviews fail":              {"tokenreviews", 500, "does not answer"},
		"access reviews fail":             {"subjectaccessreviews", 500, "does not answer"},
		"no right to token reviews":       {"tokenreviews", 403, "no right to create tokenreviews.authentication.k8s.io: bind ClusterRole penstock-reviews"},
		"no right to access reviews":      {"subjectaccessreviews", 403, "no right to create subjectaccessreviews.authorization.k8s.io"},
		"the API server knows no reviews": {"tokenreviews", 404, "does not answer"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s, r, _, _ := start(t)
			s.set(func() { s.broken, s.status = test.broken, test.status })
			for range 2 {
				if err := r.Authorize(t.Context(), "good", mine); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), test.says) {
					t.Errorf("got %v; want %s", err, test.says)
				}
			}
			s.set(func() { s.broken = "" })
			if err := r.Authorize(t.Context(), "good", mine); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		_, r, now, api := start(t)
		if err := r.Authorize(t.Context(), "good", mine); err != nil {
			t.Fatal(err)
		}
		api.Close()
		if err := r.Authorize(t.Context(), "good", mine); err != nil {
			t.Errorf("what is known: %v", err)
		}
		for token, right := range map[string]Right{"other": mine, "good": {Namespace: "yours"}} {
			if err := r.Authorize(t.Context(), token, right); !errors.Is(err, ErrUnavailable) {
				t.Errorf("%s: got %v", token, err)
			}
		}
		now.add(yesFor)
		if err := r.Authorize(t.Context(), "good", mine); !errors.Is(err, ErrUnavailable) {
			t.Errorf("what was known: got %v", err)
		}
	})
	t.Run("no answer in time", func(t *testing.T) {
		s, r, _, _ := start(t)
		hold := make(chan struct{})
		s.set(func() { s.hold = hold })
		defer close(hold)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		var group sync.WaitGroup
		for range 2 { // who asks, and who waits for the other
			group.Go(func() {
				if err := r.Authorize(ctx, "good", mine); !errors.Is(err, ErrUnavailable) {
					t.Errorf("got %v", err)
				}
			})
		}
		group.Wait()
		if len(r.busy) != 0 {
			t.Error("somebody is said to ask still")
		}
	})
}

// TestOneReviewAtATime: many who ask with one token cost one review of it.
func TestOneReviewAtATime(t *testing.T) {
	s, r, _, _ := start(t)
	hold := make(chan struct{})
	s.set(func() { s.hold = hold })
	var group sync.WaitGroup
	for i := range 50 {
		right, want := mine, error(nil)
		if i%2 == 1 {
			right, want = Right{Namespace: "yours"}, ErrDenied
		}
		group.Go(func() {
			if err := r.Authorize(t.Context(), "good", right); !errors.Is(err, want) {
				t.Errorf("got %v; want %v", err, want)
			}
		})
	}
	time.AfterFunc(100*time.Millisecond, func() { close(hold) })
	group.Wait()
	if got := s.asked(); got != [2]int{1, 2} {
		t.Errorf("asked %v; want one token review, and one for each right", got)
	}
}

func TestWhatIsKnownIsBounded(t *testing.T) {
	_, r, now, _ := start(t)
	for i := range 3 * maxKnown {
		r.remember(question{token: r.hash(fmt.Sprint(i)), whose: true}, answer{err: ErrToken}, now.time())
		if len(r.known) > maxKnown {
			t.Fatalf("%d answers are kept", len(r.known))
		}
	}
	now.add(noFor) // all are over
	if err := r.Authorize(t.Context(), "good", mine); err != nil {
		t.Fatal(err)
	}
	if len(r.known) != 2 {
		t.Errorf("%d answers are kept; want the two that may be believed", len(r.known))
	}
}
