package router

import (
	"bytes"
	"cmp"
	"hash/maphash"
	"maps"
	"slices"
	"strings"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
)

// Route is a group of rules with its hostnames: one HTTPRoute or GRPCRoute. It is
// not changed once a table has it: another route is another pointer.
type Route[T any] struct {
	Hostnames []string // lower case, "*.example" allowed; empty: any
	// Created and Name ("namespace/name") break ties: older first, then by name.
	Created time.Time
	Name    string
	Rules   []Rule[T]
}

// Rule leads to a value if any of its matches holds.
type Rule[T any] struct {
	Matches []config.Match
	Value   T
}

// Request is what a lookup looks at. Nothing of it is kept.
type Request struct {
	Hostname []byte // lower case, without port
	Path     []byte // normalised, without query; empty for CONNECT
	Query    []byte
	Method   []byte
	Header   *exchange.Header
}

// Table is an immutable matcher. Any number of goroutines may use it.
type Table[T any] struct {
	routes   []*Route[T]
	any      *hostTable[T]
	exact    hosts[T]
	wildcard map[string]*hostTable[T] // by ".example"
}

// hosts are tables by hostname, in shards: a change copies one of them.
type hosts[T any] [64]map[string]*hostTable[T]

// seed is of the hash that chooses a shard, so that nobody can fill one of them.
var seed = maphash.MakeSeed()

func (h *hosts[T]) of(hostname []byte) *hostTable[T] {
	return h[maphash.Bytes(seed, hostname)%uint64(len(h))][string(hostname)]
}

// hostTable is the rules of one hostname; immutable.
type hostTable[T any] struct {
	routes int // that have the hostname
	exact  paths[T]
	prefix paths[T] // without trailing slash; "" is "/"
	regex  []candidate[T]
	method []candidate[T] // config.PathMethod
}

type candidate[T any] struct {
	match *config.Match
	value T
	// what precedence looks at, see before
	route      *Route[T]
	rule, item int
}

// New builds a table. prev may be nil; what differs from it is built, the rest
// taken over: the price of a change is that of the routes that changed, and of
// copying tables of the hostnames that they have.
func New[T any](prev *Table[T], routes []*Route[T]) *Table[T] {
	if prev == nil {
		prev = &Table[T]{}
	}
	t := &Table[T]{routes: routes, any: prev.any, exact: prev.exact, wildcard: maps.Clone(prev.wildcard)}
	if t.wildcard == nil {
		t.wildcard = map[string]*hostTable[T]{}
	}
	type change struct{ gone, added []*Route[T] }
	changes := map[string]*change{}
	each := func(list []*Route[T], f func(*change, *Route[T])) {
		for _, r := range list {
			hostnames := r.Hostnames
			if len(hostnames) == 0 {
				hostnames = anyHostname
			}
			for _, h := range hostnames {
				c := changes[h]
				if c == nil {
					c = &change{}
					changes[h] = c
				}
				f(c, r)
			}
		}
	}
	gone, added := differ(prev.routes, routes)
	each(gone, func(c *change, r *Route[T]) { c.gone = append(c.gone, r) })
	each(added, func(c *change, r *Route[T]) { c.added = append(c.added, r) })
	var copied [len(t.exact)]bool
	for hostname, c := range changes {
		made := t.host(hostname).with(c.gone, c.added)
		suffix, wild := strings.CutPrefix(hostname, "*")
		switch {
		case hostname == "":
			t.any = made
		case wild:
			put(t.wildcard, suffix, made)
		default:
			i := maphash.String(seed, hostname) % uint64(len(t.exact))
			if !copied[i] {
				if copied[i], t.exact[i] = true, maps.Clone(t.exact[i]); t.exact[i] == nil {
					t.exact[i] = map[string]*hostTable[T]{}
				}
			}
			put(t.exact[i], hostname, made)
		}
	}
	return t
}

