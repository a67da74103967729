package rfc9111

import (
	"math"
	"testing"
	"time"
)

// RFC 9111, 4.2.3.
func TestCurrentAge(t *testing.T) {
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	tests := map[string]struct {
		age            time.Duration
		date, received int
		now            int
		want           time.Duration
	}{
		"just received":                                  {0, 0, 0, 0, 0},
		"the time since":                                 {0, 0, 0, 7, 7 * time.Second},
		"the origin's delay counts":                      {0, 2, 2, 7, 7 * time.Second},
		"Age counts":                                     {30 * time.Second, 0, 0, 7, 37 * time.Second},
		"Age and the delay count":                        {30 * time.Second, 2, 2, 7, 37 * time.Second},
		"Date counts if it says more":                    {30 * time.Second, -100, 0, 7, 107 * time.Second},
		"a Date ahead does not":                          {0, 500, 0, 7, 7 * time.Second},
		"a clock that was set back stands still":         {30 * time.Second, 0, 0, -600, 30 * time.Second},
		"by more: that counts as age":                    {30 * time.Second, 0, 0, -601, 631 * time.Second},
		"a clock that was years ahead":                   {0, 0, 0, -99999999, 99999999 * time.Second},
		"a request that was sent after the answer came":  {0, -5, -5, 0, 5 * time.Second},
		"a Date of the distant past is bounded to 2^32s": {0, -9000000000, 0, 0, 2 * maxSeconds * time.Second},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := Facts{Received: at(tt.received).UnixMilli(), InitialAge: initialAge(tt.age, time.Unix(start.Unix()+int64(tt.date), 0), start, at(tt.received))}
			if got := f.Age(at(tt.now)); got != tt.want {
				t.Errorf("got %v; want %v", got, tt.want)
			}
		})
	}
}

// Date has no fractions of a second: a response that came at once is not old because of
// them, and the time since counts in full.
func TestAgeFractions(t *testing.T) {
	now := start.Add(900 * time.Millisecond)
	f := Facts{Received: now.UnixMilli(), InitialAge: initialAge(0, start, now, now), Lifetime: time.Second}
	if age := f.Age(now); age != 0 {
		t.Errorf("at once: got %v; want 0", age)
	}
	if !f.Fresh(now.Add(999*time.Millisecond)) || f.Fresh(now.Add(time.Second)) {
		t.Error("it is not fresh for just a second")
	}
}

func TestAgeNeverOverflows(t *testing.T) {
	f := Facts{Received: math.MinInt64 / 2, InitialAge: 2 * maxSeconds * time.Second, Lifetime: maxSeconds * time.Second}
	if age := f.Age(start); age != 3*maxSeconds*time.Second {
		t.Errorf("got %v", age)
	}
	if f.TTL(start) >= 0 || f.Fresh(start) || f.Reuse(RequestDirectives{}, start) != Revalidate {
		t.Errorf("fresh after the greatest age: %v", f.TTL(start))
	}
	if got := string(f.AppendAge(nil, start)); got != "2147483648" {
		t.Errorf("Age: %s; want 2147483648", got)
	}
	f = Facts{Received: math.MaxInt64, InitialAge: 2 * maxSeconds * time.Second}
	if age := f.Age(start); age != 3*maxSeconds*time.Second {
		t.Errorf("of the far future: got %v", age)
	}
	f = Facts{Received: start.UnixMilli(), InitialAge: 1500 * time.Millisecond}
	if got := string(f.AppendAge([]byte("x"), start)); got != "x1" {
		t.Errorf("Age: %s; want x1", got)
	}
}

