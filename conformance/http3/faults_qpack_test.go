package http3

import (
	"bytes"
	"slices"
)

const (
	undecodable = "connection QPACK_DECOMPRESSION_FAILED"
	badEncoder  = "connection QPACK_ENCODER_STREAM_ERROR"
	badDecoder  = "connection QPACK_DECODER_STREAM_ERROR"
)

// sections are faults in encoded field sections (RFC 9204, 4.5).
func sections() []fault {
	bad := func(name, section string, b ...byte) fault {
		return onRequest(name, section, "MUST", undecodable, "qpack", frame(frameHeaders, b))
	}
	good := func(name, section string, b []byte, more ...byte) fault {
		return onRequest(name, section, "MUST", fine, "", frame(frameHeaders, append(slices.Clone(b), more...)))
	}
	plain := packed(get())
	ones := func(n int) []byte { return bytes.Repeat([]byte{0xff}, n) }
	behind := func(b ...byte) []byte { return append(slices.Clone(plain), b...) }
	return []fault{
		bad("an empty field section", "RFC 9204, 4.5.1"),
		bad("a section without a Base", "RFC 9204, 4.5.1", 0),
		bad("a Required Insert Count that has no end", "RFC 9204, 4.5.1.1", ones(12)...),
		bad("a Required Insert Count of 1", "RFC 9204, 4.5.1.1", 2, 0, 0xd1),
		bad("an encoded Required Insert Count of 1", "RFC 9204, 4.5.1.1", 1, 0, 0xd1),
		bad("a Base below 0", "RFC 9204, 4.5.1.2", 0, 0x80, 0xd1),
		bad("a Base that has no end", "RFC 9204, 4.5.1.2", append([]byte{0}, ones(12)...)...),
		bad("an indexed field of the dynamic table", "RFC 9204, 2.2.3", behind(0x80)...),
		bad("an indexed field past the Base", "RFC 9204, 2.2.3", behind(0x10)...),
		bad("a name of the dynamic table", "RFC 9204, 2.2.3", behind(0x40, 1, 'a')...),
		bad("a name past the Base", "RFC 9204, 2.2.3", behind(0x00, 1, 'a')...),
		bad("a field of the dynamic table before all others", "RFC 9204, 2.2.3", 0, 0, 0x80),
		bad("the first index past the static table", "RFC 9204, 3.1", behind(0xff, 99-63)...),
		bad("a great index past the static table", "RFC 9204, 3.1", behind(0xff, 0x80, 0x80, 0x80, 0x01)...),
		bad("the first name past the static table", "RFC 9204, 3.1", behind(0x5f, 99-15, 0)...),
		bad("an index that is cut", "RFC 9204, 4.1.1", behind(0xff)...),
		bad("an index that has no end", "RFC 9204, 4.1.1", append(behind(0xff), bytes.Repeat([]byte{0x80}, 12)...)...),
		bad("an index above 62 bits", "RFC 9204, 4.1.1", append(append(behind(0xff), ones(10)...), 1)...),
		bad("an index that overflows to one that there is", "RFC 9204, 4.1.1", behind(0xff, 0xd2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01)...),
		bad("a length above 62 bits", "RFC 9204, 4.1.1", append(append(behind(0x51, 0x7f), ones(10)...), 1)...),
		bad("a name without a value", "RFC 9204, 4.5.4", behind(0x5d)...),
		bad("a literal name without a value", "RFC 9204, 4.5.6", behind(0x21, 'a')...),
		bad("a value longer than the section", "RFC 9204, 4.1.2", behind(0x5d, 5, 'a')...),
		bad("a name longer than the section", "RFC 9204, 4.1.2", behind(0x27, 0x7f, 'a')...),
		bad("a name's length alone", "RFC 9204, 4.1.2", behind(0x27)...),
		bad("Huffman's code with padding that is not ones", "RFC 7541, 5.2", behind(0x21, 'a', 0x81, 0x18)...),
		bad("Huffman's code with padding of a byte", "RFC 7541, 5.2", behind(0x21, 'a', 0x82, 0x1f, 0xff)...),
		bad("Huffman's code with padding alone", "RFC 7541, 5.2", behind(0x21, 'a', 0x81, 0xff)...),
		bad("Huffman's code with EOS", "RFC 7541, 5.2", behind(0x21, 'a', 0x84, 0xff, 0xff, 0xff, 0xff)...),
		bad("a name in Huffman's code with EOS", "RFC 7541, 5.2", behind(0x2c, 0xff, 0xff, 0xff, 0xff, 1, 'a')...),
		onRequest("trailers with the dynamic table", "RFC 9204, 2.2.3", "MUST", undecodable, "qpack", headers(post()...), data("a"), frame(frameHeaders, []byte{0, 0, 0x80})),
		onRequest("trailers without a prefix", "RFC 9204, 4.5.1", "MUST", undecodable, "qpack", headers(post()...), data("a"), frame(frameHeaders)),
		good("a Base above 0 that nothing refers to", "RFC 9204, 4.5.1.2", append([]byte{0, 5}, plain[2:]...)),
		good("a Base of 62 bits", "RFC 9204, 4.1.1", append([]byte{0, 0x7f, 0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3f}, plain[2:]...)),
		good("the last index of the static table", "RFC 9204, 3.1", plain, 0xff, 98-63),
		good("an index longer than need be", "RFC 9204, 4.1.1", plain, 0xff, 0x80|(98-63), 0x80, 0x00),
		good("an empty value in Huffman's code", "RFC 9204, 4.1.2", plain, 0x21, 'a', 0x80),
		good("fields that are never to be indexed", "RFC 9204, 4.5.4", plain, 0x7d, 1, 'a', 0x31, 'b', 1, 'c'),
		good("all as literals", "RFC 9204, 4.5.6", literal(get("a: b"))),
	}
}

