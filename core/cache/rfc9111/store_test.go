package rfc9111

import (
	"testing"
	"time"
)

// stored is one row: a response to a GET is offered to Store, and asked for again later.
type stored struct {
	status  int      // 0: 200
	header  []string // Date is at(0) unless it has one; "-Date" takes it away
	request []string // Cache-Control or Pragma of the request that stores
	options Options
	auth    bool
	later   int           // seconds until it is asked for; 0: 3
	delay   time.Duration // that the origin took
	want    Verdict
	reason  string // why it is not stored
}

func (s stored) check(t *testing.T) {
	t.Helper()
	lines, date := s.header, true
	for i, l := range lines {
		if l == "-Date" {
			lines, date = append(append([]string(nil), lines[:i]...), lines[i+1:]...), false
			break
		}
		date = date && len(l) > 5 && l[:5] != "Date:"
	}
	if date {
		lines = append([]string{"Date: " + at(0)}, lines...)
	}
	if s.status == 0 {
		s.status = 200
	}
	if s.later == 0 {
		s.later = 3
	}
	received := start.Add(s.delay)
	f, ok, reason := Store([]byte("GET"), s.auth, Directives(header(s.request...), s.options.Ignore), s.status, header(lines...), start, received, &s.options)
	if ok != (s.reason == "") || reason != s.reason {
		t.Fatalf("stored %v, %q; want %q", ok, reason, s.reason)
	}
	if !ok {
		if f != (Facts{}) {
			t.Errorf("facts of what is not stored: %+v", f)
		}
		return
	}
	if got := f.Reuse(RequestDirectives{}, received.Add(time.Duration(s.later)*time.Second)); got != s.want {
		t.Errorf("got %v; want %v (%+v)", got, s.want, f)
	}
}

func run(t *testing.T, tests map[string]stored) {
	for name, tt := range tests {
		t.Run(name, tt.check)
	}
}

