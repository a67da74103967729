package access

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"
)

const (
	yesFor = 10 * time.Second // how long a positive answer is believed
	noFor  = 5 * time.Second  // and a negative one
	// maxKnown is how many answers are kept.
	maxKnown = 1000
	// askWithin bounds both reviews of one call.
	askWithin = 5 * time.Second
	// reviewsAtOnce, and in a second, with a burst: strangers cause them.
	reviewsAtOnce = 8
	reviewRate    = 20
	reviewBurst   = 40
)

// What Authorize returns, with a text for who asked.
var (
	ErrToken       = errors.New("the token is not valid")
	ErrDenied      = errors.New("not allowed")
	ErrUnavailable = errors.New("the token cannot be reviewed now")
)

// Right is to get something.
type Right struct {
	// Path is a URL that is about no object; empty: the right is to ChainStatuses.
	Path string
	// Namespace of the ChainStatuses; empty: all namespaces.
	Namespace string
}

// String says what a right is to.
func (r Right) String() string {
	switch {
	case r.Path != "":
		return "get " + r.Path
	case r.Namespace != "":
		return "get chainstatuses.penstock.dev in namespace " + r.Namespace
	}
	return "get chainstatuses.penstock.dev in all namespaces"
}

// Reviewer knows what owners of tokens may do, and asks an API server for what it
// does not know. It keeps no token, but a hash with a key of its own.
type Reviewer struct {
	tokens authenticationclient.TokenReviewInterface
	rights authorizationclient.SubjectAccessReviewInterface
	log    *zap.Logger
	now    func() time.Time
	key    []byte
	slots  chan struct{} // reviews under way

	mu    sync.Mutex
	known map[question]answer
	busy  map[hash]chan struct{} // tokens that somebody asks about; closed when they have
}

// hash stands for a token.
type hash [sha256.Size]byte

// question is about a token: whose it is, or whether the owner has a right.
type question struct {
	token hash
	whose bool
	right Right // unless whose
}

// answer to a question.
type answer struct {
	user  *authenticationv1.UserInfo // to whose
	err   error                      // nil: yes
	until time.Time
}

// New returns a Reviewer that asks the API server that cfg says.
func New(cfg *rest.Config, log *zap.Logger) (*Reviewer, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.Timeout, cfg.QPS, cfg.Burst, cfg.RateLimiter = askWithin, reviewRate, reviewBurst, nil
	cfg.ContentType, cfg.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	authentication, err := authenticationclient.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("API server: %w", err)
	}
	authorization, err := authorizationclient.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("API server: %w", err)
	}
	key := make([]byte, sha256.Size)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	seldom := log.WithOptions(zap.WrapCore(func(c zapcore.Core) zapcore.Core { // strangers cause these lines
		return zapcore.NewSamplerWithOptions(c, 10*time.Second, 1, 0)
	}))
	return &Reviewer{
		tokens: authentication.TokenReviews(), rights: authorization.SubjectAccessReviews(), log: seldom, now: time.Now, key: key,
		slots: make(chan struct{}, reviewsAtOnce), known: map[question]answer{}, busy: map[hash]chan struct{}{},
	}, nil
}

