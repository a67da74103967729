package cel

import (
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"
	"time"
)

// values are attributes by their path, joined with dots.
type values map[string]any

func (v values) Attribute(path []string) any { return v[strings.Join(path, ".")] }

func testEngine(tb testing.TB) *Engine {
	tb.Helper()
	e, err := New()
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

func u64(n uint64) string { return string(binary.LittleEndian.AppendUint64(nil, n)) }

var sample = values{
	"request": Group{}, "request.path": "/a?b", "request.size": int64(7), "request.time": time.Unix(5, 6), "request.duration": 3 * time.Second,
	"request.headers": map[string]string{"x-a": "1", "x-b": "2"}, "node": Group{}, "node.metadata": Group{}, "node.metadata.NAME": "n", "key": []byte{0, 1},
	"connection": Group{}, "connection.id": uint64(9), "connection.mtls": true, "long": strings.Repeat("a", 60<<10),
}

func TestEvaluate(t *testing.T) {
	tests := map[string]string{
		`request.path`:     "/a?b",
		`request["path"]`:  "/a?b",
		`request.size + 1`: u64(8),
		`request.time`:     u64(5*1e9 + 6),
		`request.time + duration("1s") == timestamp("1970-01-01T00:00:06.000000006Z")`: "\x01",
		`request.duration`:                    u64(3e9),
		`connection.id`:                       u64(9),
		`connection.mtls`:                     "\x01",
		`1.5`:                                 u64(math.Float64bits(1.5)),
		`key`:                                 "\x00\x01",
		`node.metadata.NAME + "!"`:            "n!",
		`has(request.referer) ? "yes" : "no"`: "no",
		`has(request.path) && request.path.startsWith("/")`: "\x01",
		`"x-a" in request.headers`:                          "\x01",
		`request.headers["x-b"]`:                            "2",
		`request.headers.exists(h, h.startsWith("x-"))`:     "\x01",
		`request.headers.all(h, h in ["x-a", "x-b"])`:       "\x01",
		`request.path.matches("^/[a-z]")`:                   "\x01",
		`["a", "b"]`:                                        "\x02\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00a\x00\x00b\x00\x00",
		`{"k": "v"}`:                                        "\x01\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00k\x00v\x00",
		`request.path == "/a?b" || nothing`:                 "\x01",
		strings.Repeat("1 + ", 40) + "1":                    u64(41),
	}
	e := testEngine(t)
	for text, want := range tests {
		x, err := e.Compile(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got, _, err := x.Evaluate(sample); err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v; want %q", text, got, err, want)
		}
	}
}

func TestRefusedTexts(t *testing.T) {
	e := testEngine(t)
	for name, text := range map[string]string{
		"empty": "", "no expression": "a +", "unknown function": `nobody(1)`, "too long": strings.Repeat("a", MaxText+1), "a message": `google.protobuf.Struct{}`,
		"nested too deep": strings.Repeat("(", 200) + "1" + strings.Repeat(")", 200), "many brackets": strings.Repeat("[", 2000), "map": `[1].map(a, [a, a])`, "filter": `[1].filter(a, true)`,
		"a value that grows in a loop": `[[1]].exists(a, [[a, a]].exists(b, [b, b] == [b, b]))`, "NUL": "\x00", "not UTF-8": "\xff\xfe", "an accumulator": "__result__ + @result",
	} {
		if _, err := e.Compile(text); !errors.Is(err, ErrText) {
			t.Errorf("%s: got %v; want ErrText", name, err)
		}
	}
}

func TestFailures(t *testing.T) {
	e := testEngine(t)
	for name, test := range map[string]struct {
		text  string
		value bool // there is one
	}{
		"an unknown variable":      {`nothing`, false},
		"a missing attribute":      {`request.nothing`, false},
		"a division by zero":       {`1 / 0`, false},
		"other types":              {`1 + "a"`, false},
		"a time zone":              {`request.time.getHours("Europe/Berlin") == 1`, false},
		"a text that grows":        {strings.Repeat("long + ", 80) + "long", false},
		"a result too large":       {`[long, long]`, true},
		"nothing":                  {`null`, true},
		"a type":                   {`type(1)`, true},
		"attributes":               {`request`, true},
		"a list of lists":          {`[[1]]`, true},
		"a time beyond 64 bits":    {`timestamp("9999-01-01T00:00:00Z")`, true},
		"many loops":               {`request.headers.all(a, request.headers.all(b, request.headers.all(c, [1,2,3,4,5,6,7,8,9,0].all(d, [1,2,3,4,5,6,7,8,9,0].all(e, [1,2,3,4,5,6,7,8,9,0].all(f, [1,2,3,4,5,6,7,8,9,0].all(g, d + e + f + g >= 0)))))))`, false},
		"a pattern that is long":   {`request.path.matches("` + strings.Repeat("a", 300) + `")`, false},
		"a pattern that grows":     {`request.path.matches("((((a{1,30}){1,30})b{1,1000})c{1,1000}){1}")`, false},
		"a pattern on a long text": {`long.matches("(a|b|c|d)*e")`, false},
		"a bad pattern":            {`request.path.matches("(")`, false},
	} {
		x, err := e.Compile(test.text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		begin := time.Now()
		_, cost, err := x.Evaluate(sample)
		if err == nil || errors.Is(err, ErrValue) != test.value {
			t.Errorf("%s: got %v; want a value: %v", name, err, test.value)
		}
		if took := time.Since(begin); took > 2*time.Second || cost > 2*MaxCost {
			t.Errorf("%s: took %v and cost %d", name, took, cost)
		}
	}
}

// FuzzCompile: what compiles is evaluated within its cost, and its result has
// the size and the meaning that the encoding says.
func FuzzCompile(f *testing.F) {
	for _, seed := range []string{`request.path`, `has(a.b) ? 1 : 2u`, `{"a": 1}`, `[1].exists(a, a == 1)`, `"a".matches("(a+)+$")`, "\xff", `b"\xff" + key`} {
		f.Add(seed)
	}
	e := testEngine(f)
	f.Fuzz(func(t *testing.T, text string) {
		late := time.AfterFunc(5*time.Second, func() { panic("takes too long: " + text) })
		defer late.Stop()
		x, err := e.Compile(text)
		if err != nil {
			if !errors.Is(err, ErrText) {
				t.Fatalf("got %v; want ErrText", err)
			}
			return
		}
		value, cost, err := x.Evaluate(sample)
		if len(value) > MaxResult || cost > 2*MaxCost {
			t.Fatalf("%d bytes for %d", len(value), cost)
		}
		again, _, err2 := x.Evaluate(sample)
		if (err == nil) != (err2 == nil) || err == nil && len(again) != len(value) {
			t.Fatalf("got %q, %v, then %q, %v", value, err, again, err2)
		}
	})
}
