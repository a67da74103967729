package proxywasm

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/hosts/capability"
	"penstock.dev/penstock/hosts/capability/kv"
	"penstock.dev/penstock/hosts/capability/ratelimit"
)

// served is an ABI's services for capabilities.
type served struct {
	rates     capability.RateLimiter
	kv        capability.KVStore
	passwords capability.PasswordChecker
}

// answers runs a script's foreign calls in a filter with these services, and returns what
// they returned.
func answers(t *testing.T, with served, grant []string, calls ...string) []string {
	t.Helper()
	first := newScene(t, sceneOptions{name: "first"})
	first.abi.o.Rates, first.abi.o.KV, first.abi.o.Passwords = with.rates, with.kv, with.passwords
	first.take()
	s := newScene(t, sceneOptions{with: first, grant: grant, script: "configure: " + strings.Join(calls, "; ")})
	return results(s.trace.take())
}

func rating(flags byte, limit, ms, burst, cost uint32, key string) string {
	b := []byte{flags}
	for _, n := range []uint32{limit, ms, burst, cost} {
		b = binary.LittleEndian.AppendUint32(b, n)
	}
	return string(b) + key
}

func quote(s string) string { return strings.Trim(fmt.Sprintf("%+q", s), " ") }

func still() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

func TestRateLimit(t *testing.T) {
	with := served{rates: ratelimit.New(ratelimit.Options{Now: still})}
	got := answers(t, with, []string{capability.RateLimit},
		foreign("rate_limit", rating(0, 10, 1000, 2, 1, "k")), foreign("rate_limit", rating(0, 10, 1000, 2, 1, "k")), foreign("rate_limit", rating(0, 10, 1000, 2, 1, "k")),
		foreign("rate_limit", rating(1, 1, 60_000, 0, 1, "k")), foreign("rate_limit", rating(0, 10, 1000, 2, 0, "k")))
	for i, want := range []string{"\x01\x01\x00\x00\x00d\x00", "\x01\x00\x00\x00\x00\xc8\x00", "\x00\x00\x00\x00\x00\xc8\x00\x00\x00d\x00", "\x01\x00\x00\x00\x00", "\x01\x00\x00\x00\x00\xc8"} {
		if len(got) != 5 || !strings.HasPrefix(got[i], "0 ") || !strings.Contains(unquoted(t, got[i][2:]), want) {
			t.Errorf("answer %d of %q; want %q in it", i, got, want)
		}
	}
	bad := []string{
		"", "\x00", rating(4, 1, 1, 0, 1, "k"), rating(0, 0, 1, 0, 1, "k"), rating(0, 1, 0, 0, 1, "k"), rating(0, 1, 1, 0, 1, ""), rating(1, 1, 1, 1, 1, "k"),
		rating(0, 1<<31, 1, 0, 1, "k"), rating(0, 1, 1<<32-1, 0, 1, "k"), rating(0, 1, 1, 0, 1, strings.Repeat("k", 1025)),
	}
	var calls []string
	for _, args := range bad {
		calls = append(calls, foreign("rate_limit", args))
	}
	for i, got := range answers(t, with, []string{capability.RateLimit}, calls...) {
		if got != `2 ""` {
			t.Errorf("argument %d: got %s; want BAD_ARGUMENT", i, got)
		}
	}
	one := foreign("rate_limit", rating(0, 1, 1, 0, 1, "k"))
	if got := answers(t, with, []string{capability.KV}, one); !slices.Equal(got, []string{`10 ""`}) {
		t.Errorf("without the right: %q", got)
	}
	if got := answers(t, served{}, []string{capability.RateLimit}, one); !slices.Equal(got, []string{`12 ""`}) {
		t.Errorf("without a limiter: %q", got)
	}
	if got := answers(t, with, []string{capability.RateLimit}, foreign("rate_limit", rating(2, 1, 1, 0, 1, "k"))); !slices.Equal(got, []string{`12 ""`}) {
		t.Errorf("shared, without a Redis: %q", got)
	}
}

// slow answers what is shared when the test says so.
type slow struct {
	*ratelimit.Limiter
	asked chan func(capability.RateAnswer, error)
}

func (s slow) TakeShared(_ *capability.Rate, done func(capability.RateAnswer, error)) (capability.RateAnswer, bool, func(), error) {
	s.asked <- done
	return capability.RateAnswer{}, false, func() {}, nil
}