// RFC 9111, 4.2.4 and 5.2.1; RFC 5861; RFC 8246. The response is fresh for 60 s.
func TestReuse(t *testing.T) {
	const s = time.Second
	plain := Facts{Lifetime: 60 * s}
	grace := Facts{Lifetime: 60 * s, StaleWhileRevalidate: 30 * s, StaleIfError: 90 * s}
	strict := Facts{Lifetime: 60 * s, Flags: MustRevalidate}
	noCache := Facts{Lifetime: 60 * s, Flags: NoCache}
	immutable := Facts{Lifetime: 60 * s, Flags: Immutable}
	tests := map[string]struct {
		f       Facts
		request string
		age     time.Duration
		want    Verdict
		onError bool
	}{
		"fresh":                                         {plain, "", 59 * s, Fresh, true},
		"no longer, at its very end":                    {plain, "", 60 * s, Revalidate, false},
		"stale":                                         {plain, "", 61 * s, Revalidate, false},
		"stale-while-revalidate":                        {grace, "", 89 * s, StaleWhileRevalidate, true},
		"stale-while-revalidate that ran out":           {grace, "", 90 * s, Revalidate, true},
		"stale-if-error at its end":                     {grace, "", 150 * s, Revalidate, true},
		"stale-if-error that ran out":                   {grace, "", 151 * s, Revalidate, false},
		"must-revalidate, fresh":                        {strict, "", 59 * s, Fresh, true},
		"must-revalidate, stale":                        {strict, "", 60 * s, Revalidate, false},
		"must-revalidate against max-stale":             {strict, "max-stale", 60 * s, Revalidate, false},
		"must-revalidate against a stale-if-error":      {strict, "stale-if-error=999", 60 * s, Revalidate, false},
		"no-cache of the response":                      {noCache, "max-stale", 1 * s, Revalidate, false},
		"no-cache of the request":                       {grace, "no-cache", 1 * s, Revalidate, false},
		"no-cache of the request, immutable":            {immutable, "no-cache", 1 * s, Revalidate, false},
		"max-age of the request, young enough":          {plain, "max-age=5", 5 * s, Fresh, true},
		"max-age of the request, too old":               {plain, "max-age=5", 6 * s, Revalidate, true},
		"max-age of 0":                                  {plain, "max-age=0", 1 * s, Revalidate, true},
		"max-age that is no number":                     {plain, "max-age=x", 1 * s, Revalidate, true},
		"a reload of what is immutable":                 {immutable, "max-age=0", 1 * s, Fresh, true},
		"a reload of what was immutable":                {immutable, "max-age=0", 60 * s, Revalidate, false},
		"max-age of the request in grace":               {grace, "max-age=70", 71 * s, Revalidate, true},
		"max-age of the request in grace, young enough": {grace, "max-age=80", 71 * s, Revalidate, true},
		"the same, and max-stale":                       {grace, "max-age=80, max-stale=1", 71 * s, StaleWhileRevalidate, true},
		"min-fresh, fresh enough":                       {plain, "min-fresh=10", 50 * s, Fresh, true},
		"min-fresh, not fresh enough":                   {plain, "min-fresh=10", 51 * s, Revalidate, true},
		"min-fresh against grace":                       {grace, "min-fresh=10", 61 * s, Revalidate, true},
		"max-stale that suffices":                       {plain, "max-stale=10", 70 * s, StaleWhileRevalidate, true},
		"max-stale that does not":                       {plain, "max-stale=10", 71 * s, Revalidate, false},
		"max-stale without argument":                    {plain, "max-stale", 99999 * s, StaleWhileRevalidate, true},
		"stale-if-error of the request":                 {plain, "stale-if-error=10", 70 * s, Revalidate, true},
		"stale-if-error of the request that ran out":    {plain, "stale-if-error=10", 71 * s, Revalidate, false},
		"only-if-cached changes nothing here":           {plain, "only-if-cached", 61 * s, Revalidate, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := tt.f
			f.Received = start.UnixMilli()
			rd := RequestDirectives{}
			if tt.request != "" {
				rd = Directives(header("Cache-Control: "+tt.request), 0)
			}
			now := start.Add(tt.age)
			if got := f.Reuse(rd, now); got != tt.want {
				t.Errorf("reuse: got %v; want %v", got, tt.want)
			}
			if got := f.OnError(rd, now); got != tt.onError {
				t.Errorf("on error: got %v; want %v", got, tt.onError)
			}
		})
	}
}

