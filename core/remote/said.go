package remote

import (
	"fmt"
	"strings"

	"penstock.dev/penstock/core/oci"
)

// reasons are the errors that stand for what control says.
var reasons = map[string]error{
	"PullForbidden":    oci.ErrForbidden,
	"ImageUnavailable": oci.ErrUnavailable,
	"SignatureInvalid": oci.ErrSignature,
	"DigestMismatch":   oci.ErrDigest,
	"InvalidModule":    oci.ErrImage,
	"InvalidConfig":    oci.ErrReference,
}

// fault returns what keeps the image from running, nil if nothing does.
func (m *Image) fault() error {
	if m.Reason == "" {
		return nil
	}
	known := reasons[m.Reason]
	if known == nil {
		known = oci.ErrUnavailable
	}
	return fmt.Errorf("%w: %s", known, m.Message)
}

// Note returns what control says of the image of a filter that runs; empty: nothing.
func (i *Images) Note(filter string) string {
	filter, _, _ = strings.Cut(filter, "@")
	i.mu.Lock()
	defer i.mu.Unlock()
	if m := i.parsed[filter]; m != nil && m.Reason == "" {
		return m.Message
	}
	return ""
}