// TestSharedRateComesAsACall: the answer is that of an HTTP call, a failure one without
// headers.
func TestSharedRateComesAsACall(t *testing.T) {
	rates := slow{ratelimit.New(ratelimit.Options{}), make(chan func(capability.RateAnswer, error), 2)}
	first := newScene(t, sceneOptions{name: "first"})
	first.abi.o.Rates = rates
	first.take()
	s := newScene(t, sceneOptions{with: first, grant: []string{capability.RateLimit}, script: "configure: " + foreign("rate_limit", rating(2, 1, 1000, 0, 1, "k")) + "\n" +
		`http_call_response: get_header_map_value 6 ":status" &&; get_buffer_bytes 4 0 100 &&; get_status & &&`})
	if got := results(s.trace.take()); len(got) != 1 || !strings.HasPrefix(got[0], `0 "\x01\x00\x00\x00`) {
		t.Fatalf("got %q; want the number of a call", got)
	}
	go (<-rates.asked)(capability.RateAnswer{Allowed: true, Remaining: 7, Reset: time.Second}, nil)
	text := strings.Join(s.until(t, "  get_status"), "\n")
	if !strings.Contains(text, "http_call_response 1 1 1 13 0") || !strings.Contains(text, `get_header_map_value 0 "200"`) || !strings.Contains(text, `get_buffer_bytes 0 "\x01\a\x00\x00\x00\xe8\x03\x00\x00\x00\x00\x00\x00"`) {
		t.Errorf("got\n%s", text)
	}
	again := newScene(t, sceneOptions{name: "again", with: first, grant: []string{capability.RateLimit}, script: "configure: " + foreign("rate_limit", rating(2, 1, 1000, 0, 1, "k")) + "\n" + `http_call_response: get_status & &&`})
	again.trace.take()
	go (<-rates.asked)(capability.RateAnswer{}, errors.New("redis is down"))
	if text := strings.Join(again.until(t, "  get_status"), "\n"); !strings.Contains(text, "http_call_response 1 1 0 0 0") || !strings.Contains(text, `get_status 0 11 "redis is down"`) {
		t.Errorf("got\n%s", text)
	}
}

func kvPutting(flags byte, seconds uint32, key, value string) string {
	b := binary.LittleEndian.AppendUint32([]byte{flags}, seconds)
	return string(append(binary.LittleEndian.AppendUint16(b, uint16(len(key))), key...)) + value
}

func kvAdding(seconds uint32, delta int64, key string) string {
	b := binary.LittleEndian.AppendUint32(nil, seconds)
	return string(binary.LittleEndian.AppendUint64(b, uint64(delta))) + key
}

func TestKV(t *testing.T) {
	store := kv.New(kv.Options{Now: still, Bytes: 700})
	with, grant := served{kv: store}, []string{capability.KV}
	got := answers(t, with, grant,
		foreign("kv_get", "k"), foreign("kv_put", kvPutting(0, 60, "k", "value")), foreign("kv_get", "k"), foreign("kv_put", kvPutting(1, 60, "k", "other")),
		foreign("kv_add", kvAdding(60, 5, "k")), foreign("kv_add", kvAdding(60, -5, "n")), foreign("kv_delete", "k"), foreign("kv_get", "k"),
		foreign("kv_put", kvPutting(0, 60, "k", strings.Repeat("v", 600))))
	want := []string{`1 ""`, `0 ""`, `0 "` + "`" + `\xea\x00\x00\x00\x00\x00\x00value"`, `8 ""`, `4 ""`, `0 "\xfb\xff\xff\xff\xff\xff\xff\xff"`, `0 ""`, `1 ""`, `10 ""`}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	bad := []string{
		foreign("kv_get", ""), foreign("kv_get", strings.Repeat("k", 1025)), foreign("kv_put", kvPutting(0, 0, "k", "")), foreign("kv_put", kvPutting(2, 1, "k", "")),
		foreign("kv_put", kvPutting(0, 1, "", "")), foreign("kv_put", kvPutting(0, 40*24*3600, "k", "")), foreign("kv_put", "\x00\x01\x00\x00\x00\x09\x00k"),
		foreign("kv_delete", ""), foreign("kv_add", kvAdding(0, 1, "k")), foreign("kv_add", kvAdding(1, 1, "")), foreign("kv_add", "\x01\x00\x00\x00\x01"),
	}
	for i, got := range answers(t, with, grant, bad...) {
		if got != `2 ""` {
			t.Errorf("call %d: got %s; want BAD_ARGUMENT", i, got)
		}
	}
	if got := answers(t, with, []string{capability.Cache}, foreign("kv_get", "k")); !slices.Equal(got, []string{`10 ""`}) {
		t.Errorf("without the right: %q", got)
	}
	if got := answers(t, served{}, grant, foreign("kv_get", "k")); !slices.Equal(got, []string{`12 ""`}) {
		t.Errorf("without a store: %q", got)
	}
}

