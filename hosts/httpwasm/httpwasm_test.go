package httpwasm

import (
	"errors"
	"strings"
	"testing"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/sandbox"
	"penstock.dev/penstock/hosts/capability"
)

// TestReads: what a guest reads of a request, by the rule of buffer and limit.
func TestReads(t *testing.T) {
	tests := map[string]struct {
		step   op
		change func(*exchange.Exchange)
		want   string
		result uint64
	}{
		"config":                {do("get_config", buffer, 100), nil, "config", 6},
		"config that fits":      {do("get_config", buffer, 6), nil, "config", 6},
		"no room for config":    {do("get_config", buffer, 5), nil, "", 6},
		"only the size":         {do("get_config", 0, 0), nil, "", 6},
		"method":                {do("get_method", buffer, 100), nil, "GET", 3},
		"URI":                   {do("get_uri", buffer, 100), nil, "/a?b", 4},
		"empty URI":             {do("get_uri", buffer, 100), func(x *exchange.Exchange) { x.Request.Path = nil }, "/", 1},
		"HTTP/1.1":              {do("get_protocol_version", buffer, 100), nil, "HTTP/1.1", 8},
		"HTTP/1.0":              {do("get_protocol_version", buffer, 100), func(x *exchange.Exchange) { x.Request.Version = exchange.HTTP10 }, "HTTP/1.0", 8},
		"HTTP/2":                {do("get_protocol_version", buffer, 100), func(x *exchange.Exchange) { x.Request.Version = exchange.HTTP2 }, "HTTP/2.0", 8},
		"HTTP/3":                {do("get_protocol_version", buffer, 100), func(x *exchange.Exchange) { x.Request.Version = exchange.HTTP3 }, "HTTP/3.0", 8},
		"source address":        {do("get_source_addr", buffer, 100), nil, "192.0.2.1:99", 12},
		"names":                 {do("get_header_names", 0, buffer, 100), nil, "host\x00x-one\x00x-two\x00", 3<<32 | 17},
		"names without host":    {do("get_header_names", 0, buffer, 100), func(x *exchange.Exchange) { x.Request.Authority = nil }, "x-one\x00x-two\x00", 2<<32 | 12},
		"no room for names":     {do("get_header_names", 0, buffer, 16), nil, "", 3<<32 | 17},
		"no response yet":       {do("get_header_names", 1, buffer, 100), nil, "", 0},
		"a value":               {do("get_header_values", 0, "x-one", buffer, 100), nil, "1\x00", 1<<32 | 2},
		"values, in any case":   {do("get_header_values", 0, "X-tWo", buffer, 100), nil, "2a\x002b\x00", 2<<32 | 6},
		"no value":              {do("get_header_values", 0, "none", buffer, 100), nil, "", 0},
		"an empty value":        {do("get_header_values", 0, "x", buffer, 100), func(x *exchange.Exchange) { x.Request.Header.Add([]byte("X"), nil) }, "\x00", 1<<32 | 1},
		"the host":              {do("get_header_values", 0, "Host", buffer, 100), nil, "a.example\x00", 1<<32 | 10},
		"no host":               {do("get_header_values", 0, "host", buffer, 100), func(x *exchange.Exchange) { x.Request.Authority = nil }, "", 0},
		"trailers, not enabled": {do("get_header_names", 2, buffer, 100), func(x *exchange.Exchange) { x.Request.Trailer.Add([]byte("a"), nil) }, "", 0},
		"an empty body":         {do("read_body", 0, buffer, 100), nil, "", 1 << 32},
		"debug is off":          {do("log_enabled", -1), nil, "", 0},
		"info is on":            {do("log_enabled", 0), nil, "", 1},
		"error is on":           {do("log_enabled", 2), nil, "", 1},
		"none is none":          {do("log_enabled", 3), nil, "", 0},
		"no such level":         {do("log_enabled", 77), nil, "", 0},
		"status before next":    {do("get_status_code"), nil, "", 200},
		"enabled features":      {do("enable_features", 0), nil, "", 0},
		"features it has":       {do("enable_features", 0xff), nil, "", 7},
		"one feature":           {do("enable_features", 4), nil, "", 4},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := start(t, &guest{request: []op{test.step}, next: 1}, nil)
			x := newExchange()
			if test.change != nil {
				test.change(x)
			}
			b.pass(x, func() { respondWith(x, 200) })
			if got := b.results(requestAt, 1)[0]; got != test.result {
				t.Errorf("got %#x; want %#x", got, test.result)
			}
			if got := strings.TrimRight(b.text(100), "\x00"); got != strings.TrimRight(test.want, "\x00") {
				t.Errorf("got %q; want %q", got, test.want)
			}
		})
	}
}

