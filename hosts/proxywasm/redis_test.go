package proxywasm

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/hosts/capability"
)

// redisCalls is a RedisCaller whose replies the test gives.
type redisCalls struct {
	begun  chan *redisBegun
	refuse error
}

type redisBegun struct {
	query     string
	timeout   time.Duration
	done      func([]byte, error)
	cancelled chan struct{}
}

func (c *redisCalls) RedisCall(call *capability.RedisCall, done func([]byte, error)) (func(), error) {
	if c.refuse != nil {
		return nil, c.refuse
	}
	b := &redisBegun{string(call.Query), call.Timeout, done, make(chan struct{})}
	c.begun <- b
	return sync.OnceFunc(func() { close(b.cancelled) }), nil
}

const (
	redisStart = `redis_init "outbound|6379||redis.static" "user" "secret" 250`
	redisGet   = `redis_call "outbound|6379||redis.static" "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n" &`
)

// redisScene is a script whose parameters have a Redis.
func redisScene(t *testing.T, lines ...string) *scene {
	t.Helper()
	return newScene(t, sceneOptions{script: strings.Join(lines, "\n"), grant: []string{capability.Redis}, change: func(c *config.Filter) { c.Redis = &config.Redis{} }})
}

// TestRedisCalls: a reply comes once, to the root context, while the exchange
// waits; its bytes are there within the callback only.
func TestRedisCalls(t *testing.T) {
	s := redisScene(t, "configure: "+redisStart, "request_headers: "+redisGet+"; "+redisGet+"; return 1",
		`redis_call_response: get_buffer_bytes 9 0 100 &&; get_status & &&; set_effective_context 2; add_header_map_value 0 "x-new" "1"; continue_stream 0`,
		"log: get_buffer_bytes 9 0 100 &&")
	e := s.exchange(config.Reject)
	var answers sync.WaitGroup
	answers.Go(func() {
		first, second := <-s.redis.begun, <-s.redis.begun
		if first.query != "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n" || first.timeout != 250*time.Millisecond {
			t.Errorf("got %+v", first)
		}
		second.done([]byte("$1\r\nv\r\n"), nil)
		second.done([]byte("twice"), nil) // a caller that errs
		first.done(nil, errors.New("gone"))
	})
	if out := e.request(""); out != filter.Passed || e.x.Request.Header.Count("x-new") < 1 {
		t.Errorf("got %v, %v", out, e.Err())
	}
	answers.Wait()
	e.Done()
	lines := s.until(t, "delete")
	text := strings.Join(lines, "\n")
	for _, want := range []string{
		"  redis_init 0\n", "  redis_call 0 1\n  redis_call 0 2\n",
		"redis_call_response 1 2 0 7\n  get_buffer_bytes 0 \"$1\\r\\nv\\r\\n\"\n  get_status 0 0 \"\"\n  set_effective_context 0\n  add_header_map_value 0\n  continue_stream 0",
		"redis_call_response 1 1 11 0\n  get_buffer_bytes 1 \"\"\n  get_status 0 11 \"gone\"",
		"log 2\n  get_buffer_bytes 1 \"\"",
	} {
		if strings.Count(text, want) != 1 {
			t.Errorf("got\n%s\nwant once\n%s", text, want)
		}
	}
}

// TestRedisCallsThatAreRefused: each cause has its status, and the operator's
// have one line of log.
func TestRedisCallsThatAreRefused(t *testing.T) {
	tests := map[string]struct {
		grant, server bool
		call          string
		refuse        error
		want          string
		log           string
	}{
		"no right":               {false, true, redisGet, nil, "redis_call 10 0", "capability"},
		"no right to begin":      {false, true, redisStart, nil, "redis_init 10", "capability"},
		"no Redis":               {true, false, redisGet, nil, "redis_call 12 0", "ProxyParameters"},
		"no Redis to begin with": {true, false, redisStart, nil, "redis_init 12", "ProxyParameters"},
		"a refused command":      {true, true, redisGet, capability.ErrNotAllowed, "redis_call 10 0", "only listed commands"},
		"no query":               {true, true, redisGet, capability.ErrMalformed, "redis_call 2 0", ""},
		"too many":               {true, true, redisGet, capability.ErrBusy, "redis_call 10 0", ""},
		"a negative timeout":     {true, true, `redis_init "s" "" "" -1`, nil, "redis_init 2", ""},
		"memory that is absent":  {true, true, `redis_call "s" -1 100 &`, nil, "redis_call 6 0", ""},
		"no place for a number":  {true, true, `redis_call "s" "x" -1`, nil, "redis_call 6", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o := sceneOptions{script: "request_headers: " + test.call + "; " + test.call}
			if test.grant {
				o.grant = []string{capability.Redis}
			}
			if test.server {
				o.change = func(c *config.Filter) { c.Redis = &config.Redis{} }
			}
			s := newScene(t, o)
			s.redis.refuse = test.refuse
			e := s.exchange(config.Reject)
			e.request("")
			e.Done()
			text := strings.Join(s.take(), "\n")
			if strings.Count(text, "  "+test.want) != 2 {
				t.Errorf("got\n%s\nwant %s", text, test.want)
			}
			if test.log != "" && strings.Count(text, test.log) != 1 {
				t.Errorf("got\n%s\nwant one line with %q", text, test.log)
			}
		})
	}
}

// TestRedisCallsAreBounded, and those under way end with the filter.
func TestRedisCallsAreBounded(t *testing.T) {
	s := redisScene(t, "request_headers: "+strings.Repeat(redisGet+"; ", maxCalls+1))
	e := s.exchange(config.Reject)
	e.request("")
	e.Done()
	text := strings.Join(s.take(), "\n")
	if last := fmt.Sprintf("  redis_call 0 %d\n  redis_call 10 0\n", maxCalls); !strings.Contains(text, last) {
		t.Errorf("got\n%s\nwant %s", text, last)
	}
	b := <-s.redis.begun
	s.f.Close(t.Context())
	<-b.cancelled
	b.done([]byte("+OK\r\n"), nil)
	if text := strings.Join(s.take(), "\n"); strings.Contains(text, "redis_call_response") {
		t.Errorf("a reply after the end:\n%s", text)
	}
}