// RFC 9111, 4.2.1 and 5.2.2: Cache-Control.
func TestFreshnessOfCacheControl(t *testing.T) {
	run(t, map[string]stored{
		"nothing is said":                                    {reason: ReasonNoFreshness},
		"nothing but a validator is said":                    {header: []string{"ETag: \"a\""}, reason: ReasonNoFreshness},
		"max-age":                                            {header: []string{"Cache-Control: max-age=3600"}, want: Fresh},
		"max-age of 0":                                       {header: []string{"Cache-Control: max-age=0"}, reason: ReasonStale},
		"max-age of 0 with a validator":                      {header: []string{"Cache-Control: max-age=0", "ETag: \"a\""}, want: Revalidate},
		"max-age of 2^31-1":                                  {header: []string{"Cache-Control: max-age=2147483647"}, want: Fresh},
		"max-age of 2^31":                                    {header: []string{"Cache-Control: max-age=2147483648"}, want: Fresh},
		"max-age of 2^31+1":                                  {header: []string{"Cache-Control: max-age=2147483649"}, want: Fresh},
		"max-age of more":                                    {header: []string{"Cache-Control: max-age=99999999999"}, want: Fresh},
		"max-age that ran out":                               {header: []string{"Cache-Control: max-age=2"}, want: Revalidate},
		"Age above max-age":                                  {header: []string{"Cache-Control: max-age=3600", "Age: 7200"}, reason: ReasonStale},
		"Date long before":                                   {header: []string{"Cache-Control: max-age=3600", "Date: " + at(-7200)}, reason: ReasonStale},
		"max-age beats a past Expires":                       {header: []string{"Cache-Control: max-age=3600", "Expires: " + at(-7200)}, want: Fresh},
		"max-age beats an invalid Expires":                   {header: []string{"Cache-Control: max-age=3600", "Expires: 0"}, want: Fresh},
		"max-age of 0 beats a future Expires":                {header: []string{"Cache-Control: max-age=0", "Expires: " + at(3600)}, reason: ReasonStale},
		"an unknown directive beside it":                     {header: []string{"Cache-Control: foobar, max-age=3600"}, want: Fresh},
		"case does not matter":                               {header: []string{"Cache-Control: MaX-aGe=3600"}, want: Fresh},
		"a negative max-age":                                 {header: []string{"Cache-Control: max-age=-3600"}, reason: ReasonStale},
		"s-maxage":                                           {header: []string{"Cache-Control: s-maxage=3600"}, want: Fresh},
		"s-maxage below max-age":                             {header: []string{"Cache-Control: max-age=3600, s-maxage=1"}, want: Revalidate},
		"s-maxage below max-age, first":                      {header: []string{"Cache-Control: s-maxage=1, max-age=3600"}, want: Revalidate},
		"s-maxage below max-age, on another line":            {header: []string{"Cache-Control: max-age=3600", "Cache-Control: s-maxage=1"}, want: Revalidate},
		"s-maxage above max-age":                             {header: []string{"Cache-Control: max-age=1, s-maxage=3600"}, want: Fresh},
		"s-maxage above max-age of 0 and a past Expires":     {header: []string{"Expires: " + at(-10), "Cache-Control: max-age=0, s-maxage=3600"}, want: Fresh},
		"a quoted max-age":                                   {header: []string{"Cache-Control: max-age=\"3600\""}, want: Fresh},
		"a max-age in apostrophes":                           {header: []string{"Cache-Control: max-age='3600'"}, reason: ReasonStale},
		"a string that holds max-age, before it":             {header: []string{"Cache-Control: extension=\"max-age=3600\", max-age=1"}, want: Revalidate},
		"a string that holds max-age, after it":              {header: []string{"Cache-Control: max-age=1, extension=\"max-age=3600\""}, want: Revalidate},
		"a string that holds max-age, before a quoted one":   {header: []string{"Cache-Control: extension=\"max-age=3600\", max-age=\"1\""}, want: Revalidate},
		"a string that holds max-age, after a quoted one":    {header: []string{"Cache-Control: max-age=\"1\", extension=\"max-age=3600\""}, want: Revalidate},
		"leading zeros":                                      {header: []string{"Cache-Control: max-age=003600"}, want: Fresh},
		"a decimal":                                          {header: []string{"Cache-Control: max-age=3600.0"}, reason: ReasonStale},
		"a letter first":                                     {header: []string{"Cache-Control: max-age=a3600"}, reason: ReasonStale},
		"a letter last":                                      {header: []string{"Cache-Control: max-age=3600a"}, reason: ReasonStale},
		"a space before the equals sign":                     {header: []string{"Cache-Control: max-age =3600"}, reason: ReasonStale},
		"a space after the equals sign":                      {header: []string{"Cache-Control: max-age= 3600"}, reason: ReasonStale},
		"no argument":                                        {header: []string{"Cache-Control: max-age"}, reason: ReasonStale},
		"two values, the lesser first":                       {header: []string{"Cache-Control: max-age=1, max-age=1800"}, want: Revalidate},
		"two values, the lesser last":                        {header: []string{"Cache-Control: max-age=1800, max-age=1"}, want: Revalidate},
		"two values on two lines":                            {header: []string{"Cache-Control: max-age=1800", "Cache-Control: max-age=1"}, want: Revalidate},
		"semicolons between directives":                      {header: []string{"Cache-Control: max-age=60; public"}, reason: ReasonStale},
		"more than 16 KiB":                                   {header: []string{"Cache-Control: max-age=60," + string(make([]byte, 17<<10))}, reason: ReasonNoStore},
		"must-revalidate while it is fresh":                  {header: []string{"Cache-Control: max-age=60, must-revalidate"}, want: Fresh},
		"a Lifetime that the origin's delay has used up":     {header: []string{"Cache-Control: max-age=5"}, delay: 6 * time.Second, reason: ReasonStale},
		"an invalid s-maxage is stale whatever max-age says": {header: []string{"Cache-Control: max-age=60, s-maxage=x"}, reason: ReasonStale},
	})
}