func put[T any](table map[string]*hostTable[T], hostname string, h *hostTable[T]) {
	if h == nil {
		delete(table, hostname)
	} else {
		table[hostname] = h
	}
}

var anyHostname = []string{""}

// differ returns the routes that are in one list alone. Lists that differ little
// have most of their beginning and end in common.
func differ[T any](old, now []*Route[T]) (gone, added []*Route[T]) {
	for len(old) > 0 && len(now) > 0 && old[0] == now[0] {
		old, now = old[1:], now[1:]
	}
	for len(old) > 0 && len(now) > 0 && old[len(old)-1] == now[len(now)-1] {
		old, now = old[:len(old)-1], now[:len(now)-1]
	}
	both := make(map[*Route[T]]bool, len(old))
	for _, r := range old {
		both[r] = false
	}
	for _, r := range now {
		if _, ok := both[r]; ok {
			both[r] = true
		} else {
			added = append(added, r)
		}
	}
	for _, r := range old {
		if !both[r] {
			gone = append(gone, r)
		}
	}
	return gone, added
}

func (t *Table[T]) host(hostname string) *hostTable[T] {
	if hostname == "" {
		return t.any
	}
	if suffix, ok := strings.CutPrefix(hostname, "*"); ok {
		return t.wildcard[suffix]
	}
	return t.exact.of([]byte(hostname))
}

// with returns the table without some routes and with others; nil: it has none.
func (h *hostTable[T]) with(gone, added []*Route[T]) *hostTable[T] {
	n := &hostTable[T]{}
	if h != nil {
		*n = hostTable[T]{routes: h.routes, exact: h.exact.clone(), prefix: h.prefix.clone(), regex: h.regex, method: h.method}
	}
	if n.routes += len(added) - len(gone); n.routes == 0 {
		return nil
	}
	drop := make(map[*Route[T]]bool, len(gone))
	for _, r := range gone {
		drop[r] = true
	}
	without := func(list []candidate[T]) []candidate[T] {
		return slices.DeleteFunc(slices.Clone(list), func(c candidate[T]) bool { return drop[c.route] })
	}
	changed, touched, come := map[*[]candidate[T]]bool{}, map[place[T]]bool{}, map[place[T]][]candidate[T]{}
	n.eachMatch(gone, func(list *[]candidate[T], table *paths[T], key string, _ candidate[T]) {
		switch at := (place[T]{table, key}); {
		case table == nil && !changed[list]:
			*list, changed[list] = without(*list), true
		case table != nil && !touched[at]:
			touched[at] = true
			table.put(key, without(table.of([]byte(key))))
		}
	})
	n.eachMatch(added, func(list *[]candidate[T], table *paths[T], key string, c candidate[T]) {
		if table == nil {
			if !changed[list] {
				*list, changed[list] = slices.Clone(*list), true
			}
			*list = append(*list, c)
			return
		}
		at := place[T]{table, key}
		come[at] = append(come[at], c)
	})
	for at, list := range come {
		all := append(slices.Clip(at.table.of([]byte(at.key))), list...)
		slices.SortStableFunc(all, before)
		at.table.put(at.key, all)
	}
	if changed[&n.regex] {
		slices.SortStableFunc(n.regex, func(a, b candidate[T]) int {
			return cmp.Or(cmp.Compare(len(b.match.Regex.String()), len(a.match.Regex.String())), before(a, b))
		})
	}
	if changed[&n.method] {
		slices.SortStableFunc(n.method, func(a, b candidate[T]) int {
			return cmp.Or(cmp.Compare(b.match.Rank, a.match.Rank), before(a, b))
		})
	}
	return n
}

