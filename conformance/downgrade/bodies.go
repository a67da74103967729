package downgrade

import "strings"

// contents are contents, and how long they are said to be.
func contents() []Case {
	return []Case{
		{"a length that is right", malformed, "MUST", send("content-length: 5"), "hello", nil, "200", "ontent-Length: 5|hello|!chunked"},
		{"no length", message, "MUST", send(), "hello", nil, "200", "ransfer-Encoding: chunked|hello|!ontent-Length"},
		{"a request as content", message, "MUST", send(), smuggled + smuggled, nil, "200", "ransfer-Encoding: chunked"},
		{"a chunk's end as content", message, "MUST", send(), "0\r\n\r\n" + smuggled, nil, "200", "ransfer-Encoding: chunked"},
		{"a length of 0 and a request as content", malformed, "MUST", send("content-length: 0"), smuggled, nil, "reset", Ended},
		{"a length of 0 with GET, and a request as content", malformed, "MUST", get("content-length: 0"), smuggled, nil, "reset", Ended},
		{"a length that is too small", malformed, "MUST", send("content-length: 4"), "hello", nil, "reset", ""},
		{"a length that is too large", malformed, "MUST", send("content-length: 6"), "hello", nil, "reset", Begun},
		{"a length without content", malformed, "MUST", send("content-length: 5"), "", nil, "reset", ""},
		{"a length of 0 without content", malformed, "MUST", send("content-length: 0"), "", nil, "200", "ontent-Length: 0"},
		{"a length that is too large, and trailers", malformed, "MUST", send("content-length: 6"), "hello", []string{"a: b"}, "reset", Begun},
		{"HEAD with a length without content", malformed, "MUST", get(":method: HEAD", "content-length: 5"), "", nil, "reset", ""},
		{"two lengths that differ", both("RFC 9110, 8.6"), "MUST", send("content-length: 5", "content-length: 6"), "hello", nil, "reset", ""},
		{"two lengths that are the same", both("RFC 9110, 8.6"), "MAY", send("content-length: 5", "content-length: 5"), "hello", nil, "reset", ""},
		{"a list of lengths", both("RFC 9110, 8.6"), "MAY", send("content-length: 5, 5"), "hello", nil, "reset", ""},
		{"a length with a sign", both("RFC 9110, 8.6"), "MUST", send("content-length: +5"), "hello", nil, "reset", ""},
		{"a negative length", both("RFC 9110, 8.6"), "MUST", send("content-length: -5"), "hello", nil, "reset", ""},
		{"a length in hexadecimal", both("RFC 9110, 8.6"), "MUST", send("content-length: 0x5"), "hello", nil, "reset", ""},
		{"a length with a fraction", both("RFC 9110, 8.6"), "MUST", send("content-length: 5.0"), "hello", nil, "reset", ""},
		{"a length with a space", both("RFC 9110, 8.6"), "MUST", send("content-length: 5 0"), "hello", nil, "reset", ""},
		{"an empty length", both("RFC 9110, 8.6"), "MUST", send("content-length: "), "hello", nil, "reset", ""},
		{"a length with zeros before it", both("RFC 9110, 8.6"), "MUST", send("content-length: 0005"), "hello", nil, "200", "ontent-Length: 5\r\n|hello"},
		{"a length that overflows", both("RFC 9110, 8.6"), "MUST", send("content-length: 18446744073709551621"), "hello", nil, "reset", ""},
		{"GET with content", both("RFC 9110, 9.3.1"), "MAY", get(), "hello", nil, "200", "ransfer-Encoding: chunked|hello"},
		{"Expect with 100", both("RFC 9110, 10.1.1"), "MUST", send("expect: 100-continue", "content-length: 5"), "hello", nil, "200", "hello"},
	}
}

// trailers are what comes behind the content.
func trailers() []Case {
	trail := func(fields ...string) []string { return fields }
	return []Case{
		{"trailers", message, "MUST", send(), "hello", trail("x-sum: 1"), "200", "ransfer-Encoding: chunked|x-sum: 1"},
		{"trailers without content", message, "MUST", send(), "", trail("x-sum: 1"), "200", "ransfer-Encoding: chunked|x-sum: 1"},
		{"trailers behind a length", message, "MUST", send("content-length: 5"), "hello", trail("x-sum: 1"), "200", "ontent-Length: 5|hello|!chunked"},
		{"a pseudo-field in trailers", pseudo, "MUST", send(), "hello", trail(":path: /y"), "reset", Begun},
		{"a pseudo-field of responses in trailers", pseudo, "MUST", send(), "hello", trail(":status: 200"), "reset", Begun},
		{"a second request in place of trailers", pseudo, "MUST", send(), "hello", get(), "reset", Begun},
		{"a pseudo-field in trailers, behind a field", pseudo, "MUST", send(), "hello", trail("x-sum: 1", ":path: /y"), "reset", Begun},
		{"a pseudo-field in trailers, and a length of 0", pseudo, "MUST", send("content-length: 0"), "", trail(":path: /y"), "reset", Ended},
		{"a length in trailers", both("RFC 9110, 6.5.1"), "MUST", send(), "hello", trail("content-length: 5"), "200", "!content-length"},
		{"a coding in trailers", connection, "MUST", send(), "hello", trail("transfer-encoding: chunked"), "reset", Begun},
		{"Connection in trailers", connection, "MUST", send(), "hello", trail("connection: close"), "reset", Begun},
		{"TE with more in trailers", connection, "MUST", send(), "hello", trail("te: gzip"), "reset", Begun},
		{"Host in trailers", both("RFC 9110, 6.5.1"), "MUST", send(), "hello", trail("host: b.example"), "200", "!b.example"},
		{"Expect in trailers", both("RFC 9110, 6.5.1"), "MUST", send(), "hello", trail("expect: 100-continue"), "200", "!100-continue"},
		{"a cookie in trailers", both("RFC 9110, 6.5.1"), "MUST", send(), "hello", trail("cookie: a=1"), "200", "!a=1"},
		{"credentials in trailers", both("RFC 9110, 6.5.1"), "MUST", send(), "hello", trail("authorization: Basic eDp5"), "200", "!eDp5"},
		{"an identity in trailers", both("RFC 9110, 6.5.1"), "MUST", send(), "hello", trail("x-forwarded-for: 192.0.2.1"), "200", "!192.0.2.1"},
		{"capitals in trailers", names, "MUST", send(), "hello", trail("X-Sum: 1"), "reset", Begun},
		{"an empty name in trailers", characters, "MUST", send(), "hello", trail("|: 1"), "reset", Begun},
		{"a line end in trailers", characters, "MUST", send(), "hello", trail("x-sum: 1\r\n\r\n" + smuggled), "reset", Begun},
		{"a line end in a name in trailers", characters, "MUST", send(), "hello", trail("x-sum: 1\r\na|: b"), "reset", Begun},
		{"NUL in trailers", characters, "MUST", send(), "hello", trail("x-sum: \x00"), "reset", Begun},
		{"too many fields in trailers", size, "MAY", send(), "hello", many(200), "reset", Begun},
		{"trailers that are too large", size, "MAY", send(), "hello", trail("a: " + strings.Repeat("b", 70_000)), "reset", Begun},
	}
}
