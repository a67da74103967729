package cache

import "penstock.dev/penstock/core/cache/store"

// Removal is something that was taken out of the cache: by a purge, or under a key.
type Removal struct {
	Purge *store.Purge // nil: Key is what went
	Key   []byte       // what it is is the cache's own; not to be changed
}

// Tell has to be told of what is removed from now on by purges, by requests that change
// something, and by plugins: for another process that answers the same clients, which is
// to Follow. A purge has happened here when to is called, and reports its error; a key
// waits for to, which does not keep it. To be called once, before the cache is in use.
func (k *Cache) Tell(to func(Removal) error) { k.tell = to }

// Follow removes what another process was told of. Nobody is told of it. The error is as
// Purge's.
func (k *Cache) Follow(r Removal) error {
	if r.Purge != nil {
		_, err := k.purge(r.Purge)
		return err
	}
	k.drop(r.Key)
	return nil
}

// dropped drops what is under a key, and tells of it.
func (k *Cache) dropped(key []byte) {
	k.drop(key)
	if k.tell != nil {
		_ = k.tell(Removal{Key: key}) // who is told logs what went wrong: no client can be told
	}
}
