package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
)

// config is the plugin's configuration. keys usually come from a Secret.
type config struct {
	// In is where the key is: "header" (default), "query" or "cookie".
	In string `json:"in"`
	// Name of the header field, query parameter or cookie; default "X-API-Key".
	Name string `json:"name"`
	Keys []key  `json:"keys"`
}

type key struct {
	Key      string   `json:"key"`
	Consumer string   `json:"consumer"`
	Groups   []string `json:"groups"`
}

// consumer is who a key belongs to.
type consumer struct {
	key    []byte
	digest [sha256.Size]byte
	name   string
	groups []string
	ready  []byte // for the proxy, see main.go
}

// keyring finds the consumer of a key.
type keyring struct {
	in, name string
	all      []*consumer
	// byDigest is looked up by SHA-256, over which who guesses has no control;
	// the digest is then compared in constant time.
	byDigest map[[sha256.Size]byte]*consumer
}

// fewKeys are compared one by one, which is cheaper than a hash.
const fewKeys = 8

// minKey is the length in bytes below which a key is refused as a mistake.
const minKey = 8

// parse reads the configuration strictly. Errors never hold a key.
func parse(text []byte) (*keyring, error) {
	c := config{In: "header", Name: "X-API-Key"}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	if c.In != "header" && c.In != "query" && c.In != "cookie" {
		return nil, fmt.Errorf("config.in: %q is not header, query or cookie", c.In)
	}
	if c.Name == "" {
		return nil, errors.New("config.name: must not be empty")
	}
	if len(c.Keys) == 0 {
		return nil, errors.New("config.keys: no key: name them in a Secret by configFrom")
	}
	ring := &keyring{in: c.In, name: c.Name, byDigest: map[[sha256.Size]byte]*consumer{}}
	for i, k := range c.Keys {
		if len(k.Key) < minKey {
			return nil, fmt.Errorf("config.keys[%d].key: shorter than %d bytes", i, minKey)
		}
		if k.Consumer == "" {
			return nil, fmt.Errorf("config.keys[%d].consumer: must not be empty", i)
		}
		digest := sha256.Sum256([]byte(k.Key))
		if _, twice := ring.byDigest[digest]; twice {
			return nil, fmt.Errorf("config.keys[%d].key: the same key twice", i)
		}
		c := &consumer{key: []byte(k.Key), digest: digest, name: k.Consumer, groups: k.Groups}
		ring.byDigest[digest] = c
		ring.all = append(ring.all, c)
	}
	return ring, nil
}

// find returns the consumer of a key, nil for an unknown one. What it takes
// does not tell how much of a key was right.
func (r *keyring) find(value string) *consumer {
	if len(r.all) <= fewKeys {
		var found *consumer
		for _, c := range r.all {
			if subtle.ConstantTimeCompare(c.key, []byte(value)) == 1 {
				found = c
			}
		}
		return found
	}
	digest := sha256.Sum256([]byte(value))
	c, ok := r.byDigest[digest]
	if !ok || subtle.ConstantTimeCompare(c.digest[:], digest[:]) != 1 {
		return nil
	}
	return c
}
