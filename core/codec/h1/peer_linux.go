package h1

import "golang.org/x/sys/unix"

// peerClosed is the event of poll that says that the peer sends no more.
const peerClosed = unix.POLLRDHUP
