package upstream

import (
	"slices"

	"penstock.dev/penstock/core/config"
)

// Place is where the proxy runs; empty: not known.
type Place struct{ Zone, Node string }

// near returns the endpoints that are meant to be used from a place, or all of them:
// if one has no hint, if the place is not known, or if none is meant for it. These are
// the safeguards that kube-proxy has: an endpoint without a hint says that the hints
// are being changed, and traffic is never dropped for them. hints has what is said of
// each of all.
func near(all []*endpoint, hints []config.Endpoint, p Place) []*endpoint {
	if own := hinted(all, hints, p.Node, func(c *config.Endpoint) []string { return c.ForNodes }); own != nil {
		return own
	}
	if own := hinted(all, hints, p.Zone, func(c *config.Endpoint) []string { return c.ForZones }); own != nil {
		return own
	}
	return all
}

// hinted returns the endpoints that are meant for a name; nil: none, or some have no hint.
func hinted(all []*endpoint, hints []config.Endpoint, name string, of func(*config.Endpoint) []string) (own []*endpoint) {
	if name == "" {
		return nil
	}
	for i, e := range all {
		names := of(&hints[i])
		if len(names) == 0 {
			return nil
		}
		if slices.Contains(names, name) {
			own = append(own, e)
		}
	}
	return own
}
