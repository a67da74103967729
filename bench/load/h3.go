package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"

	"github.com/quic-go/quic-go/http3"
)

// h3Client asks for 1 KiB over HTTP/3, on a QUIC connection that it shares with
// others.
type h3Client struct {
	t   *http3.Transport
	url string
}

// streams of one connection at a time.
const streams = 8

func h3Load(o options) (result, error) {
	var shared *http3.Transport
	n := 0
	return closed(o, func() (worker, error) {
		if n%streams == 0 {
			shared = &http3.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: "a.example", CurvePreferences: []tls.CurveID{tls.X25519}}}
		}
		n++
		c := &h3Client{shared, "https://" + o.address + "/1k"}
		return c, c.next() // connects
	})
}

func (c *h3Client) close() { c.t.Close() }

func (c *h3Client) next() error {
	r, err := http.NewRequest(http.MethodGet, c.url, nil)
	if err != nil {
		return err
	}
	r.Host = "a.example"
	answer, err := c.t.RoundTrip(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", answer.StatusCode)
	}
	return nil
}
