package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"
)

const head = "GET /1k HTTP/1.1\r\nHost: a.example\r\nUser-Agent: load\r\nAccept: */*\r\n\r\n"

// plain asks for 1 KiB over HTTP/1.1.
type plain struct {
	nc net.Conn
	r  *bufio.Reader
}

func newPlain(o options) (*plain, error) {
	nc, err := net.Dial("tcp", o.address)
	if err != nil {
		return nil, err
	}
	return &plain{nc, bufio.NewReaderSize(nc, 16<<10)}, nil
}

func (p *plain) close() { p.nc.Close() }

func (p *plain) next() error {
	if _, err := io.WriteString(p.nc, head); err != nil {
		return err
	}
	return readAnswer(p.r)
}

// readAnswer reads a response with a length.
func readAnswer(r *bufio.Reader) error {
	length := -1
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200")) {
			return fmt.Errorf("got %q", line)
		}
		if len(line) <= 2 {
			break
		}
		if name, value, ok := bytes.Cut(line, []byte(":")); ok && bytes.EqualFold(name, []byte("content-length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
	}
	if length < 0 {
		return errors.New("no length")
	}
	_, err := r.Discard(length)
	return err
}

// shake makes a connection with TLS for each request.
type shake struct {
	address string
	config  *tls.Config
}

// handshakes uses the key exchange that every peer has.
func handshakes(o options) (result, error) {
	return closed(o, func() (worker, error) {
		c := &tls.Config{InsecureSkipVerify: true, ServerName: "a.example", CurvePreferences: []tls.CurveID{tls.X25519}, MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}}
		s := &shake{o.address, c}
		if o.resume {
			c.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			return s, s.once(false) // the first session
		}
		return s, nil
	})
}

func (s *shake) close() {}

func (s *shake) next() error { return s.once(s.config.ClientSessionCache != nil) }

func (s *shake) once(resumed bool) error {
	nc, err := tls.Dial("tcp", s.address, s.config)
	if err != nil {
		return err
	}
	defer nc.NetConn().Close()
	if nc.ConnectionState().DidResume != resumed {
		return fmt.Errorf("resumed: %v; want %v", !resumed, resumed)
	}
	if _, err := io.WriteString(nc, head); err != nil {
		return err
	}
	return readAnswer(bufio.NewReaderSize(nc, 4<<10)) // tickets come before it
}

// idle opens connections, sends a request on each, says so, and holds them until its
// input ends.
func idle(o options) error {
	for range o.connections {
		nc, err := net.Dial("tcp", o.address)
		if err != nil {
			return err
		}
		defer nc.Close()
		if o.h2 {
			err = greet(nc)
		} else {
			p := &plain{nc, bufio.NewReaderSize(nc, 2<<10)}
			err = p.next()
		}
		if err != nil {
			return err
		}
	}
	time.Sleep(time.Second)
	fmt.Println("ready")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// greet sends a request by prior knowledge of HTTP/2, and reads to its end.
func greet(nc net.Conn) error {
	// GET http a.example /1k of the static table; authority and path are literals.
	block := append([]byte{0x82, 0x86, 0x01, 9}, "a.example"...)
	block = append(append(block, 0x04, 3), "/1k"...)
	b := []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	b = append(b, 0, 0, 0, 4, 0, 0, 0, 0, 0) // SETTINGS
	b = append(b, 0, 0, byte(len(block)), 1, 5, 0, 0, 0, 1)
	b = append(b, block...)
	if _, err := nc.Write(b); err != nil {
		return err
	}
	r := bufio.NewReaderSize(nc, 4<<10)
	for {
		h := make([]byte, 9)
		if _, err := io.ReadFull(r, h); err != nil {
			return err
		}
		if _, err := r.Discard(int(h[0])<<16 | int(h[1])<<8 | int(h[2])); err != nil {
			return err
		}
		switch {
		case h[3] == 4 && h[4] == 0: // acknowledge SETTINGS
			if _, err := nc.Write([]byte{0, 0, 0, 4, 1, 0, 0, 0, 0}); err != nil {
				return err
			}
		case h[3] == 7 || h[3] == 3:
			return fmt.Errorf("got frame %v", h)
		case h[8] == 1 && h[3] < 2 && h[4]&1 != 0:
			return nil
		}
	}
}