// eachMatch calls f for every match of routes with where it belongs: a list, or
// the list of a table under a key.
func (h *hostTable[T]) eachMatch(routes []*Route[T], f func(list *[]candidate[T], table *paths[T], key string, c candidate[T])) {
	for _, r := range routes {
		for i := range r.Rules {
			for j := range r.Rules[i].Matches {
				m := &r.Rules[i].Matches[j]
				c := candidate[T]{match: m, value: r.Rules[i].Value, route: r, rule: i, item: j}
				switch m.PathType {
				case config.PathExact:
					f(nil, &h.exact, m.Path, c)
				case config.PathPrefix:
					f(nil, &h.prefix, strings.TrimSuffix(m.Path, "/"), c)
				case config.PathRegex:
					f(&h.regex, nil, "", c)
				case config.PathMethod:
					f(&h.method, nil, "", c)
				}
			}
		}
	}
}

// before orders candidates with equal paths as HTTPRouteRule says: method,
// most header matches, most query matches, oldest route, by name, first in the list.
func before[T any](a, b candidate[T]) int {
	hasMethod := func(m *config.Match) int {
		if m.Method != "" {
			return 1
		}
		return 0
	}
	return cmp.Or(
		cmp.Compare(hasMethod(b.match), hasMethod(a.match)),
		cmp.Compare(len(b.match.Headers), len(a.match.Headers)),
		cmp.Compare(len(b.match.Query), len(a.match.Query)),
		a.route.Created.Compare(b.route.Created),
		strings.Compare(a.route.Name, b.route.Name),
		cmp.Compare(a.rule, b.rule),
		cmp.Compare(a.item, b.item),
	)
}

// Find returns the value of the best rule, and the match that led to it; ok is
// false if none holds. The most specific hostname comes first: exact, then
// wildcards from the longest on, then routes without hostname; within one,
// exact paths, regular expressions (longest first), prefixes (longest first), and
// before the prefix "/" expressions over a method of gRPC.
//
// A CONNECT has no path, so that only the prefix "/" matches, and it needs a match
// that names the method: a rule that does not speak of tunnels opens none.
func (t *Table[T]) Find(q *Request) (value T, match *config.Match, ok bool) {
	if h := t.exact.of(q.Hostname); h != nil {
		if value, match, ok = h.find(q); ok {
			return value, match, ok
		}
	}
	if len(t.wildcard) > 0 {
		rest := q.Hostname
		for {
			i := bytes.IndexByte(rest, '.')
			if i < 0 {
				break
			}
			if h := t.wildcard[string(rest[i:])]; h != nil {
				if value, match, ok = h.find(q); ok {
					return value, match, ok
				}
			}
			rest = rest[i+1:]
		}
	}
	if t.any != nil {
		return t.any.find(q)
	}
	return value, nil, false
}

func (h *hostTable[T]) find(q *Request) (value T, match *config.Match, ok bool) {
	if string(q.Method) == connect {
		all := h.prefix.of(nil)
		for i := range all {
			if c := &all[i]; c.match.Method == connect && holds(c.match, q) {
				return c.value, c.match, true
			}
		}
		return value, nil, false
	}
	if c := first(h.exact.of(q.Path), q); c != nil {
		return c.value, c.match, true
	}
	if c := firstRegex(h.regex, q); c != nil {
		return c.value, c.match, true
	}
	if h.prefix.empty() && len(h.method) == 0 {
		return value, nil, false
	}
	path := bytes.TrimSuffix(q.Path, slash)
	for {
		if len(path) == 0 {
			if c := firstRegex(h.method, q); c != nil {
				return c.value, c.match, true
			}
		}
		if c := first(h.prefix.of(path), q); c != nil {
			return c.value, c.match, true
		}
		i := bytes.LastIndexByte(path, '/')
		if i < 0 {
			return value, nil, false
		}
		path = path[:i]
	}
}

var slash = []byte("/")

const connect = "CONNECT"

func first[T any](list []candidate[T], q *Request) *candidate[T] {
	for i := range list {
		if holds(list[i].match, q) {
			return &list[i]
		}
	}
	return nil
}

func firstRegex[T any](list []candidate[T], q *Request) *candidate[T] {
	for i := range list {
		if c := &list[i]; c.match.Regex.Match(q.Path) && holds(c.match, q) {
			return c
		}
	}
	return nil
}

