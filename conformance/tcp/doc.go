// Package tcp drives raw routes through the binary: TCPRoute, TLSRoute, UDPRoute.
package tcp
