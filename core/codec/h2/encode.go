package h2

import (
	"strconv"

	"penstock.dev/penstock/core/codec/fields"
)

// Fields are encoded without a dynamic table (RFC 7541, 6.2.2 and 6.2.3): see
// RATIONALE.md.
const (
	literal      = 0x00 // without indexing; 4 bits of index
	literalNever = 0x10 // never indexed
	indexed      = 0x80
	resizeToZero = 0x20 // the size of our dynamic table from now on
)

// Names of the static table that messages have (RFC 7541, appendix A).
const (
	nameStatus = 8
	mostName   = 64 // bytes; longer ones are not looked up
)

// names is never changed.
var names = map[string]byte{
	"accept": 19, "accept-charset": 15, "accept-encoding": 16, "accept-language": 17, "authorization": 23, "cookie": 32,
	"from": 37, "if-match": 39, "if-modified-since": 40, "if-none-match": 41, "if-range": 42, "if-unmodified-since": 43,
	"max-forwards": 47, "proxy-authorization": 49, "range": 50, "referer": 51, "user-agent": 58,
	"accept-ranges": 18, "access-control-allow-origin": 20, "age": 21, "allow": 22, "cache-control": 24,
	"content-disposition": 25, "content-encoding": 26, "content-language": 27, "content-length": 28,
	"content-location": 29, "content-range": 30, "content-type": 31, "date": 33, "etag": 34, "expires": 36,
	"last-modified": 44, "link": 45, "location": 46, "proxy-authenticate": 48, "refresh": 52, "retry-after": 53,
	"server": 54, "set-cookie": 55, "strict-transport-security": 56, "vary": 59, "via": 60, "www-authenticate": 61,
}

var encoding = fields.Encoding{
	Name: appendName, Status: appendStatus,
	Length: fields.AppendInt(nil, literal, 4, int(names["content-length"])), Date: fields.AppendInt(nil, literal, 4, int(names["date"])),
}

// appendStatus appends :status.
func appendStatus(b []byte, status int) []byte {
	switch status {
	case 200:
		return append(b, indexed|8)
	case 204:
		return append(b, indexed|9)
	case 206:
		return append(b, indexed|10)
	case 304:
		return append(b, indexed|11)
	case 400:
		return append(b, indexed|12)
	case 404:
		return append(b, indexed|13)
	case 500:
		return append(b, indexed|14)
	}
	b = append(b, literal|nameStatus, 3)
	return strconv.AppendInt(b, int64(status), 10)
}

// appendName appends a literal's name in lower case.
func appendName(b, name []byte) []byte {
	var store [mostName]byte
	if len(name) <= mostName {
		lower := fields.AppendLower(store[:0], name)
		kind := byte(literal)
		switch string(lower) {
		case "set-cookie", "cookie", "authorization", "proxy-authorization":
			kind = literalNever
		}
		if i := names[string(lower)]; i > 0 {
			return fields.AppendInt(b, kind, 4, int(i))
		}
	}
	return fields.AppendLower(fields.AppendInt(append(b, literal), 0, 7, len(name)), name)
}

// appendText appends a field of ours.
func appendText(b []byte, name, value string) []byte {
	if i := names[name]; i > 0 {
		b = fields.AppendInt(b, literal, 4, int(i))
	} else {
		b = append(fields.AppendInt(append(b, literal), 0, 7, len(name)), name...)
	}
	return append(fields.AppendInt(b, 0, 7, len(value)), value...)
}
