package proxy

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strconv"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/snapshot"
	"penstock.dev/penstock/core/upstream"
)

// A token says where a session is and since when, and carries a code that only the
// proxies of its Gateway can make: version, tag, seconds of Unix time, code.
const (
	tokenVersion = 1
	codeBytes    = 16
	tokenBytes   = 1 + len(upstream.Tag{}) + 8 + codeBytes
)

var setCookie = []byte("Set-Cookie")

// join finds the session that the request belongs to, and the backend where it is;
// nil: any. A token that is forged, too old, or of an endpoint that is gone begins a
// new session.
func (s *state) join() *snapshot.Backend {
	c := s.rule.Config.Session
	if c == nil || len(s.params.SessionKeys) == 0 {
		return nil
	}
	s.session = upstream.Session{Key: s.params.SessionKeys[0]}
	s.sending.Session = &s.session
	var found *snapshot.Backend
	tokens(&s.x.Request.Header, c, func(text []byte) bool {
		for _, key := range s.params.SessionKeys {
			tag, since, ok := readToken(text, key, s.rule.Name)
			if !ok || c.Lifetime > 0 && time.Since(time.Unix(since, 0)) >= c.Lifetime {
				continue
			}
			for i := range s.rule.Backends {
				b := &s.rule.Backends[i]
				if b.Config.Weight > 0 && b.Upstream != nil && b.Upstream.Has(key, tag) {
					s.session = upstream.Session{Key: key, Want: tag, Known: true}
					found = b
					return true
				}
			}
		}
		return false
	})
	return found
}

// tell gives the client its token, if it has another one or none. It is no part of what
// filters see, so that no cache keeps it for somebody else.
func (s *state) tell() {
	c := s.rule.Config.Session
	tag, ok := s.session.Used()
	if !ok || s.session.Known && s.session.Want == tag {
		return
	}
	x := s.x
	token := appendToken(x.Arena.Alloc(base64.RawURLEncoding.EncodedLen(tokenBytes))[:0], s.session.Key, s.rule.Name, tag, time.Now().Unix())
	if c.Header {
		x.Response.Header.Set([]byte(c.Name), token)
		return
	}
	b := append(append(append([]byte(nil), c.Name...), '='), token...)
	b = append(append(b, "; Path="...), c.Path...)
	if c.Permanent {
		b = strconv.AppendInt(append(b, "; Max-Age="...), int64(c.Lifetime/time.Second), 10)
	}
	b = append(b, "; HttpOnly"...)
	if string(x.Request.Scheme) == "https" {
		b = append(b, "; Secure"...)
	}
	x.Response.Header.Add(setCookie, x.Arena.Copy(b))
}

// tokens calls f for each of the request's tokens, until it says that one is right.
func tokens(h *exchange.Header, c *config.Session, f func([]byte) bool) {
	if c.Header {
		if text, ok := h.Get(c.Name); ok {
			f(text)
		}
		return
	}
	for _, field := range h.Fields() {
		if !exchange.EqualFold(field.Name, "cookie") {
			continue
		}
		for part := range bytes.SplitSeq(field.Value, []byte(";")) {
			name, value, _ := bytes.Cut(bytes.TrimSpace(part), []byte("="))
			if string(name) == c.Name && f(value) {
				return
			}
		}
	}
}

// appendToken appends a token for a rule.
func appendToken(dst, key []byte, rule string, tag upstream.Tag, since int64) []byte {
	var b [tokenBytes]byte
	b[0] = tokenVersion
	n := 1 + copy(b[1:], tag[:])
	binary.BigEndian.PutUint64(b[n:], uint64(since))
	copy(b[n+8:], code(b[:n+8], key, rule))
	return base64.RawURLEncoding.AppendEncode(dst, b[:])
}

// readToken reads a token that was made with this key for this rule.
func readToken(text, key []byte, rule string) (tag upstream.Tag, since int64, ok bool) {
	var b [tokenBytes + 2]byte
	if len(text) != base64.RawURLEncoding.EncodedLen(tokenBytes) {
		return tag, 0, false
	}
	if _, err := base64.RawURLEncoding.Decode(b[:], text); err != nil || b[0] != tokenVersion {
		return tag, 0, false
	}
	n := tokenBytes - codeBytes
	if !hmac.Equal(b[n:tokenBytes], code(b[:n], key, rule)) {
		return tag, 0, false
	}
	copy(tag[:], b[1:])
	since = int64(binary.BigEndian.Uint64(b[1+len(tag):]))
	return tag, since, true
}

// code authenticates what a token says.
func code(said, key []byte, rule string) []byte {
	h := hmac.New(sha256.New, key)
	_, _ = h.Write([]byte("session\x00" + rule + "\x00"))
	_, _ = h.Write(said)
	return h.Sum(nil)[:codeBytes]
}
