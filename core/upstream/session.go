package upstream

import (
	"crypto/hmac"
	"crypto/sha256"
)

// Tag stands for an endpoint where a client sees it: it tells nothing of the address,
// and nobody makes one without the key.
type Tag [8]byte

// Session is a client's, which stays at one endpoint as long as that is there.
type Session struct {
	// Key is what tags are made with; not empty.
	Key []byte
	// Want is the endpoint that it is at, if Known.
	Want  Tag
	Known bool

	used *endpoint // that answered
}

// Used returns the tag of the endpoint that answered; ok is false if none did.
func (s *Session) Used() (t Tag, ok bool) {
	if s.used == nil {
		return t, false
	}
	return s.used.tag(s.Key), true
}

// Has reports whether the endpoint with this tag is one of the group's that are used.
func (g *Group) Has(key []byte, t Tag) bool { return g.tagged(key, t) != nil }

// tagged returns the endpoint with this tag, wherever it is; nil: there is none.
func (g *Group) tagged(key []byte, t Tag) *endpoint {
	all := g.current.Load()
	for _, e := range all.ready {
		if e.tag(key) == t {
			return e
		}
	}
	return nil
}

// tagged is what an endpoint's tag is under a key.
type tagged struct {
	key string
	tag Tag
}

// tag returns the endpoint's tag. The last one is kept: there is one key, and another
// one only while it is replaced.
func (e *endpoint) tag(key []byte) Tag {
	if known := e.tags.Load(); known != nil && known.key == string(key) {
		return known.tag
	}
	h := hmac.New(sha256.New, key)
	_, _ = h.Write([]byte("endpoint\x00" + e.group.config.Name + "\x00" + e.text))
	made := &tagged{key: string(key), tag: Tag(h.Sum(nil)[:8])}
	e.tags.Store(made)
	return made.tag
}
