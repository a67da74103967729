package config

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"strings"
)

// Consumer is who credentials belong to. It is found by any of them.
type Consumer struct {
	// Namespace and Name are those of the Consumer object.
	Namespace, Name string
	// Username and Groups are what the exchange's consumer has: visible ASCII without
	// spaces, commas and quotes. No two of a namespace have one username.
	Username    string
	Groups      []string     // at most MaxConsumerGroups
	Credentials []Credential // at most MaxConsumerCredentials
	// Chain is what runs once it is known who sent a request; nil: nothing. Its one part is
	// called PartConsumer.
	Chain *Chain
}

// PartConsumer is the name of the part that a Consumer declares.
const PartConsumer = "consumer"

// Bounds of a Consumer.
const (
	MaxConsumerGroups      = 64
	MaxConsumerCredentials = 16
	MaxConsumerText        = 253      // bytes of a username or a group
	MaxCredentialData      = 16 << 10 // bytes of Credential.Data
)

// Credential is what a request can show. No two of a namespace have one ID. Neither
// field is ever told: what a person chose may be guessed from a digest.
type Credential struct {
	// Type is whose word it is: "key-auth", "basic-auth", "jwt".
	Type string
	// ID is what it is found by: CredentialID of the key, of the name in basic
	// authentication, of the issuer or key id of a token.
	ID CredentialDigest `json:"-"`
	// Data is what a plugin that has found it checks the request by: what it is, a NUL,
	// and the bytes. Nothing for "key-auth", where knowing the ID's text is all there is.
	// For "basic-auth" it is "password", or "hash" in the form of crypt(5). For "jwt" it
	// is the algorithm (RFC 7518, 3.1), and the secret, or the public key in DER (RFC
	// 5280, SubjectPublicKeyInfo).
	Data []byte `json:"-"`
}

// CredentialDigest is a SHA-256.
type CredentialDigest [sha256.Size]byte

// CredentialID returns the digest that a credential is found by: of its type, a NUL,
// and what it is looked up by. So whoever looks one up compares no secret byte by byte,
// and no key is kept.
func CredentialID[T string | []byte](kind T, lookup []byte) CredentialDigest {
	var room [512]byte
	text := append(append(append(room[:0], kind...), 0), lookup...)
	return sha256.Sum256(text)
}

// Object returns "namespace/name".
func (c *Consumer) Object() string { return c.Namespace + "/" + c.Name }

// Equal reports whether two say the same.
func (c *Consumer) Equal(other *Consumer) bool {
	return c == other || c != nil && other != nil && c.Namespace == other.Namespace && c.Name == other.Name && c.Username == other.Username && c.Chain.same(other.Chain) &&
		slices.Equal(c.Groups, other.Groups) && slices.EqualFunc(c.Credentials, other.Credentials, func(a, b Credential) bool {
		return a.Type == b.Type && a.ID == b.ID && bytes.Equal(a.Data, b.Data)
	})
}

// same reports whether two chains have the same parts; nil has none.
func (c *Chain) same(other *Chain) bool {
	return c == other || c != nil && other != nil && slices.EqualFunc(c.Parts, other.Parts, (*Part).same)
}

// same reports whether two parts are the same, with what stands in for them.
func (p *Part) same(other *Part) bool {
	return p == other || p != nil && other != nil && p.Name == other.Name && p.Object == other.Object && p.Scope == other.Scope && p.Hash == other.Hash &&
		p.FallbackUntil.Equal(other.FallbackUntil) && p.PreviousUntil.Equal(other.PreviousUntil) &&
		p.Fallback.same(other.Fallback) && p.Previous.same(other.Previous)
}

// ConsumerGrants say which filters may use Consumers of other namespaces than their own
// (Gateway API, ReferenceGrant).
type ConsumerGrants struct{ List []ConsumerGrant }

// ConsumerGrant lets the filters that objects of a kind in one namespace declare use
// Consumers of another one.
type ConsumerGrant struct {
	FromKind, FromNamespace string
	Namespace               string
	Name                    string // of one Consumer; empty: all of them
}

// Equal reports whether two say the same; nil is no grant.
func (g *ConsumerGrants) Equal(other *ConsumerGrants) bool {
	return g == other || g != nil && other != nil && slices.Equal(g.List, other.List)
}

// ConsumerText reports whether s can be a username or a group: it stands in a list of
// a header field.
func ConsumerText(s string) bool {
	return s != "" && len(s) <= MaxConsumerText && !strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c >= 0x7f || c == ',' || c == '"' })
}

// follows reports whether a part can be a Consumer's.
func (p *Part) follows() bool {
	return p != nil && p.Name == PartConsumer && !slices.ContainsFunc(p.Filters, func(f *Filter) bool { return f.Cache != nil })
}

// validate is for a consumer of a config, called key there.
func (c *Consumer) validate(key string, errs *joined) {
	switch {
	case c.Object() != key:
		errs.add("consumer %s: called %s", c.Object(), key)
	case !ConsumerText(c.Username) || len(c.Groups) > MaxConsumerGroups || slices.ContainsFunc(c.Groups, func(g string) bool { return !ConsumerText(g) }):
		errs.add("consumer %s: a username or groups that no header can hold", key)
	case c.Chain != nil && (len(c.Chain.Parts) != 1 || !c.Chain.Parts[0].follows()):
		errs.add("consumer %s: a chain that has not one part %q, or a response cache in it", key, PartConsumer)
	case len(c.Credentials) > MaxConsumerCredentials:
		errs.add("consumer %s: %d credentials, at most %d", key, len(c.Credentials), MaxConsumerCredentials)
	case slices.ContainsFunc(c.Credentials, func(k Credential) bool { return k.Type == "" || len(k.Data) > MaxCredentialData }):
		errs.add("consumer %s: a credential without a type, or with too much data", key)
	}
}
