package oci

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// ErrReference is returned for text that is no image reference.
var ErrReference = errors.New("not an image reference: want registry/repository[:tag][@sha256:digest]")

// Reference names an image: "registry/repository[:tag][@sha256:digest]".
type Reference struct {
	Registry   string // host[:port]
	Repository string
	Tag        string // empty: none
	Digest     string // "sha256:<hex>", empty: none
}

var referenceForm = regexp.MustCompile(`^([a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[0-9]{1,5})?|\[[0-9a-f:]+\](?::[0-9]{1,5})?)` +
	`/([a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*)` +
	`(?::([A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(?:@(sha256:[0-9a-f]{64}))?$`)

// ParseReference reads a reference; there is no default registry and no
// default tag. Errors wrap ErrReference.
func ParseReference(s string) (Reference, error) {
	m := referenceForm.FindStringSubmatch(s)
	if m == nil || len(s) > 512 || m[3] == "" && m[4] == "" {
		return Reference{}, fmt.Errorf("%w: %.80q", ErrReference, s)
	}
	if r := m[1]; !strings.ContainsAny(r, ".:[") && r != "localhost" {
		return Reference{}, fmt.Errorf("%w: %.80q names no registry", ErrReference, s)
	}
	return Reference{Registry: m[1], Repository: m[2], Tag: m[3], Digest: m[4]}, nil
}

// String returns the reference as it was written.
func (r Reference) String() string {
	s := r.Name()
	if r.Tag != "" {
		s += ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + r.Digest
	}
	return s
}

// Name returns "registry/repository".
func (r Reference) Name() string { return r.Registry + "/" + r.Repository }