// RFC 9111, 5.1.
func TestAge(t *testing.T) {
	row := func(lines ...string) []string { return append(lines, "Cache-Control: max-age=3600") }
	run(t, map[string]stored{
		"a small one":                          {header: row("Age: 30"), want: Fresh},
		"it counts into age":                   {header: row("Age: 3598"), want: Revalidate},
		"no number":                            {header: row("Age: abc"), reason: ReasonStale},
		"a negative one":                       {header: row("Age: -7200"), reason: ReasonStale},
		"a decimal":                            {header: row("Age: 7200.0"), reason: ReasonStale},
		"an empty one":                         {header: row("Age:"), reason: ReasonStale},
		"old, then 0":                          {header: row("Age: 7200,0"), reason: ReasonStale},
		"0, then old: the first member counts": {header: row("Age: 0,7200"), want: Fresh},
		"two lines, old first":                 {header: row("Age: 7200", "Age: 0"), reason: ReasonStale},
		"two lines, old last":                  {header: row("Age: 0", "Age: 7200"), reason: ReasonStale},
		"two lines that were joined":           {header: row("Age: 0, 0"), reason: ReasonStale},
		"two lines of 0":                       {header: row("Age: 0", "Age: 0"), reason: ReasonStale},
		"two lines joined, not stale by value": {header: []string{"Cache-Control: max-age=10000", "Age: 3600, 3600"}, reason: ReasonStale},
		"a parameter":                          {header: row("Age: 7200;foo=bar"), reason: ReasonStale},
		"a number as parameter":                {header: row("Age: 7200;foo=111"), reason: ReasonStale},
		"a comma after it":                     {header: row("Age: 30,"), want: Fresh},
		"one that overflows":                   {header: row("Age: 99999999999999999999"), reason: ReasonStale},
		"not valid, but there is a validator":  {header: row("Age: abc", "ETag: \"a\""), want: Revalidate},
	})
}

// RFC 9111, 5.3.
func TestExpires(t *testing.T) {
	run(t, map[string]stored{
		"in the future":                          {header: []string{"Expires: " + at(30*86400)}, want: Fresh},
		"in the past":                            {header: []string{"Expires: " + at(-30*86400)}, reason: ReasonStale},
		"now":                                    {header: []string{"Expires: " + at(0)}, reason: ReasonStale},
		"before a Date that is ahead":            {header: []string{"Expires: " + at(300), "Date: " + at(400)}, reason: ReasonStale},
		"no date":                                {header: []string{"Expires: 0"}, reason: ReasonStale},
		"empty":                                  {header: []string{"Expires:"}, reason: ReasonStale},
		"with an invalid Date":                   {header: []string{"Expires: " + at(10), "Date: foo"}, want: Fresh},
		"without Date":                           {header: []string{"Expires: " + at(10), "-Date"}, want: Fresh},
		"with Age above it, and Date behind":     {header: []string{"Date: " + at(-10), "Expires: " + at(10), "Age: 25"}, reason: ReasonStale},
		"with Age above it, and Date ahead":      {header: []string{"Date: " + at(10), "Expires: " + at(20), "Age: 15"}, reason: ReasonStale},
		"of RFC 850":                             {header: []string{"Expires: Thursday, 18-Aug-50 02:01:18 GMT"}, want: Fresh},
		"of asctime":                             {header: []string{"Expires: Thu Aug  8 02:01:18 2050"}, want: Fresh},
		"in another zone":                        {header: []string{"Expires: Thu, 18 Aug 2050 02:01:18 AEST"}, reason: ReasonStale},
		"twice, of which the earliest counts":    {header: []string{"Expires: " + at(900), "Expires: " + at(2)}, want: Revalidate},
		"twice, of which one is none":            {header: []string{"Expires: " + at(900), "Expires: 0"}, reason: ReasonStale},
		"later than 68 years":                    {header: []string{"Expires: Fri, 31 Dec 9999 23:59:59 GMT"}, want: Fresh},
		"with a Date of the year 1":              {header: []string{"Expires: " + at(900), "Date: Mon, 01 Jan 0001 00:00:00 GMT"}, reason: ReasonStale},
		"and an attachment, which does not care": {header: []string{"Expires: " + at(900), "Content-Disposition: attachment"}, want: Fresh},
	})
}