// instructions are faults on QPACK's streams (RFC 9204, 4.3 and 4.4). The proxy offers
// no dynamic table, and uses none.
func instructions() []fault {
	encoder := func(name, section string, b ...byte) fault {
		return onUni(name, section, "MUST", badEncoder, "qpack-encoder", streamEncoder, b)
	}
	decoder := func(name, section string, b ...byte) fault {
		return onUni(name, section, "MUST", badDecoder, "qpack-decoder", streamDecoder, b)
	}
	return []fault{
		encoder("a capacity of 1", "RFC 9204, 4.3.1", 0x21),
		encoder("a capacity of 4096", "RFC 9204, 4.3.1", 0x3f, 0xe1, 0x1f),
		encoder("a capacity above 62 bits", "RFC 9204, 4.1.1", append([]byte{0x3f}, bytes.Repeat([]byte{0xff}, 12)...)...),
		encoder("a capacity of 0, then of 1", "RFC 9204, 4.3.1", 0x20, 0x21),
		encoder("an insert with a name of the static table", "RFC 9204, 3.2.2", 0xc1, 1, 'a'),
		encoder("an insert with a name past the static table", "RFC 9204, 3.1", 0xff, 99-63, 1, 'a'),
		encoder("an insert with a name of the dynamic table", "RFC 9204, 2.2.3", 0x80, 1, 'a'),
		encoder("an insert with a literal name", "RFC 9204, 3.2.2", 0x41, 'a', 1, 'b'),
		encoder("a duplicate", "RFC 9204, 2.2.3", 0x00),
		decoder("an acknowledgment of a section of no request", "RFC 9204, 4.4.1", 0x80),
		decoder("an acknowledgment of a stream that cannot be", "RFC 9204, 4.4.1", 0xff, 0xff, 0xff, 0x01),
		decoder("an Insert Count Increment of 0", "RFC 9204, 4.4.3", 0x00),
		decoder("an Insert Count Increment of more than was inserted", "RFC 9204, 4.4.3", 0x01),
		decoder("an Insert Count Increment that has no end", "RFC 9204, 4.1.1", append([]byte{0x3f}, bytes.Repeat([]byte{0x80}, 12)...)...),
		decoder("a cancelled stream above 62 bits", "RFC 9204, 4.1.1", append(append([]byte{0x7f}, bytes.Repeat([]byte{0xff}, 9)...), 1)...),
		onUni("a capacity of 0, and again", "RFC 9204, 4.3.1", "MUST", fine, "", streamEncoder, []byte{0x20, 0x20}),
		onUni("streams that are cancelled", "RFC 9204, 4.4.2", "MUST", fine, "", streamDecoder, []byte{0x40, 0x44, 0x7f, 0x80, 0x01}),
		onUni("a cancelled stream of 62 bits", "RFC 9204, 4.1.1", "MUST", fine, "", streamDecoder, []byte{0x7f, 0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3f}),
	}
}
