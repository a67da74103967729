package cache

import (
	"bytes"
	"encoding/binary"
	"slices"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
)

// Bounds on what a request can make the cache keep of it.
const (
	maxKeyBytes = 8 << 10
	maxParams   = 256 // parameters of a query that are put in order
)

// A key is a list of parts, each with its length before it, so that no two lists are
// the same bytes: what the exchange's scope, the fingerprint of the filters after the
// cache, scheme, authority and target are, and what the entry's `key` adds.

func appendPart[T []byte | string](dst []byte, part T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(part))), part...)
}

// appendAbsent adds a part that no value has.
func appendAbsent(dst []byte) []byte { return append(dst, 0xff, 0xff, 0xff, 0xff, 0x0f) }

// keyOf returns the request's key and the target that the origin is asked for, both in
// the exchange's arena. ok is false if the key would be too long.
func (f *Filter) keyOf(x *exchange.Exchange) (key, target []byte, ok bool) {
	q := &x.Request
	target = f.target(q.Path)
	n := len(x.CacheScope) + len(f.fingerprint) + len(q.Scheme) + len(q.Authority) + len(target) + 64
	if n > maxKeyBytes {
		return nil, nil, false
	}
	key = x.Arena.Alloc(n)[:0]
	key = appendPart(key, x.CacheScope)
	key = append(key, f.fingerprint[:]...)
	key = appendPart(key, q.Scheme)
	if f.c.Key.AnyHostname {
		key = appendAbsent(key)
	} else {
		key = appendPart(key, authority(q))
		lower(key[len(key)-len(authority(q)):])
	}
	key = appendPart(key, target)
	key = f.appendExtra(key, x)
	return key, target, len(key) <= maxKeyBytes
}

// appendExtra adds what the entry's `key` asks for.
func (f *Filter) appendExtra(key []byte, x *exchange.Exchange) []byte {
	k := &f.c.Key
	for _, name := range k.Headers {
		key = appendHeader(key, &x.Request.Header, name)
	}
	for _, name := range k.Cookies {
		key = appendCookie(key, &x.Request.Header, name)
	}
	if k.Consumer {
		key = appendPart(key, x.Consumer.Object) // names are unique in a namespace alone
		key = appendPart(key, x.Consumer.Name)
		key = binary.AppendUvarint(key, uint64(len(x.Consumer.Groups)))
		for _, g := range x.Consumer.Groups {
			key = appendPart(key, g)
		}
	}
	if x.Steer != nil {
		for _, part := range x.Steer.Key {
			key = append(key, 1)
			key = appendPart(key, part)
		}
	}
	return key
}

// appendHeader adds the lines of a field, in their order.
func appendHeader(key []byte, h *exchange.Header, name string) []byte {
	n := h.Count(name)
	if n == 0 {
		return appendAbsent(key)
	}
	key = binary.AppendUvarint(key, uint64(n))
	for _, field := range h.Fields() {
		if exchange.EqualFold(field.Name, name) {
			key = appendPart(key, field.Value)
		}
	}
	return key
}

// appendCookie adds all values that a cookie has: origins differ in which one counts.
func appendCookie(key []byte, h *exchange.Header, name string) []byte {
	for value := range cookies(h, name) {
		key = append(key, 1)
		key = appendPart(key, value)
	}
	return append(key, 0)
}

// cookies yields the values of the request's cookies of that name (RFC 6265, 4.2.1).
func cookies(h *exchange.Header, name string) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for _, field := range h.Fields() {
			if !exchange.EqualFold(field.Name, "cookie") {
				continue
			}
			for rest := field.Value; len(rest) > 0; {
				var pair []byte
				pair, rest, _ = bytes.Cut(rest, []byte(";"))
				own, value, _ := bytes.Cut(bytes.TrimSpace(pair), []byte("="))
				if string(bytes.TrimSpace(own)) == name && !yield(value) {
					return
				}
			}
		}
	}
}

