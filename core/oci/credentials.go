package oci

import (
	"slices"
	"strings"

	"oras.land/oras-go/v2/registry/remote/auth"

	"penstock.dev/penstock/core/config"
)

// matching returns the credentials that may be sent for a repository: those of
// its very registry, the ones for the longest path first.
func matching(all []config.PullCredential, r Reference) []config.PullCredential {
	var out []config.PullCredential
	for _, c := range all {
		host, path, _ := strings.Cut(c.Registry, "/")
		if host == r.Registry && (path == "" || r.Repository == path || strings.HasPrefix(r.Repository, path+"/")) {
			out = append(out, c)
		}
	}
	slices.SortStableFunc(out, func(a, b config.PullCredential) int { return len(b.Registry) - len(a.Registry) })
	return out
}

// attempts are the credentials to try, one after another; nil stands for none.
func attempts(all []config.PullCredential, r Reference) []*config.PullCredential {
	var out []*config.PullCredential
	for _, c := range matching(all, r) {
		out = append(out, &c)
	}
	if len(out) == 0 {
		out = append(out, nil)
	}
	return out
}

// authOf is a credential as the client takes it.
func authOf(c *config.PullCredential) auth.Credential {
	if c == nil {
		return auth.EmptyCredential
	}
	return auth.Credential{Username: c.Username, Password: c.Password, RefreshToken: c.IdentityToken}
}
