package poison

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
)

// stats is what the admin address says of the cache.
type stats struct {
	Memory        struct{ Bytes, Objects int64 }
	Objects, Tags int64
	TagEntries    int64
	Writing       int
	WritingBytes  int64
	IndexBytes    int64
	Namespaces    map[string]struct{ Objects int64 }
}

func (b *bed) stats(t *testing.T) (s stats) {
	t.Helper()
	if err := json.Unmarshal([]byte(b.AdminText("/cache/stats")), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// flood sends n GETs over eight connections.
func (b *bed) flood(t *testing.T, n int, text func(int) string) {
	t.Helper()
	var group sync.WaitGroup
	for worker := range 8 {
		group.Go(func() {
			var all strings.Builder
			sent := 0
			flush := func() {
				if sent > 0 {
					b.raw(t, all.String(), sent)
				}
				all.Reset()
				sent = 0
			}
			for i := worker; i < n; i += 8 {
				all.WriteString(text(i))
				if sent++; sent == 50 {
					flush()
				}
			}
			flush()
		})
	}
	group.Wait()
}

// TestFloods: what a stranger can make the cache hold is bounded.
func TestFloods(t *testing.T) {
	const budget = 4 << 20
	b := start(t, nil, "--cache-memory", "4Mi")
	within := func(t *testing.T) stats {
		t.Helper()
		s := b.stats(t)
		if s.Memory.Bytes+s.WritingBytes > budget {
			t.Errorf("%d bytes are held; want at most %d", s.Memory.Bytes+s.WritingBytes, budget)
		}
		return s
	}
	t.Run("keys", func(t *testing.T) {
		b.origin.reset(func(a *asked) string { return fresh("", strings.Repeat("x", 4<<10)) })
		place := b.place("plain")
		b.flood(t, 4000, func(i int) string { return request(fmt.Sprintf("%s?%d", place, i)) })
		if s := within(t); s.Memory.Objects == 0 {
			t.Error("nothing is stored, which shows nothing")
		}
	})
	t.Run("variants", func(t *testing.T) {
		b.origin.reset(func(a *asked) string { return fresh("Vary: X-Lang", "for "+a.Header.Get("X-Lang")) })
		place := b.place("plain")
		before := b.stats(t).Objects
		b.flood(t, 3000, func(i int) string { return request(place, fmt.Sprintf("X-Lang: %d", i)) })
		if more := within(t).Objects - before; more > 64 {
			t.Errorf("%d variants are stored; want few", more)
		}
		for _, lang := range []string{"me", "you", "7"} {
			for range 2 {
				if g := b.raw(t, request(place, "X-Lang: "+lang), 1); g.body != "for "+lang {
					t.Errorf("%s got %v", lang, g)
				}
			}
		}
	})
	t.Run("tags", func(t *testing.T) {
		b.origin.reset(func(a *asked) string {
			var tags strings.Builder
			for i := range 100 {
				fmt.Fprintf(&tags, " t%d-%d", a.n, i)
			}
			return fresh("Surrogate-Key:"+tags.String(), "x")
		})
		place := b.place("plain")
		b.flood(t, 2000, func(i int) string { return request(fmt.Sprintf("%s?%d", place, i)) })
		if s := within(t); s.TagEntries > 1<<17 || s.TagEntries == 0 {
			t.Errorf("%d entries of tags", s.TagEntries)
		}
	})
	t.Run("large fields of an answer", func(t *testing.T) {
		b.origin.reset(func(a *asked) string { return fresh("X-Large: "+strings.Repeat("x", 30<<10), "x") })
		place := b.place("plain")
		b.flood(t, 400, func(i int) string { return request(fmt.Sprintf("%s?%d", place, i)) })
		within(t)
	})
	t.Run("bodies that never end", func(t *testing.T) {
		b.origin.reset(func(a *asked) string {
			return "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("10000\r\n"+strings.Repeat("x", 64<<10)+"\r\n", 128) + "<close>"
		})
		place := b.place("plain")
		for i := range 4 {
			if g := b.raw(t, request(fmt.Sprintf("%s?%d", place, i)), 1); g.whole {
				t.Errorf("what never ended looks whole: %d bytes", len(g.body))
			}
		}
		within(t)
	})
	t.Run("ranges", func(t *testing.T) {
		content := strings.Repeat("0123456789abcdef", 64<<10/16)
		b.origin.reset(func(*asked) string { return fresh("ETag: \"a\"", content) })
		place := b.place("plain")
		b.raw(t, request(place), 1)
		var many, overlapping []string
		for i := range 1500 {
			many = append(many, fmt.Sprintf("%d-%d", 2*i, 2*i))
			overlapping = append(overlapping, fmt.Sprintf("%d-", i))
		}
		for name, list := range map[string][]string{
			"many": many, "overlapping": overlapping, "the whole a few times": {"0-", "0-", "0-", "0-"}, "from the end": {"-65536", "-65535", "-65534", "-65533"}, "as many as count": many[:16],
		} {
			g := b.raw(t, request(place, "Range: bytes="+strings.Join(list, ",")), 1)
			if len(g.body) > len(content)+4096 || g.status != 200 && g.status != 206 && g.status != 431 && g.status != 400 {
				t.Errorf("%s: %d, %d bytes; want at most the whole", name, g.status, len(g.body))
			}
		}
		if n := b.origin.count(); n != 1 {
			t.Errorf("the origin was asked %d times", n)
		}
		if g := b.raw(t, request(place), 1); g.body != content {
			t.Errorf("afterwards: %d, %d bytes", g.status, len(g.body))
		}
	})
	t.Run("parts of one object", func(t *testing.T) {
		b.origin.reset(func(a *asked) string {
			var at int
			if _, err := fmt.Sscanf(a.Header.Get("Range"), "bytes=%d-", &at); err != nil {
				return good
			}
			return answer("206 Partial Content", fmt.Sprintf("Cache-Control: max-age=60\nETag: \"a\"\nContent-Range: bytes %d-%d/90000000", at, at+3), "part")
		})
		place := b.place("plain")
		before := b.stats(t).Objects
		b.flood(t, 1000, func(i int) string {
			return request(place, fmt.Sprintf("Range: bytes=%d-%d", 2000000+10*i, 2000003+10*i))
		})
		if more := within(t).Objects - before; more > 2 {
			t.Errorf("%d parts are stored; want one in the place of another", more)
		}
		if g := b.raw(t, request(place), 1); g.body != "good" || g.status != 200 {
			t.Errorf("the whole: %v", g)
		}
	})
	if g := b.raw(t, request(b.place("plain")), 1); g.status != 200 {
		t.Errorf("afterwards: %v", g)
	}
}
