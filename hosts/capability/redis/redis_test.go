package redis

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/telemetry"
	"penstock.dev/penstock/hosts/capability"
)

func filterOf(namespace, vmID string) *config.Filter {
	return &config.Filter{Part: "service", Name: "x", Owner: config.Object{Kind: "Service", Namespace: namespace, Name: "shop"}, Namespace: namespace, VMID: vmID}
}

func TestPrefixesNeverMeet(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range []*config.Filter{filterOf("a", ""), filterOf("a", "b"), filterOf("a", "b:c"), filterOf("a", "b%3Ac"), filterOf("a", "%"), filterOf("b", ""), filterOf("b", "b")} {
		p := prefix(f)
		for other := range seen {
			if strings.HasPrefix(p, other) || strings.HasPrefix(other, p) {
				t.Errorf("%q and %q", p, other)
			}
		}
		seen[p] = true
	}
}

func TestPrefixOfACanary(t *testing.T) {
	f := filterOf("a", "")
	live, shadow := *f, *f
	live.Name += config.CanarySuffix
	shadow.Name += config.CanarySuffix
	shadow.Shadow = true
	if prefix(&live) != prefix(f) {
		t.Errorf("a live canary has keys of its own: %s", prefix(&live))
	}
	if prefix(&shadow) == prefix(f) {
		t.Error("a shadow has the filter's keys")
	}
}

func TestRewrite(t *testing.T) {
	tests := map[string]struct {
		words []string
		want  string // joined with spaces; empty: an error
		err   error
	}{
		"one key":              {[]string{"get", "k"}, "get p:k", nil},
		"a value like a key":   {[]string{"SET", "k", "k", "EX", "5"}, "SET p:k k EX 5", nil},
		"all keys":             {[]string{"MGET", "a", "b", "c"}, "MGET p:a p:b p:c", nil},
		"keys and values":      {[]string{"MSET", "a", "1", "b", "2"}, "MSET p:a 1 p:b 2", nil},
		"no key":               {[]string{"PING"}, "PING", nil},
		"a text":               {[]string{"PING", "hello"}, "PING hello", nil},
		"an empty key":         {[]string{"GET", ""}, "GET p:", nil},
		"sorted set":           {[]string{"ZADD", "z", "1", "m"}, "ZADD p:z 1 m", nil},
		"a destination":        {[]string{"SINTERSTORE", "d", "a", "b"}, "SINTERSTORE p:d p:a p:b", nil},
		"half a pair":          {[]string{"MSET", "a", "1", "b"}, "", capability.ErrMalformed},
		"a key that is absent": {[]string{"GET"}, "", capability.ErrMalformed},
		"a script":             {[]string{"EVAL", "return 1", "0"}, "", capability.ErrNotAllowed},
		"the lot":              {[]string{"KEYS", "*"}, "", capability.ErrNotAllowed},
		"flush":                {[]string{"FlushAll"}, "", capability.ErrNotAllowed},
		"a name with a space":  {[]string{"GET k", "x"}, "", capability.ErrNotAllowed},
		"no name":              {[]string{""}, "", capability.ErrNotAllowed},
	}
	for name, test := range tests {
		got, err := rewrite(appendQuery(nil, test.words...), "p:")
		if !errors.Is(err, test.err) {
			t.Errorf("%s: got %v; want %v", name, err, test.err)
			continue
		}
		if test.err == nil {
			if want := appendQuery(nil, strings.Split(test.want, " ")...); !bytes.Equal(got, want) {
				t.Errorf("%s: got %q; want %q", name, got, want)
			}
		}
	}
}

func TestMalformedQueries(t *testing.T) {
	for _, q := range []string{
		"", "PING\r\n", "*0\r\n", "*-1\r\n", "*1\r\n", "*1\r\n+PING\r\n", "*1\r\n$-1\r\n", "*1\r\n$4\r\nPING", "*1\r\n$5\r\nPING\r\n", "*1\r\n$4\r\nPING\n\n",
		"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n", "*2\r\n$4\r\nPING\r\n", "*1\n$4\r\nPING\r\n", "*+1\r\n$4\r\nPING\r\n", "*99999999999\r\n", "*5000\r\n", "*1\r\n$999999999\r\nPING\r\n",
		"*1\r\n$04x\r\nPING\r\n", strings.Repeat("x", MaxQuery+1),
	} {
		if _, err := rewrite([]byte(q), "p:"); !errors.Is(err, capability.ErrMalformed) {
			t.Errorf("%.60q: got %v; want ErrMalformed", q, err)
		}
	}
}

