package proxy

import (
	"fmt"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
)

// Follow implements filter.Follower: the filters of a Consumer, as the configuration has
// them now.
func (s *state) Follow(object string) (*filter.Chain, *exchange.Error) {
	chain, there := s.h.store.Load().Consumer(object)
	switch {
	case !there: // what its filters would have been nobody knows
		why := &brokenChain{"Gone", fmt.Sprintf("Consumer/%s is no more", object)}
		return nil, fault(s.x.Phase, exchange.SidePlugin, 503, "chain-broken", why)
	case chain == nil:
		return nil, nil
	}
	link, err := s.pin(chain)
	if err != nil {
		return nil, err
	}
	return link.Inner, nil
}

var _ filter.Follower = (*state)(nil)