// RFC 9111, 3 and 5.2.2.
func TestStore(t *testing.T) {
	long := "Cache-Control: max-age=10000"
	run(t, map[string]stored{
		"private":                                         {header: []string{"Cache-Control: private, max-age=3600"}, reason: ReasonPrivate},
		"private with and without names":                  {header: []string{long, "Cache-Control: private, private=\"a\""}, reason: ReasonPrivate},
		"no-store before junk":                            {header: []string{long, "Cache-Control: no-store, x y"}, reason: ReasonNoStore},
		"must-understand in junk":                         {status: 599, header: []string{long, "Cache-Control: must-understand; x"}, reason: ReasonMustUnderstand},
		"two tags are no validator":                       {header: []string{"Cache-Control: no-cache", "ETag: \"a\"", "ETag: \"b\""}, reason: ReasonNoCache},
		"private, ignored, permits nothing":               {status: 302, header: []string{"Cache-Control: private", "ETag: \"a\""}, options: Options{Ignore: IgnorePrivate}, reason: ReasonNoFreshness},
		"nor does a consumer in the key":                  {status: 302, header: []string{"Cache-Control: must-revalidate", "ETag: \"a\""}, options: Options{Consumer: true}, reason: ReasonNoFreshness},
		"private permits where the consumer is in it":     {status: 302, header: []string{"Cache-Control: private", "ETag: \"a\""}, options: Options{Consumer: true}, want: Revalidate},
		"private with an argument that names nothing":     {header: []string{long, "Cache-Control: private=\"\""}, reason: ReasonPrivate},
		"private with names":                              {header: []string{long, "Cache-Control: private=\"x-a, x-b\""}, want: Fresh},
		"private with more names than we take":            {header: []string{long, "Cache-Control: private=\"a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q\""}, reason: ReasonPrivate},
		"private in junk":                                 {header: []string{long, "Cache-Control: private; x"}, reason: ReasonPrivate},
		"private in a string without end":                 {header: []string{"Cache-Control: max-age=100, a=\"b, private"}, reason: ReasonPrivate},
		"private, where the consumer is in the key":       {header: []string{"Cache-Control: private, max-age=3600"}, options: Options{Consumer: true}, want: Fresh},
		"private, ignored":                                {header: []string{"Cache-Control: private, max-age=3600"}, options: Options{Ignore: IgnorePrivate}, want: Fresh},
		"no-store":                                        {header: []string{"Cache-Control: no-store"}, reason: ReasonNoStore},
		"no-store in another case":                        {header: []string{"Cache-Control: No-StOrE"}, reason: ReasonNoStore},
		"no-store beside lifetimes":                       {header: []string{"Cache-Control: max-age=10000, no-store", "Expires: " + at(10000)}, reason: ReasonNoStore},
		"no-store with an argument":                       {header: []string{long, "Cache-Control: no-store=x"}, reason: ReasonNoStore},
		"no-store, ignored":                               {header: []string{"Cache-Control: max-age=10000, no-store"}, options: Options{Ignore: IgnoreNoStore}, want: Fresh},
		"no-store of the request":                         {header: []string{long}, request: []string{"Cache-Control: no-store"}, reason: ReasonRequestNoStore},
		"no-store of the request, ignored":                {header: []string{long}, request: []string{"Cache-Control: no-store"}, options: Options{Ignore: IgnoreRequest}, want: Fresh},
		"no-cache without a validator":                    {header: []string{"Cache-Control: max-age=10000, no-cache"}, reason: ReasonNoCache},
		"no-cache in another case":                        {header: []string{"Cache-Control: max-age=10000, No-CaChE"}, reason: ReasonNoCache},
		"no-cache with a validator":                       {header: []string{"Cache-Control: no-cache", "ETag: \"abcd\""}, want: Revalidate},
		"no-cache with a validator and lifetimes":         {header: []string{"Cache-Control: max-age=10000, no-cache", "Expires: " + at(10000), "ETag: \"abcd\""}, want: Revalidate},
		"no-cache with names":                             {header: []string{"Cache-Control: no-cache=\"a, b\"", "Cache-Control: max-age=3600"}, want: Fresh},
		"no-cache with what is no name":                   {header: []string{"Cache-Control: no-cache=\"a b\", max-age=3600"}, reason: ReasonNoCache},
		"no-cache, ignored":                               {header: []string{"Cache-Control: max-age=10000, no-cache"}, options: Options{Ignore: IgnoreNoCache}, want: Fresh},
		"no-cache does not serve in grace":                {header: []string{"Cache-Control: no-cache, stale-while-revalidate=99", "ETag: \"a\""}, want: Revalidate},
		"pragma beside cache-control":                     {header: []string{long, "Pragma: no-cache"}, want: Fresh},
		"pragma against the heuristic":                    {header: []string{"Last-Modified: " + at(-10000), "Pragma: no-cache"}, reason: ReasonNoFreshness},
		"another pragma":                                  {header: []string{"Last-Modified: " + at(-10000), "Pragma: foo"}, want: Fresh},
		"authorization":                                   {auth: true, header: []string{"Expires: " + at(86400)}, reason: ReasonAuthorization},
		"authorization with max-age":                      {auth: true, header: []string{long}, reason: ReasonAuthorization},
		"authorization with TTL":                          {auth: true, options: Options{TTL: time.Hour}, reason: ReasonAuthorization},
		"authorization with public":                       {auth: true, header: []string{"Cache-Control: max-age=3600, public"}, want: Fresh},
		"authorization with public and an argument":       {auth: true, header: []string{"Cache-Control: max-age=3600, public=1"}, reason: ReasonAuthorization},
		"authorization with must-revalidate":              {auth: true, header: []string{"Cache-Control: max-age=3600, must-revalidate"}, want: Fresh},
		"authorization with proxy-revalidate":             {auth: true, header: []string{"Cache-Control: max-age=3600, proxy-revalidate"}, reason: ReasonAuthorization},
		"authorization with s-maxage":                     {auth: true, header: []string{"Cache-Control: s-maxage=3600"}, want: Fresh},
		"authorization with an invalid s-maxage":          {auth: true, header: []string{"Cache-Control: s-maxage=x, max-age=60"}, reason: ReasonAuthorization},
		"authorization with two s-maxage, one invalid":    {auth: true, header: []string{"Cache-Control: s-maxage=60, s-maxage=x", "ETag: \"a\""}, reason: ReasonAuthorization},
		"authorization with s-maxage, ignored":            {auth: true, header: []string{"Cache-Control: s-maxage=60"}, options: Options{TTL: time.Hour, Ignore: IgnoreMaxAge}, reason: ReasonAuthorization},
		"authorization, where the consumer is in the key": {auth: true, header: []string{long}, options: Options{Consumer: true}, want: Fresh},
		"authorization, private ignored":                  {auth: true, header: []string{"Cache-Control: private, max-age=60"}, options: Options{Ignore: IgnorePrivate}, reason: ReasonAuthorization},
		"set-cookie":                                      {header: []string{"Cache-Control: max-age=3600, public, s-maxage=3600", "Set-Cookie: a=b"}, reason: ReasonSetCookie},
		"set-cookie, ignored":                             {header: []string{long, "set-cookie: a=b"}, options: Options{Ignore: IgnoreSetCookie}, want: Fresh},
		"set-cookie, where the consumer is in the key":    {header: []string{long, "Set-Cookie: a=b"}, options: Options{Consumer: true}, reason: ReasonSetCookie},
		"set-cookie that no-cache names":                  {header: []string{"Cache-Control: max-age=60, no-cache=\"Set-Cookie\"", "Set-Cookie: a=b"}, want: Fresh},
		"set-cookie that private names":                   {header: []string{"Cache-Control: max-age=60, private=Set-Cookie", "Set-Cookie: a=b"}, want: Fresh},
		"vary: *":                                         {header: []string{long, "Vary: *"}, reason: ReasonVaryStar},
		"vary: a bad name":                                {header: []string{long, "Vary: a b"}, reason: ReasonVary},
		"must-understand and a status that we know":       {header: []string{"Cache-Control: max-age=3600, must-understand, no-store"}, want: Fresh},
		"must-understand in junk permits nothing":         {header: []string{"Cache-Control: max-age=3600, no-store; must-understand"}, reason: ReasonNoStore},
		"nor does it with an argument":                    {header: []string{"Cache-Control: max-age=3600, must-understand=1, no-store"}, reason: ReasonNoStore},
		"nor so in a dictionary":                          {header: []string{"CDN-Cache-Control: max-age=3600, must-understand=1, no-store"}, reason: ReasonNoStore},
		"must-understand and a status that we do not":     {status: 599, header: []string{"Cache-Control: max-age=3600, must-understand"}, reason: ReasonMustUnderstand},
		"partial content that says which":                 {status: 206, header: []string{long, "Content-Range: bytes 4-9/10"}, want: Fresh},
		"partial content that does not":                   {status: 206, header: []string{long}, reason: ReasonPartial},
		"partial content of several ranges":               {status: 206, header: []string{long, "Content-Range: bytes 4-9/10", "Content-Type: multipart/byteranges; boundary=a"}, reason: ReasonPartial},
		"partial content is not for the heuristic":        {status: 206, header: []string{"Cache-Control: public", "Last-Modified: " + at(-99999), "Content-Range: bytes 4-9/10"}, want: Revalidate},
		"grace alone is worth it if the origin says it":   {header: []string{"Cache-Control: max-age=0, stale-if-error=60"}, want: Revalidate},
		"grace alone is not if nobody says anything":      {options: Options{StaleIfError: time.Hour}, reason: ReasonNoFreshness},
		"configured grace after a lifetime":               {header: []string{"Cache-Control: max-age=1"}, options: Options{StaleWhileRevalidate: time.Minute}, want: StaleWhileRevalidate},
	})
	if _, ok, reason := Store([]byte("POST"), false, RequestDirectives{}, 200, header(long), start, start, &Options{}); ok || reason != ReasonMethod {
		t.Errorf("POST: %v, %q; want %q", ok, reason, ReasonMethod)
	}
	if _, ok, reason := Store([]byte("HEAD"), false, RequestDirectives{}, 200, header(long), start, start, &Options{}); ok || reason != ReasonMethod {
		t.Errorf("HEAD: %v, %q; want %q", ok, reason, ReasonMethod)
	}
}

