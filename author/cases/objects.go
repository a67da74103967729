package cases

import (
	"bytes"
	"slices"
	"sync"
	"time"

	"penstock.dev/penstock/hosts/capability"
)

// objects keep what plugins put into the cache, by the case's time.
type objects struct {
	clock *clock

	mu  sync.Mutex
	all map[[3]string]*object // by namespace, id and key
}

type object struct {
	value []byte
	ends  time.Time
	tags  [][]byte
	stale bool
}

// Object implements capability.CacheObjects.
func (o *objects) Object(dst []byte, namespace, id string, key []byte) ([]byte, time.Duration, bool, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	one := o.all[[3]string{namespace, id, string(key)}]
	if one == nil {
		return dst, 0, false, false
	}
	left := one.ends.Sub(o.clock.Now())
	if left <= 0 {
		return dst, 0, false, false
	}
	return append(dst, one.value...), left, one.stale, true
}

// PutObject implements capability.CacheObjects.
func (o *objects) PutObject(namespace, id string, key, value []byte, ttl time.Duration, tags [][]byte) error {
	one := &object{value: slices.Clone(value), ends: o.clock.Now().Add(ttl)}
	for _, tag := range tags {
		one.tags = append(one.tags, slices.Clone(tag))
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.all == nil {
		o.all = map[[3]string]*object{}
	}
	o.all[[3]string{namespace, id, string(key)}] = one
	return nil
}

// DeleteObject implements capability.CacheObjects.
func (o *objects) DeleteObject(namespace, id string, key []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.all, [3]string{namespace, id, string(key)})
}

// PurgeTags implements capability.CacheObjects.
func (o *objects) PurgeTags(namespace string, tags [][]byte, soft bool) (removed int, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for key, one := range o.all {
		if key[0] != namespace || !slices.ContainsFunc(one.tags, func(t []byte) bool {
			return slices.ContainsFunc(tags, func(u []byte) bool { return bytes.Equal(t, u) })
		}) {
			continue
		}
		if removed++; soft {
			one.stale = true
		} else {
			delete(o.all, key)
		}
	}
	return removed, nil
}

var _ capability.CacheObjects = (*objects)(nil)
