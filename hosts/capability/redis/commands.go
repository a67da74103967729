package redis

import (
	"bytes"
	"fmt"
	"math"
	"strings"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/hosts/capability"
)

// command says where the keys of a command are, as COMMAND of Redis does.
type command struct {
	least       int // words, the name included
	first, last int // of the keys; last below 0 counts from the end
	step        int // 0: no keys
}

// commands are those that a plugin may send. None waits, none reaches a key that
// is not among its words (no scripts, KEYS, SCAN, RANDOMKEY, SORT, FLUSH),
// none changes the connection that others share (no MULTI, SUBSCRIBE, SELECT,
// AUTH, CLIENT), and none makes a value larger than what was sent (no SETRANGE,
// SETBIT).
var commands = func() map[string]command {
	all := map[string]command{"PING": {least: 1}}
	add := func(names string, c command) {
		for _, name := range strings.Fields(names) {
			all[name] = c
		}
	}
	// Key first, then so many words at least.
	add("GET INCR DECR TTL PTTL PERSIST TYPE STRLEN GETDEL HGETALL HKEYS HVALS HLEN LLEN LPOP RPOP SMEMBERS SCARD SPOP SRANDMEMBER ZCARD ZPOPMIN ZPOPMAX", command{2, 1, 1, 1})
	add("SET SETNX GETSET APPEND INCRBY DECRBY INCRBYFLOAT EXPIRE PEXPIRE EXPIREAT PEXPIREAT GETEX HGET HDEL HMGET HEXISTS HSTRLEN "+
		"LPUSH RPUSH LPUSHX RPUSHX LINDEX SADD SREM SISMEMBER SMISMEMBER ZREM ZSCORE ZMSCORE ZRANK ZREVRANK", command{3, 1, 1, 1})
	add("SETEX PSETEX GETRANGE HSET HSETNX HMSET HINCRBY HINCRBYFLOAT LRANGE LREM LSET LTRIM ZADD ZINCRBY ZCOUNT ZRANGE ZREVRANGE ZRANGEBYSCORE ZREVRANGEBYSCORE "+
		"ZREMRANGEBYSCORE ZREMRANGEBYRANK", command{4, 1, 1, 1})
	add("LINSERT", command{5, 1, 1, 1})
	// All words are keys; every other one is.
	add("DEL UNLINK EXISTS TOUCH MGET SDIFF SINTER SUNION", command{2, 1, -1, 1})
	add("SDIFFSTORE SINTERSTORE SUNIONSTORE", command{3, 1, -1, 1})
	add("MSET MSETNX", command{3, 1, -1, 2})
	return all
}()

// Bounds on a query.
const (
	MaxQuery = 1 << 20 // bytes
	maxWords = 4096
)

// prefix is what the keys of a filter start with: filters of one namespace that
// name the same vmId share theirs, like all state (annotations.md, section 7.4);
// so do a filter and its canary, while a shadow has its own.
func prefix(f *config.Filter) string {
	state := "filter:" + escape(f.Owner.String()+"/"+strings.TrimSuffix(f.ID(), config.CanarySuffix))
	switch {
	case f.Shadow:
		state = "shadow:" + escape(f.Owner.String()+"/"+f.ID())
	case f.VMID != "":
		state = "vm:" + escape(f.VMID)
	}
	return "penstock:" + escape(f.Namespace) + ":" + state + ":"
}

// escape writes a text without colons, so that no two prefixes can meet.
func escape(s string) string {
	return strings.NewReplacer("%", "%25", ":", "%3A").Replace(s)
}

// Words returns the words of a guest's query, as views, if a plugin may send it. Errors
// are those of Clients.RedisCall.
func Words(query []byte) ([][]byte, error) {
	words, _, err := judge(query)
	return words, err
}

// judge reads a guest's query, and says where its keys are, with last counted from the
// beginning. Errors wrap capability.ErrMalformed or ErrNotAllowed.
func judge(query []byte) (words [][]byte, c command, err error) {
	if words, err = parseQuery(query); err != nil {
		return nil, c, err
	}
	name := strings.ToUpper(string(words[0]))
	c, ok := commands[name]
	if !ok {
		return nil, c, fmt.Errorf("%w: command %.32q is not one of those that plugins may send", capability.ErrNotAllowed, name)
	}
	if c.last < 0 {
		c.last += len(words)
	}
	if len(words) < c.least || c.step > 1 && (c.last-c.first+1)%c.step != 0 {
		return nil, c, fmt.Errorf("%w: %s with %d words", capability.ErrMalformed, name, len(words)-1)
	}
	if c.step > 1 {
		c.last -= c.step - 1
	}
	return words, c, nil
}

// rewrite returns the query to send for a guest's query. Errors are judge's.
func rewrite(query []byte, prefix string) ([]byte, error) {
	words, c, err := judge(query)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, len(query)+len(prefix)*2)
	out = appendHead(out, '*', len(words))
	for i, w := range words {
		isKey := c.step > 0 && i >= c.first && i <= c.last && (i-c.first)%c.step == 0
		if !isKey {
			out = appendBulk(out, w)
			continue
		}
		out = appendHead(out, '$', len(prefix)+len(w))
		out = append(append(append(out, prefix...), w...), '\r', '\n')
	}
	return out, nil
}

// parseQuery reads one array of bulk strings. The words are views.
func parseQuery(b []byte) ([][]byte, error) {
	bad := func(what string) error { return fmt.Errorf("%w: %s", capability.ErrMalformed, what) }
	if len(b) > MaxQuery {
		return nil, bad("the query is too long")
	}
	n, b, ok := head(b, '*')
	if !ok || n < 1 || n > maxWords {
		return nil, bad("want an array of bulk strings")
	}
	words := make([][]byte, 0, n)
	for range n {
		size, rest, ok := head(b, '$')
		if !ok || size < 0 || size > len(rest)-2 || rest[size] != '\r' || rest[size+1] != '\n' {
			return nil, bad("want bulk strings")
		}
		words, b = append(words, rest[:size]), rest[size+2:]
	}
	if len(b) > 0 {
		return nil, bad("more than one command")
	}
	return words, nil
}

// head reads a type byte, a number and the end of the line.
func head(b []byte, kind byte) (n int, rest []byte, ok bool) {
	end := bytes.IndexByte(b[:min(len(b), maxHead)], '\n')
	if end < 2 || b[0] != kind || b[end-1] != '\r' {
		return 0, nil, false
	}
	n, ok = number(b[1 : end-1])
	return n, b[end+1:], ok
}

// number reads a decimal of at most 32 bits: digits, or -1.
func number(b []byte) (n int, ok bool) {
	if string(b) == "-1" {
		return -1, true
	}
	if len(b) == 0 || len(b) > 10 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, n <= math.MaxInt32
}
