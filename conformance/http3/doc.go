// Package http3 speaks HTTP/3 to the binary with clients that are not ours.
package http3
