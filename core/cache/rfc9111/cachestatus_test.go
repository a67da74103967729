package rfc9111

import (
	"strconv"
	"strings"
	"testing"
	"time"
)

// RFC 9211, 2.
func TestStatus(t *testing.T) {
	const s = time.Second
	tests := map[string]struct {
		status Status
		name   string
		want   string
	}{
		"a hit":                             {Status{Hit: true, TTL: 376 * s, HasTTL: true}, "Penstock", "Penstock; hit; ttl=376"},
		"a hit that is half a second stale": {Status{Hit: true, TTL: -s / 2, HasTTL: true}, "Penstock", "Penstock; hit; ttl=-1"},
		"a hit that is stale":               {Status{Hit: true, TTL: -412 * s, HasTTL: true}, "Penstock", "Penstock; hit; ttl=-412"},
		"a hit that is about to be stale":   {Status{Hit: true, TTL: s / 2, HasTTL: true}, "Penstock", "Penstock; hit; ttl=0"},
		"a miss that was stored":            {Status{Fwd: FwdURIMiss, FwdStatus: 200, Stored: true}, "Penstock", "Penstock; fwd=uri-miss; fwd-status=200; stored"},
		"a miss that was joined":            {Status{Fwd: FwdVaryMiss, Collapsed: true}, "Penstock", "Penstock; fwd=vary-miss; collapsed"},
		"a validation":                      {Status{Fwd: FwdStale, FwdStatus: 304, TTL: 60 * s, HasTTL: true}, "Penstock", "Penstock; fwd=stale; fwd-status=304; ttl=60"},
		"a hit is not forwarded":            {Status{Hit: true, Fwd: FwdStale}, "Penstock", "Penstock; hit"},
		"a detail that is a token":          {Status{Fwd: FwdBypass, Detail: "set-cookie"}, "Penstock", "Penstock; fwd=bypass; detail=set-cookie"},
		"a detail that is none":             {Status{Fwd: FwdBypass, Detail: "set cookie"}, "Penstock", "Penstock; fwd=bypass; detail=\"set cookie\""},
		"a detail that begins with a digit": {Status{Fwd: FwdBypass, Detail: "4xx"}, "Penstock", "Penstock; fwd=bypass; detail=\"4xx\""},
		"a key with quotes and backslashes": {Status{Hit: true, Key: `/a"b\c`}, "Penstock", `Penstock; hit; key="/a\"b\\c"`},
		"a key that cannot be sent":         {Status{Hit: true, Key: "/a\r\nX: y"}, "Penstock", "Penstock; hit"},
		"a key beyond ASCII":                {Status{Hit: true, Key: "/ä"}, "Penstock", "Penstock; hit"},
		"a name that is no token":           {Status{Hit: true}, "my proxy", "\"my proxy\"; hit"},
		"a name of an edge":                 {Status{Hit: true}, "edge.example/1:2", "edge.example/1:2; hit"},
		"the last of printable ASCII":       {Status{Hit: true, Key: "~ ~"}, "Zz", "Zz; hit; key=\"~ ~\""},
		"nothing known":                     {Status{}, "Penstock", "Penstock"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := string(tt.status.AppendTo([]byte("x, "), tt.name)); got != "x, "+tt.want {
				t.Errorf("got %s; want x, %s", got, tt.want)
			}
		})
	}
}

// FuzzStatus reads back what was written, with a reader of RFC 9651's items, and finds
// what was put in, and nothing that could end the field.
func FuzzStatus(f *testing.F) {
	f.Add(true, int64(5), "key", "detail", uint16(200))
	f.Add(false, int64(-1), "\"\\; hit", "a, b; fwd=x", uint16(0))
	f.Fuzz(func(t *testing.T, hit bool, ttl int64, key, detail string, status uint16) {
		s := Status{Hit: hit, FwdStatus: int(status % 1000), TTL: time.Duration(ttl), HasTTL: true, Stored: !hit, Key: key, Detail: detail}
		if !hit {
			s.Fwd = FwdMiss
		}
		out := string(s.AppendTo(nil, "Penstock"))
		for i := range len(out) {
			if out[i] < 0x20 || out[i] > 0x7e {
				t.Fatalf("%q holds byte %#x", out, out[i])
			}
		}
		got := map[string]string{}
		rest, ok := strings.CutPrefix(out, "Penstock")
		for ok && rest != "" {
			if rest, ok = strings.CutPrefix(rest, "; "); !ok {
				break
			}
			n := strings.IndexAny(rest, "=;")
			if n < 0 {
				n = len(rest)
			}
			name, value := rest[:n], "true"
			if rest = rest[n:]; strings.HasPrefix(rest, "=\"") {
				var b strings.Builder
				i := 2
				for ; rest[i] != '"'; i++ {
					if rest[i] == '\\' {
						i++
					}
					b.WriteByte(rest[i])
				}
				value, rest = b.String(), rest[i+1:]
			} else if strings.HasPrefix(rest, "=") {
				n = strings.IndexAny(rest, "; ,\"\\")
				if n < 0 {
					n = len(rest)
				}
				value, rest = rest[1:n], rest[n:]
			}
			if _, twice := got[name]; twice {
				t.Fatalf("%q says %s twice", out, name)
			}
			got[name] = value
		}
		seconds := ttl / int64(time.Second)
		if ttl < 0 && ttl%int64(time.Second) != 0 {
			seconds--
		}
		want := map[string]string{"ttl": strconv.FormatInt(seconds, 10)}
		if hit {
			want["hit"] = "true"
		} else {
			want["fwd"], want["stored"] = "miss", "true"
		}
		if s.FwdStatus > 0 {
			want["fwd-status"] = strconv.Itoa(s.FwdStatus)
		}
		for name, v := range map[string]string{"key": key, "detail": detail} {
			if v != "" && printable(v) {
				want[name] = v
			}
		}
		if !ok && rest != "" || len(got) != len(want) {
			t.Fatalf("%q reads %v; want %v", out, got, want)
		}
		for name, v := range want {
			if got[name] != v {
				t.Fatalf("%q reads %s=%q; want %q", out, name, got[name], v)
			}
		}
	})
}
