package proxywasm

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/hosts/capability"
)

// people is a Consumers that has these, by type and text; those of another namespace by
// "namespace type text" too.
type people map[string]person

type person struct {
	who  exchange.Consumer
	data string
}

func (p people) FindConsumer(f *config.Filter, kind, lookup []byte, others [][]byte) (exchange.Consumer, []byte, bool) {
	one, ok := p[fmt.Sprintf("%s %s", kind, lookup)]
	for _, o := range others {
		if !ok {
			one, ok = p[fmt.Sprintf("%s %s %s", o, kind, lookup)]
		}
	}
	return one.who, []byte(one.data), ok && f.Namespace == "ns"
}

var two = people{
	"key-auth first":           {exchange.Consumer{Name: "shop", Groups: []string{"a", "bc"}, Object: "ns/shop"}, ""},
	"basic-auth till":          {exchange.Consumer{Name: "till", Object: "ns/till"}, "hash\x00$2b"},
	"partners key-auth second": {exchange.Consumer{Name: "acme", Object: "partners/acme"}, ""},
}

// finding is the argument of penstock.consumer_find.
func finding(flags byte, kind, lookup string, namespaces ...string) string {
	b := []byte{flags}
	for _, text := range []string{kind, lookup} {
		b = append(binary.LittleEndian.AppendUint16(b, uint16(len(text))), text...)
	}
	return string(b) + listed(namespaces...)
}

// consumerBed is a filter of namespace ns with these Consumers.
func consumerBed(t testing.TB, who capability.Consumers, grant ...string) *bed {
	t.Helper()
	b := start(t, caller(), func(c *config.Filter) { c.Namespace = "ns" }, grant...)
	if b.err != nil {
		t.Fatal(b.err)
	}
	b.abi.o.Consumers = who
	return b
}

// said are the statuses and results of calls, within a callback.
func said(h *hand, calls ...asked) (all []string) {
	h.v.current, h.v.effective = h.s, h.s
	for _, c := range calls {
		result, status := h.s.f.abi.foreigns["penstock."+c.name](h.v, []byte(c.args))
		all = append(all, fmt.Sprintf("%d %q", status, result))
	}
	return all
}

func consumerScene(t testing.TB, lines ...string) *scene {
	t.Helper()
	return newScene(t, sceneOptions{script: strings.Join(lines, "\n"), grant: []string{capability.Consumer, capability.HTTPCalls}, people: two})
}

// TestConsumersAreFound: with what the request is to be checked by; nobody is the
// exchange's consumer before the plugin says so.
func TestConsumersAreFound(t *testing.T) {
	const shop, till = "\x04\x00shop\x02\x01\x00a\x02\x00bc", "\x04\x00till\x00hash\x00$2b"
	tests := map[string]struct {
		calls []asked
		want  []string
		who   exchange.Consumer
	}{
		"one is found":               {[]asked{{"consumer_find", finding(0, "key-auth", "first")}}, []string{fmt.Sprintf(`0 %q`, shop)}, exchange.Consumer{}},
		"with data":                  {[]asked{{"consumer_find", finding(0, "basic-auth", "till")}}, []string{fmt.Sprintf(`0 %q`, till)}, exchange.Consumer{}},
		"and used":                   {[]asked{{"consumer_find", finding(0, "basic-auth", "till")}, {"consumer_use", ""}}, []string{fmt.Sprintf(`0 %q`, till), `0 ""`}, two["basic-auth till"].who},
		"and used at once":           {[]asked{{"consumer_find", finding(1, "key-auth", "first")}}, []string{fmt.Sprintf(`0 %q`, shop)}, two["key-auth first"].who},
		"and used without a word":    {[]asked{{"consumer_find", finding(3, "key-auth", "first")}, {"consumer_find", finding(2, "basic-auth", "till")}}, []string{`0 ""`, `0 ""`}, two["key-auth first"].who},
		"of another namespace":       {[]asked{{"consumer_find", finding(1, "key-auth", "second", "nowhere", "partners")}}, []string{`0 "\x04\x00acme\x00"`}, two["partners key-auth second"].who},
		"not asked for elsewhere":    {[]asked{{"consumer_find", finding(1, "key-auth", "second")}}, []string{`1 ""`}, exchange.Consumer{}},
		"nobody has it":              {[]asked{{"consumer_find", finding(1, "key-auth", "third")}, {"consumer_use", ""}}, []string{`1 ""`, `1 ""`}, exchange.Consumer{}},
		"nobody was looked for":      {[]asked{{"consumer_use", ""}}, []string{`1 ""`}, exchange.Consumer{}},
		"the last one counts":        {[]asked{{"consumer_find", finding(0, "key-auth", "first")}, {"consumer_find", finding(0, "key-auth", "third")}, {"consumer_use", ""}}, []string{fmt.Sprintf(`0 %q`, shop), `1 ""`, `1 ""`}, exchange.Consumer{}},
		"who it is":                  {[]asked{{"consumer_get", ""}, {"consumer_find", finding(1, "key-auth", "first")}, {"consumer_get", ""}}, []string{`1 ""`, fmt.Sprintf(`0 %q`, shop), fmt.Sprintf(`0 %q`, shop)}, two["key-auth first"].who},
		"an argument where none is":  {[]asked{{"consumer_use", "x"}, {"consumer_get", "x"}}, []string{`2 ""`, `2 ""`}, exchange.Consumer{}},
		"somebody from elsewhere":    {[]asked{{"set_consumer", `{"name":"x","groups":["g"]}`}, {"consumer_get", ""}}, []string{`0 ""`, `0 "\x01\x00x\x01\x01\x00g"`}, exchange.Consumer{Name: "x", Groups: []string{"g"}}},
		"a consumer object replaces": {[]asked{{"set_consumer", `{"name":"x"}`}, {"consumer_find", finding(1, "key-auth", "first")}}, []string{`0 ""`, fmt.Sprintf(`0 %q`, shop)}, two["key-auth first"].who},
	}
	b := consumerBed(t, two, capability.Consumer)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			x := newExchange()
			within(t, b, x, phaseRequestHeaders, func(h *hand) {
				if got := said(h, test.calls...); !slices.Equal(got, test.want) {
					t.Errorf("got %q; want %q", got, test.want)
				}
				if !reflect.DeepEqual(x.Consumer, test.who) {
					t.Errorf("the consumer is %+v; want %+v", x.Consumer, test.who)
				}
			})
		})
	}
}