// FuzzQuery: what is taken is exactly what its words are when written again,
// and the keys that are sent have the prefix.
func FuzzQuery(f *testing.F) {
	f.Add([]byte("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"))
	f.Add([]byte("*5\r\n$4\r\nMSET\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, query []byte) {
		words, err := parseQuery(query)
		if err == nil {
			var text []string
			for _, w := range words {
				text = append(text, string(w))
			}
			// The same but for zeros in front of a length.
			if again := appendQuery(nil, text...); len(again) > len(query) || len(again) == len(query) && !bytes.Equal(again, query) {
				t.Fatalf("%q was read as %q", query, text)
			}
		}
		out, err2 := rewrite(query, "p:")
		if err != nil && err2 == nil {
			t.Fatalf("%q cannot be read, and was sent", query)
		}
		if err2 != nil {
			return
		}
		sent, err := parseQuery(out)
		if err != nil || len(sent) != len(words) {
			t.Fatalf("%q: sent %q, %v", query, out, err)
		}
		for i := range sent {
			if !bytes.Equal(sent[i], words[i]) && string(sent[i]) != "p:"+string(words[i]) || i == 1 && string(bytes.ToUpper(words[0])) != "PING" && string(sent[i]) != "p:"+string(words[i]) {
				t.Fatalf("%q: word %d became %q", query, i, sent[i])
			}
		}
	})
}

func TestReadReply(t *testing.T) {
	big := "$" + fmt.Sprint(MaxReply) + "\r\n" + strings.Repeat("x", MaxReply) + "\r\n"
	for text, want := range map[string]error{
		"+OK\r\n": nil, "-ERR no\r\n": nil, ":-5\r\n": nil, "$3\r\nabc\r\n": nil, "$0\r\n\r\n": nil, "$-1\r\n": nil, "*-1\r\n": nil, "*0\r\n": nil,
		"*3\r\n:1\r\n*1\r\n$-1\r\n+x\r\n": nil, "$20000\r\n" + strings.Repeat("y", 20000) + "\r\n": nil,
		big: errReplySize, ":x\r\n": errReply, "?1\r\n": errReply, "$3\r\nabcd\r\n": errReply, "$-2\r\n": errReply, "%1\r\n": errReply, "\r\n": errReply, "OK\n": errReply,
		strings.Repeat("*1\r\n", 20): errReply, "+" + strings.Repeat("x", maxLine) + "\r\n": errReply, strings.Repeat("*9\r\n:1\r\n", 2): errReply,
	} {
		const next = "+NEXT\r\n"
		r := bufio.NewReaderSize(strings.NewReader(text+next), maxLine)
		got, err := readReply(r)
		if want == errReply && err != nil {
			continue
		}
		if !errors.Is(err, want) || want == nil && string(got) != text {
			t.Errorf("%.40q: got %.40q, %v; want %v", text, got, err, want)
		}
		if after, err := readReply(r); string(after) != next {
			t.Errorf("%.40q: then got %q, %v", text, after, err)
		}
	}
}

// FuzzReply: a reply is a prefix of what came, and reading it again gives it again.
func FuzzReply(f *testing.F) {
	f.Add([]byte("*3\r\n:1\r\n*1\r\n$-1\r\n+x\r\n"))
	f.Add([]byte("$3\r\nabc\r\n+OK\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		reply, err := readReply(bufio.NewReaderSize(bytes.NewReader(text), maxLine))
		if err != nil {
			return
		}
		if !bytes.HasPrefix(text, reply) || len(reply) == 0 {
			t.Fatalf("%q was read from %q", reply, text)
		}
		again, err := readReply(bufio.NewReaderSize(bytes.NewReader(reply), maxLine))
		if err != nil || !bytes.Equal(again, reply) {
			t.Fatalf("%q, then %q, %v", reply, again, err)
		}
	})
}

// server answers commands on pipes; it is closed with the test.
type server struct {
	mu     sync.Mutex
	dials  int
	refuse error
	conns  []net.Conn
	answer func(words []string) string // empty: nothing
}

