package cases

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/hosts/capability"
	"penstock.dev/penstock/hosts/capability/redis"
)

// Redis is a command that the plugin sends, and its reply.
type Redis struct {
	// Command is its words, the keys as the plugin writes them; nil: any.
	Command []string `yaml:"command"`
	// Answer is a text, a whole number, null, a list of such, {status: TEXT} or {error:
	// TEXT}. If there is none, Call.Fails says why.
	Answer yaml.Node `yaml:"answer"`

	reply []byte // Answer in RESP2
}

// maxNested is how deep lists of a reply may lie in one another.
const maxNested = 8

// redisTimeout is that of commands, as parameters have it.
const redisTimeout = time.Second

// check finds what a command cannot mean, and makes its reply.
func (r *Redis) check(what string) (err error) {
	if r == nil {
		return nil
	}
	if r.Command != nil {
		if _, err = redis.Words(query(r.Command)); err != nil {
			return fmt.Errorf("%s.command: %w", what, err)
		}
	}
	if r.Answer.Kind == 0 {
		return nil
	}
	if r.reply, err = appendReply(nil, &r.Answer, maxNested); err != nil {
		return fmt.Errorf("%s.answer: %w", what, err)
	}
	if len(r.reply) > redis.MaxReply {
		return fmt.Errorf("%s.answer: larger than %d bytes", what, redis.MaxReply)
	}
	return nil
}

// query writes words as they are sent.
func query(words []string) []byte {
	b := fmt.Appendf(nil, "*%d\r\n", len(words))
	for _, w := range words {
		b = appendText(b, w)
	}
	return b
}

func appendText(b []byte, text string) []byte {
	return fmt.Appendf(b, "$%d\r\n%s\r\n", len(text), text)
}

// appendReply writes a reply in RESP2.
func appendReply(b []byte, n *yaml.Node, nested int) ([]byte, error) {
	wrong := fmt.Errorf("line %d: want a text, a whole number, null, a list, {status: TEXT} or {error: TEXT}", n.Line)
	switch {
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		return append(b, "$-1\r\n"...), nil
	case n.Kind == yaml.ScalarNode && n.Tag == "!!int":
		var v int64
		if err := n.Decode(&v); err != nil {
			return nil, wrong
		}
		return append(strconv.AppendInt(append(b, ':'), v, 10), '\r', '\n'), nil
	case n.Kind == yaml.ScalarNode && (n.Tag == "!!str" || n.Tag == "!!binary"):
		var text string
		if err := n.Decode(&text); err != nil {
			return nil, wrong
		}
		return appendText(b, text), nil
	case n.Kind == yaml.SequenceNode && nested > 0:
		b = fmt.Appendf(b, "*%d\r\n", len(n.Content))
		for _, one := range n.Content {
			var err error
			if b, err = appendReply(b, one, nested-1); err != nil {
				return nil, err
			}
		}
		return b, nil
	case n.Kind == yaml.MappingNode && len(n.Content) == 2:
		kind, text := n.Content[0].Value, n.Content[1]
		sign := map[string]byte{"status": '+', "error": '-'}[kind]
		if sign == 0 || text.Kind != yaml.ScalarNode || text.Value == "" || strings.ContainsAny(text.Value, "\r\n") {
			return nil, wrong
		}
		return append(append(append(b, sign), text.Value...), '\r', '\n'), nil
	}
	return nil, wrong
}

// RedisCall implements capability.RedisCaller: what the proxy refuses is refused here.
func (c *calls) RedisCall(k *capability.RedisCall, done func([]byte, error)) (func(), error) {
	words, err := redis.Words(k.Query)
	if err != nil {
		return nil, err
	}
	got := make([]string, len(words))
	for i, w := range words {
		got[i] = string(w)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	said, where := c.take(fmt.Sprintf("Redis %q", got), "", callRedis)
	if said == nil {
		return nil, errors.New("the case has no such command")
	}
	if want := said.Redis.Command; want != nil && !slices.Equal(got, want) {
		c.faults = append(c.faults, fmt.Sprintf("%s.redis.command: got %q; want %q", where, got, want))
	}
	timeout := k.Filter.Redis.Timeout
	if k.Timeout > 0 {
		timeout = min(timeout, k.Timeout)
	}
	fails, after := said.ends(timeout)
	return c.wait(after, func() {
		if fails != "" {
			done(nil, callFailures[fails])
			return
		}
		done(slices.Clone(said.Redis.reply), nil)
	}), nil
}

// redisOf is the Redis of a file's cases; nil: no call of them needs one, and a plugin
// finds none, as where the parameters name none.
func (f *File) redisOf() *config.Redis {
	for i := range f.Cases {
		if slices.ContainsFunc(f.Cases[i].calls(), func(k Call) bool { return k.Redis != nil || k.Rate != nil }) {
			return &config.Redis{Name: "default/case", Address: "redis.example:6379", Timeout: redisTimeout, Connections: 1}
		}
	}
	return nil
}

// calls are all calls of a case.
func (c *Case) calls() (all []Call) {
	for i := range c.Exchanges {
		all = append(all, c.Exchanges[i].Calls...)
	}
	for i := range c.Connections {
		all = append(all, c.Connections[i].Calls...)
	}
	return all
}

var _ capability.RedisCaller = (*calls)(nil)
