package compress

import (
	"bytes"
	"slices"
	"strings"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/hosts/capability"
)

// message is what a recoding changes.
type message struct {
	x        *exchange.Exchange
	response bool
	header   *exchange.Header
	body     *exchange.Body
	length   *int64
}

func messageOf(x *exchange.Exchange, request bool) message {
	if request {
		return message{x, false, &x.Request.Header, &x.Request.Body, &x.Request.ContentLength}
	}
	return message{x, true, &x.Response.Header, &x.Response.Body, &x.Response.ContentLength}
}

var contentEncoding = []byte("Content-Encoding")

// notModified reports whether m speaks of a representation without having it: then it says
// less of it (RFC 9110, 15.4.5).
func (m *message) notModified() bool { return m.response && m.x.Response.Status == 304 }

// encoded makes the fields say that the content is encoded.
func (m *message) encoded(c capability.Coding) {
	if !m.notModified() {
		m.header.Add(contentEncoding, []byte(c.String()))
	}
	m.changed()
}

// decoded makes the fields say that these codings, the outermost first, are taken away; a
// content that was encoded without saying so says no more of it.
func (m *message) decoded(codings []capability.Coding) {
	all, _ := Codings(m.header)
	n := 0
	for n < len(all) && n < len(codings) && all[n] == codings[n] {
		n++
	}
	if n > 0 {
		var left []string
		for _, c := range all[n:] {
			left = append(left, c.String())
		}
		slices.Reverse(left)
		if m.header.Del("Content-Encoding"); left != nil {
			m.header.Add(contentEncoding, []byte(strings.Join(left, ", ")))
		}
	}
	m.changed()
}

// changed takes away what was said of the content as it was. Another content has another
// strong validator (RFC 9110, 8.8.1); a weak one says that the meaning is the same. Ranges
// would be of the other content, digests too (RFC 9530).
func (m *message) changed() {
	m.header.DeleteFunc(func(f exchange.Field) bool {
		for _, name := range [...]string{"Content-Length", "Accept-Ranges", "Content-Digest", "Repr-Digest", "Digest", "Content-MD5"} {
			if exchange.EqualFold(f.Name, name) {
				return true
			}
		}
		return false
	})
	if *m.body == nil {
		*m.length = -1
	}
	if tag, ok := m.header.Get("ETag"); ok && m.response && len(tag) > 0 && tag[0] == '"' {
		weak := m.x.Arena.Alloc(2 + len(tag))
		copy(weak, "W/")
		copy(weak[2:], tag)
		m.header.Set([]byte("ETag"), weak)
	}
}

// Codings returns what h's Content-Encoding says, the outermost first; identity is none. ok
// is false if one of them is unknown, or there are more than capability.MaxCodings.
func Codings(h *exchange.Header) (all []capability.Coding, ok bool) {
	fields := h.Fields()
	for i := len(fields) - 1; i >= 0; i-- {
		if !exchange.EqualFold(fields[i].Name, "Content-Encoding") {
			continue
		}
		more, ok := ParseCodings(fields[i].Value)
		if !ok || len(all)+len(more) > capability.MaxCodings {
			return nil, false
		}
		for j := len(more) - 1; j >= 0; j-- {
			all = append(all, more[j])
		}
	}
	return all, true
}

// ParseCodings reads a list of codings in its order (RFC 9110, 5.6.1); identity is left out.
func ParseCodings(list []byte) (all []capability.Coding, ok bool) {
	for name := range bytes.SplitSeq(list, []byte(",")) {
		name = bytes.Trim(name, " \t")
		if len(name) == 0 || exchange.EqualFold(name, "identity") {
			continue
		}
		c, ok := capability.ParseCoding(name)
		if !ok || len(all) == capability.MaxCodings {
			return nil, false
		}
		all = append(all, c)
	}
	return all, true
}
