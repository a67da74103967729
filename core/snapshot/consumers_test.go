package snapshot

import (
	"errors"
	"testing"

	"penstock.dev/penstock/core/config"
)

// consumersOf are Consumers with a chain of one part, which is named; "": without one.
func consumersOf(parts map[string]string) config.Overlay[string, *config.Consumer] {
	all := map[string]*config.Consumer{}
	for name, hash := range parts {
		c := &config.Consumer{Namespace: "ns", Name: name, Username: name}
		if hash != "" {
			p := &config.Part{Name: config.PartConsumer, Object: config.Object{Kind: "Consumer", Namespace: "ns", Name: name}, Hash: hash, Filters: []*config.Filter{filterOf(hash)}}
			c.Chain = &config.Chain{Parts: []*config.Part{p}}
		}
		all[c.Object()] = c
	}
	return config.OverlayOf(all)
}

// TestConsumersHaveChains: the one whose image cannot be had has a fault of its own; a
// chain lives on as long as its Consumer has one.
func TestConsumersHaveChains(t *testing.T) {
	b := newBed(t)
	apply := func(parts map[string]string) {
		t.Helper()
		c := configOf()
		c.Consumers = consumersOf(parts)
		if err := b.Apply(c); err != nil {
			t.Fatal(err)
		}
	}
	chain := func(object string, there bool) *Chain {
		t.Helper()
		c, ok := b.Load().Consumer(object)
		if ok != there {
			t.Errorf("%s: there %v; want %v", object, ok, there)
		}
		return c
	}
	apply(map[string]string{"plain": ""})
	if chain("ns/plain", true) != nil || chain("ns/gone", true) != nil { // nobody has filters
		t.Error("there is a chain")
	}
	apply(map[string]string{"plain": "", "gold": "a", "silver": "b"})
	gold, silver := chain("ns/gold", true), chain("ns/silver", true)
	if gold == nil || silver == nil || gold == silver || chain("ns/plain", true) != nil || chain("ns/gone", false) != nil {
		t.Fatal("each has its own, others none")
	}
	for range 2 {
		b.images.answer <- errors.New("no such image")
	}
	for _, c := range []*Chain{gold, silver} {
		if l, err := c.Acquire(); err != nil || l.Fault == nil {
			t.Errorf("without an image: %v, %+v", err, l)
		}
	}
	apply(map[string]string{"plain": "", "gold": "a2", "silver": "b"})
	if chain("ns/gold", true) != gold || chain("ns/silver", true) != silver || gold.config.Load().Parts[0].Hash != "a2" {
		t.Error("chains do not live on")
	}
	apply(map[string]string{"plain": "", "silver": "b"})
	if chain("ns/gold", false) != nil || chain("ns/silver", true) != silver || len(b.Load().chains) != 1 {
		t.Error("it is gone, and its chain is there")
	}
	if l, err := gold.Acquire(); err != nil || l.Fault == nil || l.Fault.Reason != "Gone" {
		t.Errorf("the chain of one that is gone: %v, %+v", err, l)
	}
	apply(map[string]string{"plain": "", "silver": ""})
	if chain("ns/silver", true) != nil || len(b.Load().consumers) != 0 {
		t.Error("it has no filters any more, and yet a chain")
	}
}

func TestConsumersChainsAreJudged(t *testing.T) {
	b := newBed(t)
	for what, change := range map[string]func(*config.Consumer){
		"two parts":        func(c *config.Consumer) { c.Chain.Parts = append(c.Chain.Parts, c.Chain.Parts[0]) },
		"no part":          func(c *config.Consumer) { c.Chain.Parts = nil },
		"another's":        func(c *config.Consumer) { c.Chain.Parts[0].Name = "service" },
		"a cache":          func(c *config.Consumer) { c.Chain.Parts[0].Filters[0].Cache = &config.Cache{} },
		"a part of nobody": func(c *config.Consumer) { c.Chain.Parts[0] = nil },
	} {
		c := configOf()
		c.Consumers = consumersOf(map[string]string{"gold": "a"})
		change(c.Consumers.Of("ns/gold"))
		if err := b.Apply(c); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}