// RFC 9111, 3: which statuses are stored with a lifetime of their own.
func TestStatuses(t *testing.T) {
	for _, status := range []int{200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 410, 499, 500, 502, 503, 504, 599} {
		stored{status: status, header: []string{"Expires: " + at(100000), "Last-Modified: " + at(0)}, want: Fresh}.check(t)
		stored{status: status, header: []string{"Expires: " + at(-5000), "Last-Modified: " + at(-100000)}, want: Revalidate}.check(t)
	}
	for _, status := range []int{100, 101, 103, 304, 408, 412, 416, 421, 425, 428, 429, 431, 511, 600} {
		stored{status: status, header: []string{"Cache-Control: public, max-age=60"}, options: Options{TTL: time.Hour, Statuses: []int{status}}, reason: ReasonStatus}.check(t)
	}
}

// RFC 9111, 5.2.2.3: must-understand against the statuses that we know.
func TestMustUnderstand(t *testing.T) {
	known := []int{200, 203, 204, 300, 301, 302, 303, 305, 307, 308, 400, 401, 402, 403, 404, 405, 406, 409, 410, 411, 414, 451, 500, 501, 502, 503, 504, 505}
	unknown := []int{207, 208, 226, 299, 306, 309, 399, 418, 423, 424, 450, 499, 506, 507, 508, 510, 599}
	control := []string{"Cache-Control: must-understand, no-store, max-age=60"}
	for _, status := range known {
		stored{status: status, header: control, want: Fresh}.check(t)
	}
	for _, status := range unknown {
		stored{status: status, header: control, reason: ReasonMustUnderstand}.check(t)
	}
}

