package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
)

const bigSize = 1 << 20

// echo serves: after the head of a WebSocket handshake it says back all bytes, as
// after an 'E'; each 'B' is answered with 1 MiB.
func echo(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	for {
		nc, err := l.Accept()
		if err != nil {
			return err
		}
		go serve(nc)
	}
}

func serve(nc net.Conn) {
	defer nc.Close()
	b := make([]byte, 16<<10)
	n, err := nc.Read(b)
	if err != nil {
		return
	}
	switch {
	case b[0] == 'B':
		large := make([]byte, bigSize)
		for err == nil {
			for range n {
				if _, err = nc.Write(large); err != nil {
					return
				}
			}
			n, err = nc.Read(b)
		}
		return
	case b[0] == 'G':
		for !strings.Contains(string(b[:n]), "\r\n\r\n") {
			k, err := nc.Read(b[n:])
			if err != nil {
				return
			}
			n += k
		}
		_, err = io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
	default:
		_, err = nc.Write(b[:n])
	}
	for err == nil {
		if n, err = nc.Read(b); err == nil {
			_, err = nc.Write(b[:n])
		}
	}
}

// pinger sends a message and waits until it is back.
type pinger struct {
	nc      net.Conn
	message []byte
	in      []byte
}

func (p *pinger) close() { p.nc.Close() }

func (p *pinger) next() error {
	if _, err := p.nc.Write(p.message); err != nil {
		return err
	}
	_, err := io.ReadFull(p.nc, p.in)
	return err
}

func messages(o options) (result, error) {
	return closed(o, func() (worker, error) {
		nc, err := net.Dial("tcp", o.address)
		if err != nil {
			return nil, err
		}
		m := []byte(strings.Repeat("E", o.size))
		return &pinger{nc, m, make([]byte, len(m))}, nil
	})
}

func big(o options) (result, error) {
	return closed(o, func() (worker, error) {
		nc, err := net.Dial("tcp", o.address)
		return &pinger{nc, []byte("B"), make([]byte, bigSize)}, err
	})
}

// webSocket sends masked text messages.
func webSocket(o options) (result, error) {
	if o.size > 125 {
		return result{}, errors.New("size: at most 125")
	}
	return closed(o, func() (worker, error) {
		nc, err := net.Dial("tcp", o.address)
		if err != nil {
			return nil, err
		}
		if _, err := io.WriteString(nc, "GET /ws HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"); err != nil {
			return nil, err
		}
		var got []byte
		for b := make([]byte, 1); !strings.HasSuffix(string(got), "\r\n\r\n"); {
			if _, err := nc.Read(b); err != nil {
				return nil, err
			}
			got = append(got, b[0])
		}
		if !strings.HasPrefix(string(got), "HTTP/1.1 101") {
			return nil, fmt.Errorf("got %q", got)
		}
		m := append([]byte{0x81, 0x80 | byte(o.size), 1, 2, 3, 4}, strings.Repeat("m", o.size)...)
		return &pinger{nc, m, make([]byte, len(m))}, nil
	})
}
