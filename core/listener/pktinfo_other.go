//go:build !linux

package listener

import (
	"errors"
	"net"
	"net/netip"
)

const controlRoom = 0

func tellLocal(*net.UDPConn) error       { return errors.ErrUnsupported }
func localOf([]byte) netip.Addr          { return netip.Addr{} }
func replyControl(control []byte) []byte { return nil }