func (s *server) dial(context.Context, string) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dials++
	if s.refuse != nil {
		return nil, s.refuse
	}
	here, there := net.Pipe()
	s.conns = append(s.conns, there)
	go s.serve(there)
	return here, nil
}

func (s *server) serve(c net.Conn) {
	r := bufio.NewReaderSize(c, maxLine)
	for {
		query, err := readReply(r)
		if err != nil {
			return
		}
		words, err := parseQuery(query)
		if err != nil {
			return
		}
		var text []string
		for _, w := range words {
			text = append(text, string(w))
		}
		reply := "+PONG\r\n"
		if len(text) > 1 || text[0] != "PING" {
			reply = s.answer(text)
		}
		if reply == "" {
			continue
		}
		if _, err := c.Write([]byte(reply)); err != nil {
			return
		}
	}
}

// cut ends all connections.
func (s *server) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		c.Close()
	}
	s.conns = nil
}

type outcome struct {
	reply string
	err   error
}

// bed is Clients of a server.
type bed struct {
	*Clients
	f *config.Filter
}

func newBed(t *testing.T, s *server, change func(*config.Redis)) *bed {
	t.Helper()
	c := New(Options{Log: zap.NewNop(), Metrics: telemetry.New(), Dial: s.dial})
	f := filterOf("ns", "")
	f.Redis = &config.Redis{Name: "ns/p", Address: "redis:6379", Timeout: time.Second, Connections: 2}
	if change != nil {
		change(f.Redis)
	}
	t.Cleanup(func() {
		c.Close()
		s.cut()
	})
	return &bed{c, f}
}

func (b *bed) do(t *testing.T, words ...string) outcome {
	t.Helper()
	ch := make(chan outcome, 2)
	_, err := b.RedisCall(&capability.RedisCall{Filter: b.f, Query: appendQuery(nil, words...)}, func(reply []byte, err error) { ch <- outcome{string(reply), err} })
	if err != nil {
		t.Fatal(err)
	}
	return <-ch
}

func echo(words []string) string { return "+" + strings.Join(words, " ") + "\r\n" }

func TestCommandsAreAnswered(t *testing.T) {
	s := &server{answer: echo}
	b := newBed(t, s, nil)
	for i := range 20 {
		key := fmt.Sprint("k", i)
		if got := b.do(t, "GET", key); got.err != nil || got.reply != "+GET "+prefix(b.f)+key+"\r\n" {
			t.Fatalf("got %+v", got)
		}
	}
	if s.dials != 1 {
		t.Errorf("%d connections for one prefix; want 1", s.dials)
	}
}

func TestGreeting(t *testing.T) {
	var said []string
	s := &server{answer: func(words []string) string {
		said = append(said, strings.Join(words, " "))
		return "+OK\r\n"
	}}
	b := newBed(t, s, func(r *config.Redis) { r.Username, r.Password, r.Database = "u", "p", 3 })
	b.do(t, "GET", "k")
	if len(said) != 3 || said[0] != "AUTH u p" || said[1] != "SELECT 3" {
		t.Errorf("got %q", said)
	}
	refusing := &server{answer: func([]string) string { return "-WRONGPASS no\r\n" }}
	b = newBed(t, refusing, func(r *config.Redis) { r.Password = "p" })
	if got := b.do(t, "GET", "k"); got.err == nil || !strings.Contains(got.err.Error(), "refuses the password") {
		t.Errorf("got %+v", got)
	}
}

// TestReconnect: a call under way when the connection breaks fails and is not
// sent again; the next one is.
func TestReconnect(t *testing.T) {
	begun := make(chan bool, 1)
	var mu sync.Mutex
	sent := map[string]int{}
	s := &server{}
	s.answer = func(words []string) string {
		mu.Lock()
		sent[words[1][len(words[1])-1:]]++
		mu.Unlock()
		if strings.HasSuffix(words[1], ":a") {
			begun <- true
			return ""
		}
		return "+OK\r\n"
	}
	b := newBed(t, s, nil)
	go func() {
		<-begun
		s.cut()
	}()
	if got := b.do(t, "INCR", "a"); got.err == nil || errors.Is(got.err, errTimeout) {
		t.Errorf("got %+v; want the connection's error", got)
	}
	if got := b.do(t, "INCR", "b"); got.err != nil {
		t.Errorf("got %+v", got)
	}
	mu.Lock()
	defer mu.Unlock()
	if sent["a"] != 1 || sent["b"] != 1 {
		t.Errorf("got %v", sent)
	}
}

