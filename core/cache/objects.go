package cache

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"time"

	"penstock.dev/penstock/core/cache/store"
)

// Bounds on plugins' own objects.
const (
	MaxObjectKey   = 1 << 10 // bytes
	MaxObjectBytes = 1 << 20 // of a value
	MinObjectTTL   = time.Second
	MaxObjectTTL   = 30 * 24 * time.Hour

	// maxPurges bounds the purges of plugins under way; purgeWait is how long one is
	// waited for.
	maxPurges = 8
	purgeWait = time.Second
)

// What a plugin's object is refused for.
var (
	// ErrObject: key, value or time to live pass their bounds.
	ErrObject = errors.New("a plugin's object has a key of 1 to 1024 bytes, a value of at most 1 MiB, and lives 1 s to 720 h")
	// ErrQuota: the plugin has as many objects, or bytes of values, as it may.
	ErrQuota = errors.New("the plugin's objects take all of their quota")
	// ErrPurging: as many purges of plugins as may be are under way.
	ErrPurging = errors.New("too many purges are under way")
)

// A plugin's object has a key that no response has: theirs begin with the length of the
// exchange's scope, which is never empty. The rest is a digest, so that neither
// namespace nor key can be written to look like another one's.
const objectMark = 0

// objectKey is what an object is stored under.
type objectKey [1 + sha256.Size]byte

// objectHead is the head of an object: a version that no response's has, then when it
// ends, in milliseconds since 1970.
type objectHead [1 + 8]byte

const objectVersion = 0x80

func headOf(expires time.Time) (h objectHead) {
	h[0] = objectVersion
	binary.LittleEndian.PutUint64(h[1:], uint64(expires.UnixMilli()))
	return h
}

// expiryOf reads a head; ok is false for any other.
func expiryOf(head []byte) (expires int64, ok bool) {
	if len(head) != len(objectHead{}) || head[0] != objectVersion {
		return 0, false
	}
	return int64(binary.LittleEndian.Uint64(head[1:])), true
}

// Object appends the value that plugins with the state id of a namespace have put under
// key, and returns how long it still lives, at least 1 ms; stale: a soft purge has met
// it. ok is false, and dst as it was, if there is none. It waits for the disk if the
// object lies there alone. Any goroutine may call it.
func (k *Cache) Object(dst []byte, namespace, id string, key []byte) (value []byte, left time.Duration, stale, ok bool) {
	if len(key) == 0 || len(key) > MaxObjectKey {
		return dst, 0, false, false
	}
	s := k.objects.shelf(namespace, id)
	at := s.key(key)
	o := k.store.Get(at[:], nil)
	if o == nil {
		return dst, 0, false, false
	}
	now := time.Now().UnixMilli()
	expires, ours := expiryOf(o.Head())
	if !ours || expires <= now {
		k.store.Remove(o)
		s.forget(at, expires)
		return dst, 0, false, false
	}
	var r store.Reader
	if !o.Read(&r, 0, -1) {
		return dst, 0, false, false
	}
	defer r.Close()
	value = slices.Grow(dst, int(o.Size()))
	for {
		p, err := r.Next()
		if err == io.EOF {
			s.adopt(at, held{o.Size(), expires})
			return value, time.Duration(expires-now) * time.Millisecond, o.Stale(), true
		}
		if err != nil { // of the disk, which the store tells of
			return dst, 0, false, false
		}
		value = append(value, p...)
	}
}

// PutObject stores a value, in the place of what was under the key, for ttl: it may be
// gone earlier. tags are those of purges, 1 to 256 bytes each, 128 at most. Nothing that
// is passed is kept. The error is ErrQuota or ErrObject, which change nothing, or says
// why the store has no room. Any goroutine may call it.
func (k *Cache) PutObject(namespace, id string, key, value []byte, ttl time.Duration, tags [][]byte) error {
	if len(key) == 0 || len(key) > MaxObjectKey || len(value) > MaxObjectBytes || ttl < MinObjectTTL || ttl > MaxObjectTTL {
		return ErrObject
	}
	s := k.objects.lock(namespace, id)
	defer s.puts.Unlock()
	at, now := s.key(key), time.Now()
	expires := now.Add(ttl)
	old, had, ok := s.reserve(at, held{int64(len(value)), expires.UnixMilli()}, now, &k.objects)
	s.clear(k.store, now)
	if !ok {
		return ErrQuota
	}
	head := headOf(expires)
	w := k.store.Create(at[:], nil, head[:], store.Attributes{Namespace: namespace, Path: at[:], Tags: tags}, int64(len(value)))
	_, err := w.Write(value)
	if err == nil {
		_, err = w.Commit()
	} else {
		w.Abort(err)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrPurged): // it was put, and purged then
		k.removeObject(s, at)
		return nil
	}
	s.restore(at, old, had)
	return err
}

// DeleteObject removes what is under the key, if there is anything. Any goroutine may
// call it.
func (k *Cache) DeleteObject(namespace, id string, key []byte) {
	if len(key) == 0 || len(key) > MaxObjectKey {
		return
	}
	s := k.objects.lock(namespace, id)
	defer s.puts.Unlock()
	at := s.key(key)
	k.removeObject(s, at)
	if k.tell != nil {
		_ = k.tell(Removal{Key: at[:]}) // as with dropped
	}
}

// removeObject takes an object away, and out of its shelf's count; s.puts is held.
func (k *Cache) removeObject(s *shelf, at objectKey) {
	k.store.Forget(at[:])
	s.restore(at, held{}, false)
}

// PurgeTags removes what is stored in a namespace, responses and plugins' objects, and
// has any of the tags, or makes it stale, and returns how much that was. A purge that
// takes longer than a second goes on behind the caller's back: removed is -1 then. The
// error is ErrPurging, store.ErrNothingNamed, or says that the disk did not take note of
// it. Tags may be such as no CachePurge can name. Any goroutine may call it.
func (k *Cache) PurgeTags(namespace string, tags [][]byte, soft bool) (removed int, err error) {
	p := &store.Purge{Namespace: namespace, Soft: soft}
	for _, t := range tags {
		p.Tags = append(p.Tags, string(t))
	}
	if k.objects.purging.Add(1) > maxPurges {
		k.objects.purging.Add(-1)
		return 0, ErrPurging
	}
	type result struct {
		n   int
		err error
	}
	done := make(chan result, 1)
	if !k.start(func() {
		defer k.objects.purging.Add(-1)
		n, err := k.purged(p)
		k.objects.purged.Add(1)
		done <- result{n, err}
	}) {
		k.objects.purging.Add(-1)
		return 0, store.ErrClosed
	}
	wait := time.NewTimer(purgeWait)
	defer wait.Stop()
	select {
	case r := <-done:
		return r.n, r.err
	case <-wait.C:
		return -1, nil
	}
}
