// Package downgrade is the corpus of requests over HTTP/2 and HTTP/3 before an
// upstream of HTTP/1.1: what their clients get, and what the upstream may see.
package downgrade