// TestClaims: what a token says is for the filters that come later, and for expressions;
// what a filter has kept by such a name is not taken for it.
func TestClaims(t *testing.T) {
	const claims = `{"sub":"shop","roles":["a","b"],"level":3,"nested":{"on":true},"none":null}`
	b := consumerBed(t, two, capability.Consumer)
	x := newExchange()
	if status := (&stream{x: x}).keep("claims", []byte(`{"sub":"liar"}`)); status != statusOK {
		t.Fatal(status)
	}
	within(t, b, x, phaseRequestHeaders, func(h *hand) {
		evaluate := func(text string) string {
			h.v.current, h.v.effective = h.s, h.s
			token, status := createExpression(h.v, []byte(text))
			if status != statusOK {
				t.Fatalf("%s: %d", text, status)
			}
			result, status := evaluateExpression(h.v, token)
			return fmt.Sprintf("%d %q", status, result)
		}
		for _, text := range []string{`has(claims.sub) || has(consumer.name)`, `'sub' in claims`} {
			if got := evaluate(text); got != `0 "\x00"` {
				t.Errorf("before there are any: %s: got %s", text, got)
			}
		}
		calls := []asked{{"set_claims", ""}, {"set_claims", strings.Repeat("x", maxClaims+1)}, {"set_claims", claims}, {"consumer_find", finding(3, "key-auth", "first")}}
		if got, want := said(h, calls...), []string{`2 ""`, `2 ""`, `0 ""`, `0 ""`}; !slices.Equal(got, want) {
			t.Errorf("got %q; want %q", got, want)
		}
		if got, ok := h.s.f.property(h.v, []string{"penstock", "claims"}); !ok || string(got) != claims {
			t.Errorf("got %q, %v", got, ok)
		}
		if _, ok := h.s.f.property(h.v, []string{"penstock", "sub"}); ok {
			t.Error("there is another one")
		}
		for text, want := range map[string]string{
			`claims.sub`: `0 "shop"`, `'b' in claims.roles && claims.roles.exists(r, r == 'a')`: `0 "\x01"`,
			`claims.level >= 3 && claims.level in [3, 4] && claims.level == 3`:          `0 "\x01"`,
			`claims.nested.on && claims.none == null && claims['sub'] == consumer.name`: `0 "\x01"`,
			`has(claims.other) || has(claims.nested.off)`:                               `0 "\x00"`,
			`consumer.name`: `0 "shop"`, `'bc' in consumer.groups && size(consumer.groups) == 2`: `0 "\x01"`,
			`claims.other`: `10 ""`, `consumer.other`: `10 ""`, `consumer`: `3 ""`,
		} {
			if got := evaluate(text); got != want {
				t.Errorf("%s: got %s; want %s", text, got, want)
			}
		}
		for _, text := range []string{`{"sub"`, `[1]`, `null`, `"text"`} {
			if got := said(h, asked{"set_claims", text}); got[0] != `0 ""` {
				t.Errorf("%s: %s", text, got)
			}
			if got := evaluate(`claims.sub == 'shop'`); got != `10 ""` {
				t.Errorf("%s: got %s", text, got)
			}
		}
	})
	without := consumerBed(t, two)
	within(t, without, newExchange(), phaseRequestHeaders, func(h *hand) {
		if got := said(h, asked{"set_claims", claims}); got[0] != `10 ""` {
			t.Errorf("without the capability: %s", got)
		}
	})
}