// Authorize returns nil if the owner of a token has a right: as the API server said
// less than 10 seconds ago. Else the error wraps ErrToken, ErrDenied, or, if the API
// server cannot be asked, ErrUnavailable. It takes 5 seconds at most.
func (r *Reviewer) Authorize(ctx context.Context, token string, right Right) error {
	id := r.hash(token)
	if known, err := r.recall(id, right); known {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	done, err := r.turn(ctx, id)
	if err != nil {
		return err
	}
	defer done()
	if known, err := r.recall(id, right); known { // who was first has asked
		return err
	}
	user, err := r.whose(ctx, id, token)
	if err != nil {
		return err
	}
	return r.may(ctx, id, user, right)
}

func (r *Reviewer) hash(token string) (id hash) {
	h := hmac.New(sha256.New, r.key)
	h.Write([]byte(token))
	h.Sum(id[:0])
	return id
}

// recall returns what is known of a token and a right.
func (r *Reviewer) recall(id hash, right Right) (known bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	whose, ok := r.fresh(question{token: id, whose: true})
	if !ok || whose.err != nil {
		return ok, whose.err
	}
	may, ok := r.fresh(question{token: id, right: right})
	return ok, may.err
}

// fresh returns an answer that may be believed. r.mu is held.
func (r *Reviewer) fresh(q question) (answer, bool) {
	a, ok := r.known[q]
	return a, ok && r.now().Before(a.until)
}

// turn waits until nobody else asks about the token.
func (r *Reviewer) turn(ctx context.Context, id hash) (done func(), err error) {
	for {
		r.mu.Lock()
		others := r.busy[id]
		if others == nil {
			mine := make(chan struct{})
			r.busy[id] = mine
			r.mu.Unlock()
			return func() {
				r.mu.Lock()
				delete(r.busy, id)
				r.mu.Unlock()
				close(mine)
			}, nil
		}
		r.mu.Unlock()
		select {
		case <-others:
		case <-ctx.Done():
			return nil, r.unavailable(ctx.Err(), "")
		}
	}
}

// remember keeps an answer that was asked for at a time.
func (r *Reviewer) remember(q question, a answer, asked time.Time) {
	a.until = asked.Add(yesFor)
	if a.err != nil {
		a.until = asked.Add(noFor)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.known) >= maxKnown {
		now := r.now()
		for old, kept := range r.known {
			if !now.Before(kept.until) {
				delete(r.known, old)
			}
		}
		for old := range r.known { // still too many: any goes
			if len(r.known) < maxKnown {
				break
			}
			delete(r.known, old)
		}
	}
	r.known[q] = a
}

// whose returns the owner of a token. It is the token's turn.
func (r *Reviewer) whose(ctx context.Context, id hash, token string) (*authenticationv1.UserInfo, error) {
	q := question{token: id, whose: true}
	r.mu.Lock()
	a, ok := r.fresh(q)
	r.mu.Unlock()
	if ok {
		return a.user, a.err
	}
	asked := r.now()
	var review *authenticationv1.TokenReview
	err := r.ask(ctx, func() (err error) {
		// Without audiences: a token that is for the API server.
		review, err = r.tokens.Create(ctx, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return nil, r.unavailable(err, "tokenreviews.authentication.k8s.io")
	}
	a = answer{user: &review.Status.User}
	if !review.Status.Authenticated || review.Status.User.Username == "" {
		a = answer{err: ErrToken}
	}
	r.remember(q, a, asked)
	return a.user, a.err
}

// may asks whether a user has a right. It is the token's turn.
func (r *Reviewer) may(ctx context.Context, id hash, user *authenticationv1.UserInfo, right Right) error {
	asked := r.now()
	spec := authorizationv1.SubjectAccessReviewSpec{User: user.Username, UID: user.UID, Groups: user.Groups}
	if len(user.Extra) > 0 {
		spec.Extra = map[string]authorizationv1.ExtraValue{}
		for name, values := range user.Extra {
			spec.Extra[name] = authorizationv1.ExtraValue(values)
		}
	}
	if right.Path != "" {
		spec.NonResourceAttributes = &authorizationv1.NonResourceAttributes{Path: right.Path, Verb: "get"}
	} else {
		spec.ResourceAttributes = &authorizationv1.ResourceAttributes{
			Namespace: right.Namespace, Verb: "get", Group: "penstock.dev", Version: "v1alpha1", Resource: "chainstatuses",
		}
	}
	var review *authorizationv1.SubjectAccessReview
	err := r.ask(ctx, func() (err error) {
		review, err = r.rights.Create(ctx, &authorizationv1.SubjectAccessReview{Spec: spec}, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return r.unavailable(err, "subjectaccessreviews.authorization.k8s.io")
	}
	var a answer
	if !review.Status.Allowed || review.Status.Denied {
		a.err = fmt.Errorf("%w: %s may not %s", ErrDenied, user.Username, right)
	}
	r.remember(question{token: id, right: right}, a, asked)
	return a.err
}

// ask makes one review, once there is room for it.
func (r *Reviewer) ask(ctx context.Context, review func() error) error {
	select {
	case r.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-r.slots }()
	return review()
}

// unavailable is what is told when nothing can be found out; it lets nobody in.
func (r *Reviewer) unavailable(err error, resource string) error {
	if apierrors.IsForbidden(err) {
		r.log.Warn("who asks cannot be known: a right is missing", zap.String("resource", resource), zap.Error(err))
		return fmt.Errorf("%w: control has no right to create %s: bind ClusterRole penstock-reviews to its account", ErrUnavailable, resource)
	}
	if !errors.Is(err, context.Canceled) { // who asked is gone
		r.log.Warn("who asks cannot be known: the API server does not answer", zap.String("resource", resource), zap.Error(err))
	}
	return fmt.Errorf("%w: the API server does not answer", ErrUnavailable)
}
