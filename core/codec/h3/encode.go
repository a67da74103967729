package h3

import (
	"strconv"

	"penstock.dev/penstock/core/codec/fields"
)

// How field lines begin (RFC 9204, 4.5): nothing but the static table is used, and
// no Huffman code.
const (
	indexed      = 0xc0 // 6 bits of index
	nameRef      = 0x50 // 4 bits of index
	nameRefNever = 0x70 // never to be in a table
	literal      = 0x20 // 3 bits of the name's length

	indexStatus        = 24
	indexContentLength = 4
	indexDate          = 6

	mostName = 64 // bytes; longer ones are not looked up
)

// appendSection begins a HEADERS frame with an encoded field section in an empty b:
// room for the frame's header, then the section's prefix. endSection ends it.
func appendSection(b []byte) []byte { return append(b, 0, 0, 0, 0, 0, 0, 0) }

// endSection writes the header of the frame that b is.
func endSection(b []byte) []byte {
	putFrame(b, frameHeaders, len(b)-frameHeaderLen)
	return b
}

var encoding = fields.Encoding{
	Name: appendName, Status: appendStatus,
	Length: fields.AppendInt(nil, nameRef, 4, indexContentLength), Date: fields.AppendInt(nil, nameRef, 4, indexDate),
}

// appendStatus appends :status.
func appendStatus(b []byte, status int) []byte {
	switch status {
	case 200:
		return append(b, indexed|25)
	case 304:
		return append(b, indexed|26)
	case 404:
		return append(b, indexed|27)
	case 503:
		return append(b, indexed|28)
	}
	b = append(fields.AppendInt(b, nameRef, 4, indexStatus), 3)
	return strconv.AppendInt(b, int64(status), 10)
}

// appendName appends a literal's name in lower case.
func appendName(b, name []byte) []byte {
	if len(name) <= mostName {
		var store [mostName]byte
		low := fields.AppendLower(store[:0], name)
		if i, known := names[string(low)]; known {
			kind := byte(nameRef)
			if string(low) == "set-cookie" {
				kind = nameRefNever
			}
			return fields.AppendInt(b, kind, 4, i)
		}
	}
	return fields.AppendLower(fields.AppendInt(b, literal, 3, len(name)), name)
}
