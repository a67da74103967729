//go:build !linux

package h1

import "golang.org/x/sys/unix"

// peerClosed is the event of poll that says that the peer has closed; a half
// close is not told here.
const peerClosed = unix.POLLHUP