func fields(h *exchange.Header) string {
	var text []string
	for _, f := range h.Fields() {
		text = append(text, string(f.Name)+": "+string(f.Value))
	}
	return strings.Join(text, "\n")
}

// TestRequestChanges: what a guest changes of the request before next.
func TestRequestChanges(t *testing.T) {
	tests := map[string]struct {
		steps []op
		want  string
	}{
		"method":                {[]op{do("set_method", "PATCH")}, "PATCH /a?b a.example\nX-One: 1\nX-Two: 2a\nx-tWO: 2b"},
		"URI":                   {[]op{do("set_uri", "/c%20d?e=f")}, "GET /c%20d?e=f a.example\nX-One: 1\nX-Two: 2a\nx-tWO: 2b"},
		"no URI":                {[]op{do("set_uri", "")}, "GET / a.example\nX-One: 1\nX-Two: 2a\nx-tWO: 2b"},
		"set":                   {[]op{do("set_header_value", 0, "x-two", "3")}, "GET /a?b a.example\nX-One: 1\nX-Two: 3"},
		"set a new one":         {[]op{do("set_header_value", 0, "X-New", "")}, "GET /a?b a.example\nX-One: 1\nX-Two: 2a\nx-tWO: 2b\nX-New: "},
		"add":                   {[]op{do("add_header_value", 0, "x-one", "3")}, "GET /a?b a.example\nX-One: 1\nX-Two: 2a\nx-tWO: 2b\nx-one: 3"},
		"remove":                {[]op{do("remove_header", 0, "X-TWO"), do("remove_header", 0, "none")}, "GET /a?b a.example\nX-One: 1"},
		"white space":           {[]op{do("set_header_value", 0, "x-two", "\t 3 4 ")}, "GET /a?b a.example\nX-One: 1\nX-Two: 3 4"},
		"the host":              {[]op{do("set_header_value", 0, "HOST", "b.example:8"), do("remove_header", 0, "host")}, "GET /a?b b.example:8\nX-One: 1\nX-Two: 2a\nx-tWO: 2b"},
		"framing stays":         {[]op{do("set_header_value", 0, "Content-Length", "3"), do("add_header_value", 0, "transfer-encoding", "chunked"), do("add_header_value", 0, "connection", "close")}, "GET /a?b a.example\nX-One: 1\nX-Two: 2a\nx-tWO: 2b"},
		"the response's do not": {[]op{do("set_header_value", 1, "x-two", "3"), do("set_status_code", 404), do("write_body", 1, "text")}, "GET /a?b a.example\nX-One: 1\nX-Two: 2a\nx-tWO: 2b"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := start(t, &guest{request: test.steps, next: 1}, nil)
			x := newExchange()
			b.pass(x, func() {
				q := &x.Request
				if got := string(q.Method) + " " + string(q.Path) + " " + string(q.Authority) + "\n" + fields(&q.Header); got != test.want {
					t.Errorf("got %s; want %s", got, test.want)
				}
				respondWith(x, 200)
			})
		})
	}
}

// TestConnect: a CONNECT has no path, whatever a guest sets, and stays one.
func TestConnect(t *testing.T) {
	connect := func() *exchange.Exchange {
		x := newExchange()
		x.Request.Method, x.Request.Authority, x.Request.Path = []byte("CONNECT"), []byte("b.example:443"), nil
		return x
	}
	b := start(t, &guest{request: []op{do("get_uri", buffer, 20), do("set_uri", "/x"), do("set_method", "CONNECT")}, next: 1}, nil)
	x := connect()
	b.pass(x, func() { respondWith(x, 200) })
	if got := strings.TrimRight(b.text(100), "\x00"); got != "/" || len(x.Request.Path) > 0 || !x.Request.Connect() {
		t.Errorf("got the URI %q, then %s %q", got, x.Request.Method, x.Request.Path)
	}
	b = start(t, &guest{request: []op{do("set_method", "GET")}, next: 1}, nil)
	x = connect()
	s, _, err := b.begin(x)
	if !errors.Is(err, errInvalid) || !x.Request.Connect() {
		t.Errorf("got %v; want that a CONNECT stays one", err)
	}
	s.Done()
}

