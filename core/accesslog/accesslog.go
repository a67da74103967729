// Package accesslog writes one JSON line for each finished exchange, raw connection
// or flow of datagrams. It never
// writes header fields, queries (which hold keys at times) or bodies.
package accesslog

import (
	"bytes"
	"context"
	"io"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"penstock.dev/penstock/core/exchange"
)

const (
	bufferSize = 64 << 10
	flushEvery = 200 * time.Millisecond
)

// Log writes records. Exchange may be called by any goroutine.
type Log struct {
	out io.Writer

	mu   sync.Mutex
	buf  []byte
	lost uint64 // records dropped because out failed
}

// New returns a log that writes to out, which only it uses.
func New(out io.Writer) *Log { return &Log{out: out, buf: make([]byte, 0, bufferSize)} }

// Run flushes now and then until ctx is done, and once more at the end.
func (l *Log) Run(ctx context.Context) {
	t := time.NewTicker(flushEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			l.flush()
			return
		}
		l.flush()
	}
}

func (l *Log) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flushLocked()
}

func (l *Log) flushLocked() {
	if len(l.buf) == 0 {
		return
	}
	if _, err := l.out.Write(l.buf); err != nil {
		l.lost++
	}
	l.buf = l.buf[:0]
}

// Exchange writes the record of x, which took that long.
func (l *Log) Exchange(x *exchange.Exchange, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = append(appendRecord(l.buf, x, took), '\n')
	if len(l.buf) > bufferSize/2 {
		l.flushLocked()
	}
}

// Rejected writes the record of a message that its codec refused before it
// became an exchange.
func (l *Log) Rejected(c *exchange.Conn, status int, reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := append(l.buf, `{"time":"`...)
	b = time.Now().UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","client":`...)
	b = appendString(b, c.RemoteIP)
	b = append(b, `,"status":`...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = appendText(b, `,"phase":`, "decode")
	b = appendText(b, `,"side":`, "client")
	b = appendText(b, `,"reason":`, reason)
	l.buf = append(b, '}', '\n')
}

// Raw writes the record of a raw connection or flow, which lasted that long.
func (l *Log) Raw(r *exchange.Raw, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = append(appendRaw(l.buf, r, took), '\n')
	if len(l.buf) > bufferSize/2 {
		l.flushLocked()
	}
}

// maxServerName is what a DNS name has at most: a client may ask for more.
const maxServerName = 255

func appendRaw(b []byte, r *exchange.Raw, took time.Duration) []byte {
	b = append(b, `{"time":"`...)
	b = r.Start.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","connection":`...)
	b = strconv.AppendUint(b, r.Conn.ID, 10)
	b = append(b, `,"client":`...)
	b = appendString(b, r.Conn.RemoteIP)
	b = appendText(b, `,"protocol":`, r.Protocol)
	name := r.Conn.ServerName
	if r.Conn.TLS != nil {
		name = r.Conn.TLS.ServerName
	}
	b = appendText(b, `,"serverName":`, name[:min(len(name), maxServerName)])
	b = appendInt(b, `,"receivedBytes":`, r.ReceivedBytes)
	b = appendInt(b, `,"sentBytes":`, r.SentBytes)
	b = appendSeconds(b, `,"duration":`, took)
	b = appendText(b, `,"route":`, r.Route)
	b = appendText(b, `,"service":`, r.Service)
	b = appendText(b, `,"endpoint":`, r.Endpoint)
	if r.Attempts > 1 {
		b = appendInt(b, `,"attempts":`, int64(r.Attempts))
	}
	b = appendText(b, `,"plugin":`, r.Plugin)
	return append(appendError(b, r.Err), '}')
}

func appendError(b []byte, e *exchange.Error) []byte {
	if e == nil {
		return b
	}
	b = appendText(b, `,"phase":`, e.Phase.String())
	b = appendText(b, `,"side":`, e.Side.String())
	b = appendText(b, `,"reason":`, e.Reason)
	return appendText(b, `,"err":`, e.Err.Error())
}

func appendRecord(b []byte, x *exchange.Exchange, took time.Duration) []byte {
	b = append(b, `{"time":"`...)
	b = x.Start.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","exchange":`...)
	b = strconv.AppendUint(b, x.ID, 10)
	b = append(b, `,"client":`...)
	b = appendString(b, x.Conn.RemoteIP)
	b = append(b, `,"method":`...)
	b = appendString(b, x.Original.Method)
	b = append(b, `,"authority":`...)
	b = appendString(b, x.Original.Authority)
	b = append(b, `,"path":`...)
	path, _, _ := bytes.Cut(x.Original.Path, questionMark)
	b = appendString(b, path)
	b = append(b, `,"status":`...)
	status := x.Response.Status
	if !x.HeadersSent {
		status = 0
	}
	b = strconv.AppendInt(b, int64(status), 10)
	b = appendInt(b, `,"requestBytes":`, x.RequestBytes)
	b = appendInt(b, `,"responseBytes":`, x.ResponseBytes)
	b = appendSeconds(b, `,"duration":`, took)
	if !x.UpstreamHeader.IsZero() {
		b = appendSeconds(b, `,"upstreamDuration":`, x.UpstreamHeader.Sub(x.UpstreamStart))
	}
	b = appendText(b, `,"route":`, x.Route)
	b = appendText(b, `,"service":`, x.Service)
	b = appendText(b, `,"endpoint":`, x.Endpoint)
	if x.Attempts > 1 {
		b = appendInt(b, `,"attempts":`, int64(x.Attempts))
	}
	b = appendText(b, `,"consumer":`, x.Consumer.Name)
	b = appendText(b, `,"plugin":`, x.AnsweredBy)
	b = appendText(b, `,"details":`, x.Details)
	b = appendText(b, `,"cache":`, x.Cache)
	return append(appendError(b, x.Err), '}')
}

// appendText leaves an empty value out.
func appendText(b []byte, key, value string) []byte {
	if value == "" {
		return b
	}
	return appendString(append(b, key...), value)
}

func appendInt(b []byte, key string, v int64) []byte {
	return strconv.AppendInt(append(b, key...), v, 10)
}

// appendSeconds writes seconds with six decimals.
func appendSeconds(b []byte, key string, d time.Duration) []byte {
	return strconv.AppendFloat(append(b, key...), d.Seconds(), 'f', 6, 64)
}

var questionMark = []byte("?")

const hex = "0123456789abcdef"

// appendString writes a JSON string; bytes that are not UTF-8 become U+FFFD.
func appendString[S []byte | string](b []byte, s S) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
			i++
		case c < 0x20 || c == 0x7f:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			i++
		case c < utf8.RuneSelf:
			b = append(b, c)
			i++
		default:
			r, n := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
			b = utf8.AppendRune(b, r)
			i += n
		}
	}
	return append(b, '"')
}
