package redis

import (
	"bufio"
	"errors"
	"fmt"
	"strconv"
)

// Bounds on a reply.
const (
	MaxReply  = 1 << 20 // bytes that a guest gets
	maxPassed = 16 << 20
	maxNested = 8
	maxHead   = 64       // of a number's line
	maxLine   = 16 << 10 // of an error or a simple string
)

var (
	errReplySize = fmt.Errorf("the reply is larger than %d bytes", MaxReply)
	errFlood     = fmt.Errorf("the reply is larger than %d bytes", maxPassed)
	errReply     = errors.New("the server does not speak RESP2")
)

func appendHead(b []byte, kind byte, n int) []byte {
	return append(strconv.AppendInt(append(b, kind), int64(n), 10), '\r', '\n')
}

func appendBulk(b, word []byte) []byte {
	return append(append(appendHead(b, '$', len(word)), word...), '\r', '\n')
}

// appendQuery writes words as an array of bulk strings.
func appendQuery(b []byte, words ...string) []byte {
	b = appendHead(b, '*', len(words))
	for _, w := range words {
		b = appendBulk(b, []byte(w))
	}
	return b
}

// replyReader copies one reply as it is.
type replyReader struct {
	r      *bufio.Reader
	reply  []byte
	passed int
}

// readReply returns the next reply; errReplySize if it is too large and has
// been passed over. After any other error the connection is of no use.
func readReply(r *bufio.Reader) ([]byte, error) {
	rr := replyReader{r: r}
	if err := rr.value(0); err != nil {
		return nil, err
	}
	if rr.passed > MaxReply {
		return nil, errReplySize
	}
	return rr.reply, nil
}

// value reads one value: RESP2 has five kinds.
func (r *replyReader) value(depth int) error {
	line, err := r.line()
	if err != nil {
		return err
	}
	switch line[0] {
	case '+', '-':
		return nil
	case ':':
		if _, err := strconv.ParseInt(string(line[1:len(line)-2]), 10, 64); err != nil {
			return errReply
		}
		return nil
	}
	n, ok := 0, false
	if len(line) <= maxHead {
		n, ok = number(line[1 : len(line)-2])
	}
	switch {
	case !ok:
	case line[0] == '$':
		return r.bulk(n)
	case line[0] == '*' && depth < maxNested:
		for range max(n, 0) {
			if err := r.value(depth + 1); err != nil {
				return err
			}
		}
		return nil
	}
	return errReply
}

// line reads up to the end of a line; the view is valid until the next read.
func (r *replyReader) line() ([]byte, error) {
	line, err := r.r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, errReply
	case err != nil:
		return nil, err
	case len(line) < 3 || line[len(line)-2] != '\r':
		return nil, errReply
	}
	return line, r.keep(line)
}

// bulk reads a string of n bytes; -1 is nothing.
func (r *replyReader) bulk(n int) error {
	if n < 0 {
		return nil
	}
	for n > 0 {
		part, err := r.take(min(n, r.r.Size()))
		if err != nil {
			return err
		}
		n -= len(part)
	}
	end, err := r.take(2)
	if err == nil && string(end) != "\r\n" {
		err = errReply
	}
	return err
}

// take reads n bytes, at most the reader's buffer; the view is valid until the
// next read.
func (r *replyReader) take(n int) ([]byte, error) {
	part, err := r.r.Peek(n)
	if err != nil {
		return nil, err
	}
	if err := r.keep(part); err != nil {
		return nil, err
	}
	_, err = r.r.Discard(n)
	return part, err
}

// keep appends to the reply while it fits.
func (r *replyReader) keep(b []byte) error {
	if r.passed += len(b); r.passed > maxPassed {
		return errFlood
	}
	if r.passed <= MaxReply {
		r.reply = append(r.reply, b...)
	} else {
		r.reply = nil
	}
	return nil
}