// traps are calls that the ABI forbids, and when.
var traps = map[string]struct {
	features int
	request  []op
	response []op
	err      error
}{
	"an unknown header kind to read":         {7, []op{do("get_header_names", 4, buffer, 9)}, nil, errKind},
	"an unknown header kind for values":      {7, []op{do("get_header_values", 9, "a", buffer, 9)}, nil, errKind},
	"an unknown header kind to set":          {7, []op{do("set_header_value", 4, "a", "b")}, nil, errKind},
	"an unknown header kind to add":          {7, []op{do("add_header_value", -1, "a", "b")}, nil, errKind},
	"an unknown header kind to remove":       {7, []op{do("remove_header", 4, "a")}, nil, errKind},
	"an unknown body kind to read":           {7, []op{do("read_body", 2, buffer, 9)}, nil, errKind},
	"an unknown body kind to write":          {7, []op{do("write_body", 2, "a")}, nil, errKind},
	"an empty name to read":                  {7, []op{do("get_header_values", 0, "", buffer, 9)}, nil, errEmpty},
	"an empty name to set":                   {7, []op{do("set_header_value", 0, "", "b")}, nil, errEmpty},
	"an empty name to add":                   {7, []op{do("add_header_value", 1, "", "b")}, nil, errEmpty},
	"an empty name to remove":                {7, []op{do("remove_header", 0, "")}, nil, errEmpty},
	"an empty method":                        {7, []op{do("set_method", "")}, nil, errInvalid},
	"a method with a space":                  {7, []op{do("set_method", "GE T")}, nil, errInvalid},
	"CONNECT":                                {7, []op{do("set_method", "CONNECT")}, nil, errInvalid},
	"a relative URI":                         {7, []op{do("set_uri", "a")}, nil, errInvalid},
	"a URI with a space":                     {7, []op{do("set_uri", "/ HTTP/1.1")}, nil, errInvalid},
	"a name with a colon":                    {7, []op{do("set_header_value", 0, "a:", "b")}, nil, errInvalid},
	"a name with a line's end":               {7, []op{do("add_header_value", 1, "a\r\nb", "b")}, nil, errInvalid},
	"a value with a line's end":              {7, []op{do("set_header_value", 0, "a", "b\r\nc: d")}, nil, errInvalid},
	"a value with a line's end at its end":   {7, []op{do("set_header_value", 0, "a", "b\n")}, nil, errInvalid},
	"a value with NUL":                       {7, []op{do("add_header_value", 1, "a", "b\x00")}, nil, errInvalid},
	"a host with a slash":                    {7, []op{do("set_header_value", 0, "host", "a/b")}, nil, errInvalid},
	"a status below 200":                     {7, []op{do("set_status_code", 101)}, nil, errInvalid},
	"a status beyond 599":                    {7, []op{do("set_status_code", 600)}, nil, errInvalid},
	"a buffer of nothing":                    {7, []op{do("read_body", 0, buffer, 0)}, nil, errNoLimit},
	"a read outside of memory":               {7, []op{do("log", 0, 0x1fff0, 0x11)}, nil, errMemory},
	"a read that wraps around":               {7, []op{do("set_method", 0xfffffff0, 0x20)}, nil, errMemory},
	"a write outside of memory":              {7, []op{do("get_method", 0x1fffe, 3)}, nil, errMemory},
	"a list outside of memory":               {7, []op{do("get_header_names", 0, 0xfffffff0, 100)}, nil, errMemory},
	"a body outside of memory":               {7, []op{do("read_body", 0, 0x1fff0, 0x11)}, nil, errMemory},
	"trailers of the request, not enabled":   {3, []op{do("set_header_value", 2, "a", "b")}, nil, errTrailers},
	"trailers of the response, not enabled":  {3, []op{do("add_header_value", 3, "a", "b")}, nil, errTrailers},
	"removing trailers, not enabled":         {3, []op{do("remove_header", 3, "a")}, nil, errTrailers},
	"set_method after next":                  {7, nil, []op{do("set_method", "GET")}, errAfterNext},
	"set_uri after next":                     {7, nil, []op{do("set_uri", "/")}, errAfterNext},
	"set a request header after next":        {7, nil, []op{do("set_header_value", 0, "a", "b")}, errAfterNext},
	"add a request header after next":        {7, nil, []op{do("add_header_value", 0, "a", "b")}, errAfterNext},
	"remove a request header after next":     {7, nil, []op{do("remove_header", 0, "a")}, errAfterNext},
	"set a request trailer after next":       {7, nil, []op{do("set_header_value", 2, "a", "b")}, errAfterNext},
	"write the request's body after next":    {7, nil, []op{do("write_body", 0, "a")}, errAfterNext},
	"read the request's body after next":     {6, nil, []op{do("read_body", 0, buffer, 9)}, errRequest},
	"read the response's body, not buffered": {5, nil, []op{do("read_body", 1, buffer, 9)}, errBuffer},
	"write the response, not buffered":       {5, nil, []op{do("write_body", 1, "a")}, errBuffer},
	"set a response header, not buffered":    {5, nil, []op{do("set_header_value", 1, "a", "b")}, errBuffer},
	"add a response header, not buffered":    {5, nil, []op{do("add_header_value", 1, "a", "b")}, errBuffer},
	"remove a response header, not buffered": {5, nil, []op{do("remove_header", 1, "a")}, errBuffer},
	"set a response trailer, not buffered":   {5, nil, []op{do("set_header_value", 3, "a", "b")}, errBuffer},
	"set the status, not buffered":           {5, nil, []op{do("set_status_code", 404)}, errBuffer},
	"get the status, not buffered":           {5, nil, []op{do("get_status_code")}, errBuffer},
	"a feature enabled too late":             {5, nil, []op{do("enable_features", 2), do("set_status_code", 404)}, errBuffer},
	"too much of its own body":               {7, []op{do("write_body", 1, strings.Repeat("x", 600)), do("write_body", 1, strings.Repeat("x", 600))}, nil, errAnswer},
	"too much copied":                        {7, repeat(do("set_uri", "/"+strings.Repeat("x", 5000)), 900), nil, errMany},
}

