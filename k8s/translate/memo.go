package translate

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"

	"penstock.dev/penstock/core/config"
)

// memo gives a value the pointer it had last time if its key is the same.
type memo[T any] struct{ old, now map[string]memoEntry[T] }

type memoEntry[T any] struct {
	key   string
	value *T
}

// get returns the value called id. make is called if there was none with this key.
func (m *memo[T]) get(id, key string, make func() *T) *T {
	if e, ok := m.now[id]; ok && e.key == key {
		return e.value
	}
	e, ok := m.old[id]
	if !ok || e.key != key {
		e = memoEntry[T]{key, make()}
	}
	if m.now == nil {
		m.now = map[string]memoEntry[T]{}
	}
	m.now[id] = e
	return e.value
}

// put makes a value the one called id.
func (m *memo[T]) put(id string, value *T) *T {
	if m.now == nil {
		m.now = map[string]memoEntry[T]{}
	}
	m.now[id] = memoEntry[T]{value: value}
	return value
}

// keep carries the value called id over to the next run unseen.
func (m *memo[T]) keep(id string) {
	if _, ok := m.now[id]; ok {
		return
	}
	if e, ok := m.old[id]; ok {
		if m.now == nil {
			m.now = map[string]memoEntry[T]{}
		}
		m.now[id] = e
	}
}

// settle adds what was made since the last turn to what there was; not good: it is
// forgotten.
func (m *memo[T]) settle(good bool) {
	if good && m.old == nil {
		m.old = m.now
	} else if good {
		maps.Copy(m.old, m.now)
	}
	m.now = nil
}

func (m *memo[T]) turn() { m.old, m.now = m.now, nil }

type memos struct {
	gateways  memo[config.Gateway]
	tables    memo[config.RouteTable]
	rawTables memo[config.RawTable]
	rawRoutes memo[config.RawRoute]
	chains    memo[config.Chain]
	parts     memo[config.Part]
	upstreams memo[config.Upstream]
	endpoints memo[config.EndpointSet]
	totals    memo[config.Totals]
	purges    memo[config.Purge]

	parameters memo[config.ProxyParameters]

	tls          memo[config.TLS]
	certificates memo[keyPair]
	clients      memo[config.ClientAuth]
	backendTLS   memo[config.UpstreamTLS]
}

func (m *memos) turn() {
	m.gateways.turn()
	m.tables.turn()
	m.rawTables.turn()
	m.rawRoutes.turn()
	m.chains.turn()
	m.parts.turn()
	m.upstreams.turn()
	m.endpoints.turn()
	m.totals.turn()
	m.purges.turn()
	m.parameters.turn()
	m.tls.turn()
	m.certificates.turn()
	m.clients.turn()
	m.backendTLS.turn()
}

func (m *memos) settle(good bool) {
	m.gateways.settle(good)
	m.tables.settle(good)
	m.rawTables.settle(good)
	m.rawRoutes.settle(good)
	m.chains.settle(good)
	m.parts.settle(good)
	m.upstreams.settle(good)
	m.endpoints.settle(good)
	m.totals.settle(good)
	m.purges.settle(good)
	m.parameters.settle(good)
	m.tls.settle(good)
	m.certificates.settle(good)
	m.clients.settle(good)
	m.backendTLS.settle(good)
}

// digest returns a hash of v's JSON, which is the same for equal values.
func digest(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic("BUG: not JSON: " + err.Error())
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}