// RFC 9111, 4.2.2, and the configured lifetimes.
func TestHeuristicAndTTL(t *testing.T) {
	day := "Last-Modified: " + at(-86400)
	for _, status := range []int{200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501} {
		stored{status: status, header: []string{day}, want: Fresh}.check(t)
	}
	for _, status := range []int{201, 202, 302, 307, 400, 403, 500, 502, 503, 504, 599} {
		stored{status: status, header: []string{day}, reason: ReasonNoFreshness}.check(t)
		stored{status: status, header: []string{day, "Cache-Control: public"}, want: Fresh}.check(t)
	}
	ttl := Options{TTL: time.Minute}
	run(t, map[string]stored{
		"a tenth of the time since the change":              {header: []string{"Last-Modified: " + at(-40)}, want: Fresh},
		"and no more":                                       {header: []string{"Last-Modified: " + at(-30)}, want: Revalidate, reason: ""},
		"a day at most":                                     {header: []string{"Last-Modified: " + at(-99999999)}, later: 86401, want: Revalidate},
		"just a day":                                        {header: []string{"Last-Modified: " + at(-99999999)}, later: 86399, want: Fresh},
		"a change in the future":                            {header: []string{"Last-Modified: " + at(60)}, reason: ReasonStale},
		"a change that is no date":                          {header: []string{"Last-Modified: yesterday"}, reason: ReasonNoFreshness},
		"a status that is not for it":                       {header: []string{day}, options: Options{Statuses: []int{404}}, reason: ReasonNoFreshness},
		"nor if it is public":                               {header: []string{day, "Cache-Control: public"}, options: Options{Statuses: []int{404}}, want: Revalidate},
		"a status that was made one":                        {status: 302, header: []string{day}, options: Options{Statuses: []int{302}}, want: Fresh},
		"TTL":                                               {options: ttl, want: Fresh},
		"TTL that ran out":                                  {options: ttl, later: 60, want: Revalidate},
		"TTL in place of the heuristic":                     {header: []string{day}, options: ttl, later: 61, want: Revalidate},
		"TTL does not beat max-age":                         {header: []string{"Cache-Control: max-age=1"}, options: ttl, want: Revalidate},
		"TTL does not beat max-age of 0":                    {header: []string{"Cache-Control: max-age=0"}, options: ttl, reason: ReasonStale},
		"TTL does not beat Expires":                         {header: []string{"Expires: 0"}, options: ttl, reason: ReasonStale},
		"TTL does not beat no-store":                        {header: []string{"Cache-Control: no-store"}, options: ttl, reason: ReasonNoStore},
		"TTL does not beat set-cookie":                      {header: []string{"Set-Cookie: a=b"}, options: ttl, reason: ReasonSetCookie},
		"TTL is not for a status that is not stored so":     {status: 302, options: ttl, reason: ReasonNoFreshness},
		"TTL for a status that is listed":                   {status: 302, options: Options{TTL: time.Minute, Statuses: []int{302}}, want: Fresh},
		"TTL of an error is 10 s":                           {status: 404, options: ttl, later: 9, want: Fresh},
		"TTL of an error is 10 s, no more":                  {status: 404, options: ttl, later: 10, want: Revalidate},
		"TTL of a 400 is 10 s":                              {status: 400, options: Options{TTL: time.Minute, Statuses: []int{400}}, later: 10, want: Revalidate},
		"NegativeTTL":                                       {status: 404, options: Options{NegativeTTL: 20 * time.Second}, later: 19, want: Fresh},
		"NegativeTTL that ran out":                          {status: 404, options: Options{TTL: time.Hour, NegativeTTL: 20 * time.Second}, later: 20, want: Revalidate},
		"NegativeTTL is not for what is no error":           {options: Options{NegativeTTL: time.Minute}, reason: ReasonNoFreshness},
		"max-age, ignored":                                  {header: []string{"Cache-Control: max-age=0"}, options: Options{TTL: time.Minute, Ignore: IgnoreMaxAge}, want: Fresh},
		"s-maxage, ignored":                                 {header: []string{"Cache-Control: s-maxage=3600"}, options: Options{TTL: time.Second, Ignore: IgnoreMaxAge}, want: Revalidate},
		"Expires, ignored":                                  {header: []string{"Expires: 0"}, options: Options{TTL: time.Minute, Ignore: IgnoreMaxAge}, want: Fresh},
		"max-age, ignored, without TTL: the heuristic":      {header: []string{"Cache-Control: max-age=9999", "Last-Modified: " + at(-100)}, options: Options{Ignore: IgnoreMaxAge}, later: 11, want: Revalidate},
		"max-age, ignored, of a status that TTL is not for": {status: 302, header: []string{"Cache-Control: max-age=9999"}, options: Options{TTL: time.Hour, Ignore: IgnoreMaxAge}, reason: ReasonNoFreshness},
	})
}