func repeat(o op, n int) (all []op) {
	for range n {
		all = append(all, o)
	}
	return all
}

// TestTraps: the exchange gets the cause, the instance is not used again, and
// the next exchange has another one.
func TestTraps(t *testing.T) {
	for name, test := range traps {
		t.Run(name, func(t *testing.T) {
			g := &guest{request: append([]op{do("enable_features", test.features)}, test.request...), response: test.response, next: 1}
			b := start(t, g, func(c *config.Filter) { c.Limits.BodyBytes = 1000 })
			for range 2 {
				x := newExchange()
				s, _, err := b.begin(x)
				var dead *sandbox.Instance
				if test.response != nil {
					if err != nil {
						t.Fatal(err)
					}
					dead = s.i
					respondWith(x, 200, "body")
					_, err = s.ResponseHeaders(false)
				}
				var failure *filter.Error
				if !errors.As(err, &failure) || failure.Cause != sandbox.CauseABI || !errors.Is(err, test.err) {
					t.Errorf("got %v; want %v", err, test.err)
				}
				if dead != nil && dead.Alive() {
					t.Error("the instance lives on")
				}
				s.Done()
			}
		})
	}
}

// TestHostileGuests: what ends a call is told as it was.
func TestHostileGuests(t *testing.T) {
	tests := map[string]struct {
		code  []byte
		cause string
	}{
		"spins":         {[]byte{0x03, 0x40, 0x0c, 0, 0x0b}, sandbox.CauseCPU},
		"traps":         {[]byte{0}, sandbox.CauseTrap},
		"reads outside": {[]byte{0x41, 0x7f, 0x28, 0, 0, 0x1a}, sandbox.CauseTrap},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := start(t, &guest{request: []op{{code: test.code}}, next: 1}, nil)
			s, _, err := b.begin(newExchange())
			var failure *filter.Error
			if !errors.As(err, &failure) || failure.Cause != test.cause {
				t.Errorf("got %v; want %s", err, test.cause)
			}
			s.Done()
			b = start(t, &guest{response: []op{{code: test.code}}, next: 1}, nil)
			x := newExchange()
			s, _, err = b.begin(x)
			if err != nil {
				t.Fatal(err)
			}
			respondWith(x, 200)
			_, err = s.ResponseHeaders(true)
			if !errors.As(err, &failure) || failure.Cause != test.cause {
				t.Errorf("got %v; want %s", err, test.cause)
			}
			s.Done()
		})
	}
}

