// Package fields judges the field sections of messages in HTTP/2 and HTTP/3, which
// differ in how they are encoded alone (RFC 9113, 8.2 and 8.3; RFC 9114, 4.2 and
// 4.3).
package fields
