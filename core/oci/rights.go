package oci

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"oras.land/oras-go/v2/registry/remote"
)

// How long an answer of a registry about a pull right counts: without asking
// again, and when the registry cannot be asked (annotations.md, section 6).
const (
	rightFresh  = 10 * time.Second
	rightLasts  = 24 * time.Hour
	rightsAtAll = 10_000 // answers that are remembered without the disk
)

// right is what a registry last said about a namespace's right to pull.
type right struct {
	Allowed bool      `json:"allowed"`
	At      time.Time `json:"at"`
}

// Right names what a registry's answer about a pull right is remembered under:
// the namespace, the repository, and the credentials that would be shown. It is
// empty if the reference is malformed.
func (req Request) Right() string {
	r, err := ParseReference(req.Reference)
	if err != nil {
		return ""
	}
	shown, err := json.Marshal(matching(req.Credentials, r))
	if err != nil {
		return ""
	}
	return hashed(req.Namespace, r.Name(), string(shown))
}

// hashed names a file for parts that no path may be made of.
func hashed(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d %s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// record keeps what a registry said, also for after a restart.
func (s *Store) record(req Request, allowed bool) error {
	answer, key := right{allowed, time.Now()}, req.Right()
	s.mu.Lock()
	if len(s.rights) >= rightsAtAll {
		clear(s.rights)
	}
	s.rights[key] = answer
	s.mu.Unlock()
	text, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(s.o.Dir, "rights", key), text)
}

// recorded returns the last answer; ok is false if there is none.
func (s *Store) recorded(req Request) (answer right, ok bool) {
	key := req.Right()
	s.mu.Lock()
	answer, ok = s.rights[key]
	s.mu.Unlock()
	if ok {
		return answer, true
	}
	text, err := os.ReadFile(filepath.Join(s.o.Dir, "rights", key))
	return answer, err == nil && json.Unmarshal(text, &answer) == nil
}

// Recheck asks the registry whether req's namespace may still pull the image of
// that digest. ErrForbidden: it may not; nil also if the registry cannot be
// asked and has said yes within 24 hours. Images of layout folders need no right.
func (s *Store) Recheck(ctx context.Context, req Request, digest string) error {
	r, err := ParseReference(req.Reference)
	if err != nil {
		return err
	}
	r.Digest = digest
	for _, dir := range s.o.Layouts {
		if _, err := findInLayout(dir, r); err == nil || wasInLayout(dir, r) {
			return nil
		}
	}
	return s.admitted(ctx, req, r, rightFresh)
}

// admitted reports whether the namespace may pull what r names, by its digest
// if it has one. A yes that is younger than fresh counts without a question.
func (s *Store) admitted(ctx context.Context, req Request, r Reference, fresh time.Duration) error {
	if answer, ok := s.recorded(req); ok && answer.Allowed && time.Since(answer.At) < fresh {
		return nil
	}
	err := s.ask(ctx, req, r)
	switch {
	case err == nil:
		return s.record(req, true)
	case errors.Is(err, ErrForbidden):
		return errors.Join(err, s.record(req, false))
	}
	answer, ok := s.recorded(req)
	switch {
	case !ok:
		return fmt.Errorf("%w (and it has not said before that namespace %s may pull it)", err, req.Namespace)
	case !answer.Allowed:
		return fmt.Errorf("%w: the registry refused namespace %s when it was last asked", ErrForbidden, req.Namespace)
	case time.Since(answer.At) > rightLasts:
		return fmt.Errorf("%w (and its last answer for namespace %s is too old)", err, req.Namespace)
	}
	return nil
}

// ask resolves r at its registry.
func (s *Store) ask(ctx context.Context, req Request, r Reference) error {
	return s.try(req, r, func(repo *remote.Repository) error {
		_, err := resolve(ctx, repo, r)
		return err
	})
}
