package rfc9111

import "penstock.dev/penstock/core/exchange"

// Keeper decides which fields of a response are stored. It borrows from the header that
// it was made of.
type Keeper struct {
	noCache, private nameList
	all              bool // of private: they are this consumer's, who is in the key
}

// NewKeeper returns the keeper for a response with header h.
func NewKeeper(h *exchange.Header, o *Options) Keeper {
	var d response
	d.read(h)
	return Keeper{noCache: d.noCacheFields, private: d.privateFields, all: o.Consumer}
}

// Keep reports whether the field called name is stored (RFC 9111, 3.1). It is not if it
// is about one connection or one proxy, is Age, which is computed, or Set-Cookie, or is
// named by no-cache or private (5.2.2.4, 5.2.2.7).
func (k *Keeper) Keep(name []byte) bool {
	return !neverStored(name) && !k.noCache.has(name) && (k.all || !k.private.has(name))
}

func neverStored(name []byte) bool {
	switch len(name) {
	case 2:
		return exchange.EqualFold(name, "te")
	case 3:
		return exchange.EqualFold(name, "age")
	case 7:
		return exchange.EqualFold(name, "upgrade") || exchange.EqualFold(name, "trailer")
	case 10:
		return exchange.EqualFold(name, "connection") || exchange.EqualFold(name, "keep-alive") ||
			exchange.EqualFold(name, "set-cookie")
	case 16:
		return exchange.EqualFold(name, "proxy-connection")
	case 17:
		return exchange.EqualFold(name, "transfer-encoding")
	case 18:
		return exchange.EqualFold(name, "proxy-authenticate")
	case 19:
		return exchange.EqualFold(name, "proxy-authorization")
	case 25:
		return exchange.EqualFold(name, "proxy-authentication-info")
	}
	return false
}

// Merge updates a stored header from the 304 that validated it, or from the header of a
// HEAD that HeadSelects (RFC 9111, 3.2): each field of update takes the place of all
// stored ones of its name. Left alone are those that are not stored and those that
// describe the stored bytes: Content-Length, Content-Encoding, Content-Range and digests
// of them. What the result says is not to be stored goes. Date goes too if update has
// none, since the stored one no longer says when the origin spoke. stored then borrows
// from update. The facts are Refresh's to compute.
func Merge(stored, update *exchange.Header, o *Options) {
	for i := range update.Len() {
		f := update.At(i)
		if !updated(f.Name) {
			continue
		}
		if first(update, i) {
			stored.DeleteFunc(func(g exchange.Field) bool { return exchange.EqualFold(g.Name, f.Name) })
		}
		stored.Add(f.Name, f.Value)
	}
	if update.Count("date") == 0 {
		stored.Del("date")
	}
	k := NewKeeper(stored, o)
	stored.DeleteFunc(func(g exchange.Field) bool { return !k.Keep(g.Name) })
}

// first reports whether field i is the first of its name.
func first(h *exchange.Header, i int) bool {
	name := h.At(i).Name
	for j := range i {
		if exchange.EqualFold(h.At(j).Name, name) {
			return false
		}
	}
	return true
}

// updated reports whether a 304 may change the stored field called name.
func updated(name []byte) bool {
	switch len(name) {
	case 6:
		return !exchange.EqualFold(name, "digest")
	case 11:
		return !exchange.EqualFold(name, "content-md5") && !exchange.EqualFold(name, "repr-digest")
	case 13:
		return !exchange.EqualFold(name, "content-range")
	case 14:
		return !exchange.EqualFold(name, "content-length") && !exchange.EqualFold(name, "content-digest")
	case 16:
		return !exchange.EqualFold(name, "content-encoding") && !neverStored(name)
	}
	return !neverStored(name)
}

// InNotModified reports whether the field called name of a stored response goes into a
// 304 for a client (RFC 9110, 15.4.5): all do, so that the client can update what it
// has, but those that describe content.
func InNotModified(name []byte) bool {
	const content = "content-"
	if len(name) < len(content) || !exchange.EqualFold(name[:len(content)], content) {
		return true
	}
	return exchange.EqualFold(name, "content-location") || exchange.EqualFold(name, "content-security-policy") ||
		exchange.EqualFold(name, "content-security-policy-report-only")
}