// asked is a call of a function of ours.
type asked struct{ name, args string }

// TestMalformedFindings are refused, whatever they hold.
func TestMalformedFindings(t *testing.T) {
	right := finding(0, "key-auth", "first", "partners")
	wrong := map[string]string{
		"nothing": "", "an unknown flag": finding(4, "key-auth", "first"), "no type": finding(0, "", "first"), "no text": finding(0, "key-auth", ""),
		"a long type": finding(0, strings.Repeat("t", 65), "first"), "a long text": finding(0, "key-auth", strings.Repeat("k", 4097)),
		"an empty namespace": finding(0, "key-auth", "first", ""), "a long namespace": finding(0, "key-auth", "first", strings.Repeat("n", 64)),
		"many namespaces": finding(0, "key-auth", "first", strings.Split(strings.Repeat("n ", 16)+"n", " ")...), "something behind": right + "x",
	}
	for i := range len(right) {
		wrong[fmt.Sprint(i, " bytes of it")] = right[:i]
	}
	within(t, consumerBed(t, two, capability.Consumer), newExchange(), phaseRequestHeaders, func(h *hand) {
		for name, args := range wrong {
			if got := said(h, asked{"consumer_find", args}); got[0] != `2 ""` {
				t.Errorf("%s: got %s; want it refused", name, got[0])
			}
		}
	})
}

// TestWhenConsumersAreFound: at any time; said who it is only until the headers go on.
func TestWhenConsumersAreFound(t *testing.T) {
	find, use, get := foreign("consumer_find", finding(0, "key-auth", "first")), foreign("consumer_use", ""), foreign("consumer_get", "")
	at := foreign("consumer_find", finding(1, "key-auth", "first"))
	all := strings.Join([]string{find, use, at, get}, "; ")
	s := consumerScene(t, "configure: "+all, "request_body: "+all, "response_headers: "+all)
	found := `0 "\x04\x00shop\x02\x01\x00a\x02\x00bc"`
	want := []string{found, `2 ""`, `2 ""`, `2 ""`} // no stream
	if got := results(s.trace.take()); !slices.Equal(got, want) {
		t.Errorf("configure: got %q; want %q", got, want)
	}
	e := s.exchange(config.Reject)
	e.request("body")
	want = []string{found, `2 ""`, `2 ""`, `1 ""`}
	if got := results(s.trace.take()); !slices.Equal(got, want) {
		t.Errorf("the request's body: got %q; want %q", got, want)
	}
	e.response("")
	if got := results(s.trace.take()); !slices.Equal(got, want) {
		t.Errorf("the response: got %q; want %q", got, want)
	}
	e.Done()
	if e.x.Consumer.Name != "" {
		t.Errorf("the consumer is %v; want nobody", e.x.Consumer)
	}
}

// TestAConsumerAfterACall: a plugin that asks somebody says then whose request it is.
func TestAConsumerAfterACall(t *testing.T) {
	s := consumerScene(t,
		"request_headers: "+foreign("consumer_find", finding(0, "key-auth", "first"))+"; "+callOut+"; return 1",
		"http_call_response: set_effective_context 2; "+foreign("consumer_use", "")+"; continue_stream 0",
	)
	e := s.exchange(config.Reject)
	go func() { (<-s.calls.begun).done(&capability.HTTPAnswer{Status: 200}, nil) }()
	if out := e.request(""); out != filter.Passed {
		t.Fatalf("got %v; want that it passes: %q", out, s.trace.take())
	}
	if e.x.Consumer.Object != "ns/shop" {
		t.Errorf("the consumer is %+v; want ns/shop", e.x.Consumer)
	}
	e.Done()
}