// TestBackOff: a server that cannot be reached is not asked for each command.
func TestBackOff(t *testing.T) {
	s := &server{refuse: errors.New("refused"), answer: echo}
	b := newBed(t, s, nil)
	for range 200 {
		if got := b.do(t, "GET", "k"); got.err == nil {
			t.Fatal("no error")
		}
	}
	s.mu.Lock()
	dials := s.dials
	s.refuse = nil
	s.mu.Unlock()
	if dials > 20 {
		t.Errorf("%d attempts for 200 commands", dials)
	}
	deadline := time.Now().Add(10 * time.Second)
	for b.do(t, "GET", "k").err != nil {
		if time.Now().After(deadline) {
			t.Fatal("the server is not found again")
		}
	}
}

func TestNoReply(t *testing.T) {
	s := &server{answer: func([]string) string { return "" }}
	b := newBed(t, s, func(r *config.Redis) { r.Timeout = 30 * time.Millisecond })
	if got := b.do(t, "GET", "k"); !errors.Is(got.err, errTimeout) {
		t.Errorf("got %+v; want errTimeout", got)
	}
}

func TestTooMuch(t *testing.T) {
	s := &server{answer: func([]string) string { return "" }}
	b := newBed(t, s, func(r *config.Redis) { r.Timeout = time.Minute })
	call := &capability.RedisCall{Filter: b.f, Query: appendQuery(nil, "GET", "k")}
	var err error
	n := 0
	for ; n < 10*maxQueue && err == nil; n++ {
		_, err = b.RedisCall(call, func([]byte, error) {})
	}
	if !errors.Is(err, capability.ErrBusy) || n < maxQueue || n > maxQueue+maxInFlight+10 {
		t.Errorf("after %d got %v; want ErrBusy", n, err)
	}
}

// TestClose fails what is under way, once each.
func TestClose(t *testing.T) {
	s := &server{answer: func([]string) string { return "" }}
	b := newBed(t, s, func(r *config.Redis) { r.Timeout = time.Minute })
	const n = 500
	ch := make(chan error, 2*n)
	for range n {
		if _, err := b.RedisCall(&capability.RedisCall{Filter: b.f, Query: appendQuery(nil, "GET", "k")}, func(_ []byte, err error) { ch <- err }); err != nil {
			t.Fatal(err)
		}
	}
	b.Clients.Close()
	if len(ch) != n {
		t.Errorf("%d ends of %d calls", len(ch), n)
	}
	if _, err := b.RedisCall(&capability.RedisCall{Filter: b.f, Query: appendQuery(nil, "GET", "k")}, nil); err == nil {
		t.Error("a call after Close")
	}
}

func TestCancel(t *testing.T) {
	s := &server{answer: echo}
	b := newBed(t, s, nil)
	cancel, err := b.RedisCall(&capability.RedisCall{Filter: b.f, Query: appendQuery(nil, "GET", "k")}, func([]byte, error) {})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if got := b.do(t, "GET", "l"); got.err != nil || !strings.HasSuffix(got.reply, ":l\r\n") {
		t.Errorf("got %+v", got)
	}
}

// TestCloseWhileRepliesCome: each call ends once, whatever comes first.
func TestCloseWhileRepliesCome(t *testing.T) {
	for range 100 {
		s := &server{answer: echo}
		b := newBed(t, s, nil)
		const n = 50
		ch := make(chan error, 2*n)
		for range n {
			if _, err := b.RedisCall(&capability.RedisCall{Filter: b.f, Query: appendQuery(nil, "GET", "k")}, func(_ []byte, err error) { ch <- err }); err != nil {
				t.Fatal(err)
			}
		}
		<-ch // replies have begun to come
		b.Clients.Close()
		if got := len(ch) + 1; got != n {
			t.Fatalf("%d ends of %d calls", got, n)
		}
		for _, cl := range b.by {
			if held := cl.held.Load(); held != 0 {
				t.Errorf("%d bytes are still counted", held)
			}
		}
	}
}