func TestDetectAndStart(t *testing.T) {
	spin := []op{{code: []byte{0x03, 0x40, 0x0c, 0, 0x0b}}}
	tests := map[string]struct {
		g    guest
		err  error
		text string
	}{
		"a trap in _start":                  {guest{start: []op{trap}}, nil, "_start"},
		"an endless _start":                 {guest{start: spin}, sandbox.ErrCPU, "_start"},
		"an endless start section":          {guest{init: spin}, sandbox.ErrCPU, "instantiate"},
		"a trap in the start section":       {guest{init: []op{trap}}, nil, "instantiate"},
		"_initialize traps":                 {guest{exports: map[string][2]string{"_initialize": {"", ""}}}, nil, "_initialize"},
		"_initialize has parameters":        {guest{exports: map[string][2]string{"_initialize": {"i", ""}}}, nil, "_initialize"},
		"an exchange in _start":             {guest{start: []op{do("get_method", buffer, 9)}}, errNoExchange, "get_method"},
		"an exchange in the start section":  {guest{init: []op{do("write_body", 1, "a")}}, errNoExchange, "write_body"},
		"a function nobody knows":           {guest{imports: [][3]string{{hostModule, "get_nothing", "i"}}}, errUnknownImport, "get_nothing"},
		"a function with other parameters":  {guest{imports: [][3]string{{hostModule, "get_uri", "iii"}}}, nil, "get_uri"},
		"all is well":                       {guest{}, nil, ""},
		"functions of others are only told": {guest{imports: [][3]string{{"env", "other", "i"}}}, nil, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := load(t, test.g.module(), nil)
			if (b.err != nil) != (test.text != "") || test.err != nil && !errors.Is(b.err, test.err) || b.err != nil && !strings.Contains(b.err.Error(), test.text) {
				t.Errorf("got %v; want %v in %q", b.err, test.err, test.text)
			}
		})
	}
}

// TestStartFunctions: features, configuration and log work while the guest
// starts, and count for each exchange.
func TestStartFunctions(t *testing.T) {
	steps := []op{do("enable_features", bufferResponse), do("get_config", buffer, 100), do("log", 1, "starting"), do("log_enabled", 0), do("enable_features", trailers)}
	for name, g := range map[string]*guest{"start section": {init: steps, next: 1}, "_start": {start: steps, next: 1}} {
		t.Run(name, func(t *testing.T) {
			g.response = []op{do("enable_features", 0), do("set_status_code", 404)}
			b := start(t, g, nil)
			if got := b.results(requestAt, 5); got[0] != 2 || got[1] != 6 || got[3] != 1 || got[4] != 6 {
				t.Errorf("got %v; want the features 2, then 6, a configuration of 6 bytes", got)
			}
			if got := b.text(6); got != "config" {
				t.Errorf("got %q; want the configuration", got)
			}
			if got := b.log.String(); !strings.Contains(got, "warn\tstarting") {
				t.Errorf("got %q; want the guest's line", got)
			}
			x := newExchange()
			b.pass(x, func() { respondWith(x, 200) })
			if got := b.results(responseAt, 1)[0]; got != 6 || x.Response.Status != 404 {
				t.Errorf("got features %d, status %d; want 6, 404", got, x.Response.Status)
			}
		})
	}
}

func TestFeaturesOfOneExchange(t *testing.T) {
	b := start(t, &guest{start: []op{do("enable_features", bufferRequest)}, next: 1,
		request: []op{do("enable_features", 0), do("enable_features", trailers)}, response: []op{do("enable_features", bufferResponse)}}, nil)
	for range 2 {
		x := newExchange()
		b.pass(x, func() { respondWith(x, 200) })
		if got := b.results(requestAt, 2); got[0] != 1 || got[1] != 5 {
			t.Errorf("got %v; want 1, then 5: what an exchange enables is its own", got)
		}
		if got := b.results(responseAt, 1)[0]; got != 5 {
			t.Errorf("got %d; want 5: too late", got)
		}
	}
}

func TestLog(t *testing.T) {
	b := start(t, &guest{next: 1, request: []op{do("log", -1, "a debug line"), do("log", 0, "an info line"), do("log", 1, "a warn line"),
		do("log", 2, "an error line"), do("log", 3, "none"), do("log", 99, "none"), do("log", 0, ""), do("log", 0, "bad \xff")}}, nil)
	x := newExchange()
	b.pass(x, func() { respondWith(x, 200) })
	got := b.log.String()
	for _, want := range []string{"info\tan info line", "warn\ta warn line", "error\tan error line", "bad \uFFFD"} {
		if !strings.Contains(got, want) {
			t.Errorf("got %q; want %q in it", got, want)
		}
	}
	if strings.Contains(got, "debug") || strings.Contains(got, "none") {
		t.Errorf("got %q; want neither debug lines nor those of level none", got)
	}
	flood := start(t, &guest{next: 1, request: repeat(do("log", 0, "x"), 3*capability.LogsPerSecond)}, nil)
	flood.pass(newExchange(), func() {})
	if n := strings.Count(flood.log.String(), "\n"); n > 2*capability.LogsPerSecond+5 {
		t.Errorf("got %d lines; want a bound", n)
	}
}