// TestKVIsApart: values of other states and namespaces are not found.
func TestKVIsApart(t *testing.T) {
	first := newScene(t, sceneOptions{name: "first", grant: []string{capability.KV}, change: func(c *config.Filter) { c.VMID = "shared" }})
	first.abi.o.KV = kv.New(kv.Options{})
	put := newScene(t, sceneOptions{name: "put", with: first, grant: []string{capability.KV}, change: func(c *config.Filter) { c.VMID = "shared" }, script: "configure: " + foreign("kv_put", kvPutting(0, 60, "k", "v"))})
	put.trace.take()
	for name, test := range map[string]struct{ namespace, vmID, want string }{
		"the same state":    {"ns", "shared", "0 "},
		"another state":     {"ns", "other", `1 ""`},
		"a state of no one": {"ns", "", `1 ""`},
		"another namespace": {"away", "shared", `1 ""`},
	} {
		s := newScene(t, sceneOptions{name: "get", with: first, grant: []string{capability.KV}, script: "configure: " + foreign("kv_get", "k"),
			change: func(c *config.Filter) {
				c.Namespace, c.Owner.Namespace, c.VMID = test.namespace, test.namespace, test.vmID
			}})
		if got := results(s.trace.take()); len(got) != 1 || !strings.HasPrefix(got[0], test.want) {
			t.Errorf("%s: got %q; want %q", name, got, test.want)
		}
	}
}

// text16 is a text behind its length.
func text16(s string) string {
	return string(binary.LittleEndian.AppendUint16(nil, uint16(len(s)))) + s
}

func number32(n uint32) string { return string(binary.LittleEndian.AppendUint32(nil, n)) }

// TestCrypto: keys are numbered from 1 on, and do what they are for.
func TestCrypto(t *testing.T) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("message"))
	r, s, err := ecdsa.Sign(rand.Reader, k, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	key := foreign("crypto_key", text16("ES256")+"\x02"+string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})))
	secret := foreign("crypto_key", text16("HS256")+"\x00"+strings.Repeat("s", 32))
	got := answers(t, served{}, []string{capability.Crypto}, key, secret,
		foreign("crypto_verify", number32(1)+text16(string(signature))+"message"), foreign("crypto_verify", number32(1)+text16(string(signature))+"massage"),
		foreign("crypto_sign", number32(1)+"message"), foreign("crypto_verify", number32(9)+text16("")+"message"), foreign("crypto_key_delete", number32(1)),
		foreign("crypto_verify", number32(1)+text16(string(signature))+"message"), foreign("crypto_key", text16("RS256")+"\x02nothing"),
		foreign("crypto_hash", text16("sha256")+"message"), foreign("crypto_hash", text16("md5")+"message"), foreign("crypto_seal", number32(2)+text16("")+"x"))
	hash := fmt.Sprintf("0 %s", quote(string(sum[:])))
	want := []string{`0 "\x01\x00\x00\x00"`, `0 "\x02\x00\x00\x00"`, `0 "\x01"`, `0 "\x00"`, `2 ""`, `2 ""`, `0 ""`, `2 ""`, `0 "\x00\x00\x00\x00there is no PEM block"`, hash, `2 ""`, `2 ""`}
	for i := range want {
		if i >= len(got) || i != 9 && got[i] != want[i] || i == 9 && unquoted(t, got[i][2:]) != string(sum[:]) {
			t.Errorf("call %d: got %q; want %q", i, got, want[i])
		}
	}
	if got := answers(t, served{}, []string{capability.KV}, key); !slices.Equal(got, []string{`10 ""`}) {
		t.Errorf("without the right: %q", got)
	}
}

// checker knows one password, and answers at once or later.
type checker struct {
	later chan func(bool)
	err   error
}

func (c checker) Check(_ string, hash, password []byte, done func(bool)) (right, now bool, cancel func(), err error) {
	if c.later != nil {
		c.later <- done
		return false, false, func() {}, nil
	}
	return string(hash) == "hash" && string(password) == "right", true, nil, c.err
}

func TestPasswordCalls(t *testing.T) {
	call := func(password string) string { return foreign("crypto_password", text16("hash")+password) }
	grant := []string{capability.Crypto}
	if got, want := answers(t, served{passwords: checker{}}, grant, call("right"), call("wrong")), []string{`0 "\x00\x00\x00\x00\x01"`, `0 "\x00\x00\x00\x00\x00"`}; !slices.Equal(got, want) {
		t.Errorf("got %q; want %q", got, want)
	}
	for err, want := range map[error]string{capability.ErrBusy: `10 ""`, errors.New("no hash"): `4 ""`} {
		if got := answers(t, served{passwords: checker{err: err}}, grant, call("right")); !slices.Equal(got, []string{want}) {
			t.Errorf("%v: got %q; want %s", err, got, want)
		}
	}
	if got := answers(t, served{}, grant, call("right")); !slices.Equal(got, []string{`12 ""`}) {
		t.Errorf("without a checker: %q", got)
	}
}

func unquoted(t *testing.T, s string) string {
	t.Helper()
	text, err := strconv.Unquote(s)
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return text
}