// holds checks what is left once the path matched.
func holds(m *config.Match, q *Request) bool {
	if m.Method != "" && m.Method != string(q.Method) || m.GRPC && !isGRPC(q) {
		return false
	}
	for i := range m.Headers {
		if !headerHolds(&m.Headers[i], q.Header) {
			return false
		}
	}
	for i := range m.Query {
		if !queryHolds(&m.Query[i], q.Query) {
			return false
		}
	}
	return true
}

// isGRPC reports whether a request is one of gRPC, or of gRPC-Web: a POST with a
// content type that begins so (gRPC over HTTP/2).
func isGRPC(q *Request) bool {
	t, _ := q.Header.Get("content-type")
	const base = "application/grpc"
	return string(q.Method) == "POST" && len(t) >= len(base) && exchange.EqualFold(t[:len(base)], base) &&
		(len(t) == len(base) || bytes.IndexByte([]byte("+-; "), t[len(base)]) >= 0)
}

// headerHolds compares all fields of that name joined by a comma (RFC 9110, 5.3).
func headerHolds(m *config.ValueMatch, h *exchange.Header) bool {
	value, ok := h.Get(m.Name)
	if !ok {
		return false
	}
	if h.Count(m.Name) > 1 {
		var all [][]byte
		for _, f := range h.Fields() {
			if exchange.EqualFold(f.Name, m.Name) {
				all = append(all, f.Value)
			}
		}
		value = bytes.Join(all, []byte(","))
	}
	return valueHolds(m, value)
}

func valueHolds(m *config.ValueMatch, value []byte) bool {
	if m.Regex != nil {
		return m.Regex.Match(value)
	}
	return string(value) == m.Value
}

// queryHolds compares the first parameter of that name, decoded.
func queryHolds(m *config.ValueMatch, query []byte) bool {
	for len(query) > 0 {
		part := query
		if i := bytes.IndexByte(query, '&'); i >= 0 {
			part, query = query[:i], query[i+1:]
		} else {
			query = nil
		}
		name, value, _ := bytes.Cut(part, []byte("="))
		if equalDecoded(name, m.Name) {
			if m.Regex == nil {
				return equalDecoded(value, m.Value)
			}
			return m.Regex.Match(decodeForm(value))
		}
	}
	return false
}

// equalDecoded compares form-encoded bytes with plain text, allocating nothing.
func equalDecoded(encoded []byte, plain string) bool {
	j := 0
	for i := 0; i < len(encoded); i++ {
		c, skip := decodeByte(encoded[i:])
		i += skip
		if j >= len(plain) || plain[j] != c {
			return false
		}
		j++
	}
	return j == len(plain)
}

func decodeForm(encoded []byte) []byte {
	out := make([]byte, 0, len(encoded))
	for i := 0; i < len(encoded); i++ {
		c, skip := decodeByte(encoded[i:])
		i += skip
		out = append(out, c)
	}
	return out
}

// decodeByte returns the first decoded byte and how many more were used; a bad
// encoding stands for itself.
func decodeByte(b []byte) (c byte, skip int) {
	switch {
	case b[0] == '+':
		return ' ', 0
	case b[0] == '%' && len(b) > 2 && unhex(b[1]) >= 0 && unhex(b[2]) >= 0:
		return byte(unhex(b[1])<<4 | unhex(b[2])), 2
	}
	return b[0], 0
}

// PathHolds reports whether the normalised path matches, by itself: what a
// filter's exception needs.
func PathHolds(m *config.Match, path []byte) bool {
	switch m.PathType {
	case config.PathExact:
		return string(path) == m.Path
	case config.PathRegex, config.PathMethod:
		return m.Regex.Match(path)
	}
	prefix := strings.TrimSuffix(m.Path, "/")
	return len(path) >= len(prefix) && string(path[:len(prefix)]) == prefix && (len(path) == len(prefix) || path[len(prefix)] == '/')
}