// What Store computes of a response: RFC 5861, RFC 8246, and what forbids to serve
// stale (RFC 9111, 4.2.4).
func TestStoreFacts(t *testing.T) {
	const s = time.Second
	o := Options{StaleWhileRevalidate: 5 * s, StaleIfError: 6 * s}
	tests := map[string]struct {
		lines []string
		o     Options
		want  Facts
	}{
		"a lifetime":                       {[]string{"Cache-Control: max-age=60"}, Options{}, Facts{Lifetime: 60 * s, Flags: Explicit}},
		"s-maxage forbids stale":           {[]string{"Cache-Control: s-maxage=60, stale-while-revalidate=9"}, o, Facts{Lifetime: 60 * s, Flags: Explicit | MustRevalidate}},
		"proxy-revalidate forbids stale":   {[]string{"Cache-Control: max-age=60, proxy-revalidate"}, o, Facts{Lifetime: 60 * s, Flags: Explicit | MustRevalidate}},
		"must-revalidate=1 does too":       {[]string{"Cache-Control: max-age=60, must-revalidate=1"}, o, Facts{Lifetime: 60 * s, Flags: Explicit | MustRevalidate}},
		"must-revalidate in junk does too": {[]string{"Cache-Control: max-age=60, must-revalidate; x"}, o, Facts{Lifetime: 60 * s, Flags: Explicit | MustRevalidate}},
		"configured grace":                 {[]string{"Cache-Control: max-age=60"}, o, Facts{Lifetime: 60 * s, StaleWhileRevalidate: 5 * s, StaleIfError: 6 * s, Flags: Explicit}},
		"the response's own grace":         {[]string{"Cache-Control: max-age=60, stale-while-revalidate=1, stale-if-error=0"}, o, Facts{Lifetime: 60 * s, StaleWhileRevalidate: s, Flags: Explicit}},
		"grace that is no number is none":  {[]string{"Cache-Control: max-age=60, stale-while-revalidate, stale-if-error=x"}, o, Facts{Lifetime: 60 * s, Flags: Explicit}},
		"immutable":                        {[]string{"Cache-Control: max-age=60, immutable"}, Options{}, Facts{Lifetime: 60 * s, Flags: Explicit | Immutable}},
		"no-cache":                         {[]string{"Cache-Control: no-cache, max-age=60", "ETag: \"a\""}, o, Facts{Lifetime: 60 * s, Flags: Explicit | NoCache | Validator}},
		"the heuristic":                    {[]string{"Last-Modified: " + at(-100)}, Options{}, Facts{Lifetime: 10 * s, Flags: Heuristic | Validator}},
		"TTL":                              {nil, Options{TTL: 7 * s}, Facts{Lifetime: 7 * s}},
		"Age":                              {[]string{"Cache-Control: max-age=60", "Age: 9"}, Options{}, Facts{Lifetime: 60 * s, InitialAge: 9 * s, Flags: Explicit}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.want.Status, tt.want.Date, tt.want.Received = 200, start.UnixMilli(), start.UnixMilli()
			h := header(append([]string{"Date: " + at(0)}, tt.lines...)...)
			got, ok, reason := Store([]byte("GET"), false, RequestDirectives{}, 200, h, start, start, &tt.o)
			if !ok || got != tt.want {
				t.Errorf("got %+v, %q; want %+v", got, reason, tt.want)
			}
		})
	}
}

// RFC 5861, 4.
func TestErrorStatus(t *testing.T) {
	for status, want := range map[int]bool{200: false, 404: false, 429: false, 500: true, 501: false, 502: true, 503: true, 504: true, 505: false} {
		if got := ErrorStatus(status); got != want {
			t.Errorf("%d: got %v; want %v", status, got, want)
		}
	}
}
