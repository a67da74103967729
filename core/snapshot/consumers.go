package snapshot

import (
	"maps"

	"penstock.dev/penstock/core/config"
)

// consumers compiles the chains of Consumers. It looks at those that changed, and at those
// that have filters.
func (c *compiler) consumers(cfg *config.Config) {
	var before config.Overlay[string, *config.Consumer]
	var followed map[string]*config.Chain
	if c.old != nil {
		before, followed = c.old.config.Consumers, c.old.followed
	}
	own := false
	set := func(key string, chain *config.Chain) {
		if followed[key] == chain {
			return
		}
		if !own { // the old one serves
			followed, own = maps.Clone(followed), true
		}
		if followed == nil {
			followed = map[string]*config.Chain{}
		}
		if followed[key] = chain; chain == nil {
			delete(followed, key)
		}
	}
	cfg.Consumers.Differ(before, func(key string, one *config.Consumer) { set(key, one.Chain) }, func(key string) { set(key, nil) })
	c.new.followed = followed
	if len(followed) == 0 {
		return
	}
	c.new.consumers = make(map[string]*Chain, len(followed))
	for key, chain := range followed {
		c.new.consumers[key] = c.chain(chain)
	}
}