// TestConsumersThatAreRefused: without the right, and where there is no index.
func TestConsumersThatAreRefused(t *testing.T) {
	for name, test := range map[string]struct {
		grant  string
		people capability.Consumers
		want   []string
	}{
		"no right": {capability.Cache, two, []string{`10 ""`, `10 ""`, `1 ""`}},
		"no index": {capability.Consumer, nil, []string{`12 ""`, `12 ""`, `1 ""`}},
	} {
		t.Run(name, func(t *testing.T) {
			x := newExchange()
			within(t, consumerBed(t, test.people, test.grant), x, phaseRequestHeaders, func(h *hand) {
				got := said(h, asked{"consumer_find", finding(1, "key-auth", "first")}, asked{"consumer_use", ""}, asked{"consumer_get", ""})
				if !slices.Equal(got, test.want) || x.Consumer.Name != "" {
					t.Errorf("got %q; want %q", got, test.want)
				}
			})
		})
	}
}

// TestFindingCostsSteps, and allocates nothing on this side.
func TestFindingCostsSteps(t *testing.T) {
	b := start(t, caller(), nil, capability.Consumer)
	b.abi.o.Consumers = always{exchange.Consumer{Name: "shop", Groups: []string{"a"}}}
	within(t, b, newExchange(), phaseRequestHeaders, func(h *hand) {
		p, n := h.put(100, "penstock.consumer_find")
		q, m := h.put(2000, finding(1, "key-auth", strings.Repeat("k", 1000)))
		if status := h.call("proxy_call_foreign_function", p, n, q, m, 0, 0); status != statusOK || h.spent < stepsOfFind+1000 {
			t.Errorf("got %d for %d steps", status, h.spent)
		}
		h.v.current, h.v.effective = h.s, h.s
		args := []byte(finding(1, "key-auth", "first"))
		if n := testing.AllocsPerRun(100, func() {
			if _, status := findConsumer(h.v, args); status != statusOK {
				t.Error(status)
			}
		}); n != 0 {
			t.Errorf("%v allocations; want 0", n)
		}
	})
}

// always finds one Consumer.
type always struct{ exchange.Consumer }

func (a always) FindConsumer(*config.Filter, []byte, []byte, [][]byte) (exchange.Consumer, []byte, bool) {
	return a.Consumer, nil, true
}

// FuzzFindConsumer: whatever a guest passes, nothing breaks, and nothing wrong is found.
func FuzzFindConsumer(f *testing.F) {
	f.Add([]byte(finding(1, "key-auth", "first", "partners")))
	f.Add([]byte(finding(0, "key-auth", "second", "partners", "x")))
	f.Fuzz(func(t *testing.T, args []byte) {
		r := reader{rest: args}
		flags, kind, lookup := r.byte(), r.text(1, capability.MaxCredentialType), r.text(1, capability.MaxCredentialLookup)
		list := r.list(capability.MaxConsumerNamespaces, 1, capability.MaxNamespace)
		if r.bad || len(r.rest) > 0 {
			return
		}
		var names []string
		for _, n := range list {
			names = append(names, string(n))
		}
		if again := finding(flags, string(kind), string(lookup), names...); again != string(args) {
			t.Errorf("read %q, which is %q", args, again)
		}
	})
}

// TestCertificate: a filter sees the client's certificate as the listener has verified it,
// and nothing that another filter has kept by that name.
func TestCertificate(t *testing.T) {
	b := consumerBed(t, two)
	x := newExchange()
	path := []string{"penstock", "client_certificate"}
	if status := (&stream{x: x}).keep("penstock\x00client_certificate", []byte("a lie")); status != statusOK {
		t.Fatal(status)
	}
	within(t, b, x, phaseRequestHeaders, func(h *hand) {
		h.v.current, h.v.effective = h.s, h.s
		if got, ok := h.s.f.property(h.v, path); ok {
			t.Errorf("without one: got %q", got)
		}
	})
	x = newExchange()
	with := *x.Conn
	with.Certificate = []byte(`{"commonName":"cart"}`)
	x.Conn = &with
	within(t, b, x, phaseRequestHeaders, func(h *hand) {
		h.v.current, h.v.effective = h.s, h.s
		if got, ok := h.s.f.property(h.v, path); !ok || string(got) != `{"commonName":"cart"}` {
			t.Errorf("got %q, %v", got, ok)
		}
		if got, ok := h.s.f.property(h.v, append(path, "commonName")); ok {
			t.Errorf("below it: got %q", got)
		}
	})
}