// authority is the request's without the port that its scheme has.
func authority(q *exchange.Request) []byte {
	port := ":80"
	if string(q.Scheme) == "https" {
		port = ":443"
	}
	return bytes.TrimSuffix(q.Authority, []byte(port))
}

// lower makes ASCII letters lower case in place.
func lower(b []byte) {
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c | 0x20
		}
	}
}

// target returns path and query without the parameters that do not count. The origin is
// asked for exactly that, so that what does not count cannot change what is stored.
func (f *Filter) target(path []byte) []byte {
	k := &f.c.Key
	i := bytes.IndexByte(path, '?')
	if i < 0 || !k.NoQuery && len(k.QueryAllow) == 0 && len(k.QueryDeny) == 0 {
		return path
	}
	if k.NoQuery {
		return path[:i]
	}
	kept := make([][]byte, 0, 8)
	for param := range bytes.SplitSeq(path[i+1:], []byte("&")) {
		if len(param) > 0 && f.counts(param) {
			if kept = append(kept, param); len(kept) > maxParams {
				return path
			}
		}
	}
	slices.SortStableFunc(kept, func(a, b []byte) int { return bytes.Compare(nameOf(a), nameOf(b)) })
	out := append(make([]byte, 0, len(path)), path[:i]...)
	for n, param := range kept {
		out = append(out, "?&"[min(n, 1)])
		out = append(out, param...)
	}
	return out
}

// counts reports whether a query parameter is part of the key. One with a semicolon
// always is: some origins end a parameter there, and would see another one.
func (f *Filter) counts(param []byte) bool {
	if bytes.IndexByte(param, ';') >= 0 {
		return true
	}
	name, ok := decoded(nameOf(param))
	if !ok {
		return true
	}
	k := &f.c.Key
	if len(k.QueryAllow) > 0 {
		return slices.Contains(k.QueryAllow, string(name))
	}
	return !slices.Contains(k.QueryDeny, string(name))
}

func nameOf(param []byte) []byte {
	name, _, _ := bytes.Cut(param, []byte("="))
	return name
}

// decoded undoes the percent and plus encoding of a query's name; ok is false if it is
// malformed.
func decoded(b []byte) (out []byte, ok bool) {
	if !bytes.ContainsAny(b, "%+") {
		return b, true
	}
	out = make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		switch c := b[i]; c {
		case '+':
			out = append(out, ' ')
		case '%':
			if i+2 >= len(b) {
				return nil, false
			}
			hi, lo := unhex(b[i+1]), unhex(b[i+2])
			if hi < 0 || lo < 0 {
				return nil, false
			}
			out = append(out, byte(hi<<4|lo))
			i += 2
		default:
			out = append(out, c)
		}
	}
	return out, true
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

// bypassed reports whether a condition of the entry's `bypass` holds.
func (f *Filter) bypassed(x *exchange.Exchange) bool {
	for i := range f.c.Bypass {
		if holds(&f.c.Bypass[i], x) {
			return true
		}
	}
	return false
}

func holds(c *config.CacheCondition, x *exchange.Exchange) bool {
	is := func(value []byte) bool { return c.Value == "" || c.Value == string(value) }
	switch c.Kind {
	case config.CacheConditionHeader:
		for _, field := range x.Request.Header.Fields() {
			if exchange.EqualFold(field.Name, c.Name) && is(field.Value) {
				return true
			}
		}
	case config.CacheConditionCookie:
		for value := range cookies(&x.Request.Header, c.Name) {
			if is(value) {
				return true
			}
		}
	case config.CacheConditionQuery:
		_, query, _ := bytes.Cut(x.Request.Path, []byte("?"))
		for param := range bytes.SplitSeq(query, []byte("&")) {
			name, ok := decoded(nameOf(param))
			if !ok || string(name) != c.Name {
				continue
			}
			value, ok := decoded(bytes.TrimPrefix(param[len(nameOf(param)):], []byte("=")))
			if ok && is(value) {
				return true
			}
		}
	}
	return false
}
