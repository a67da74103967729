package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
	"unsafe"
)

// open returns a store that is closed with the test.
func open(t testing.TB, o Options) *Store {
	t.Helper()
	if o.MemoryBytes == 0 {
		o.MemoryBytes = 64 << 20
	}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func attributes(namespace, hostname, path string, tags ...string) Attributes {
	a := Attributes{Namespace: namespace, Service: "web", Hostname: []byte(hostname), Path: []byte(path)}
	for _, tag := range tags {
		a.Tags = append(a.Tags, []byte(tag))
	}
	return a
}

// put stores an object; its head is "head of" its key.
func put(t testing.TB, s *Store, key, variant string, body []byte, a Attributes) *Object {
	t.Helper()
	w := s.Create([]byte(key), []byte(variant), []byte("head of "+key), a, int64(len(body)))
	if _, err := w.Write(body); err != nil {
		t.Fatalf("write %s: %v", key, err)
	}
	o, err := w.Commit()
	if err != nil {
		t.Fatalf("commit %s: %v", key, err)
	}
	return o
}

func exact(variant string) func([]byte) bool {
	return func(v []byte) bool { return string(v) == variant }
}

// body returns what the object's reader gives.
func body(t testing.TB, o *Object) []byte {
	t.Helper()
	r := o.Reader(0, -1)
	if r == nil {
		t.Fatalf("%s: gone", o.Key())
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("%s: %v", o.Key(), err)
	}
	return b
}

// pattern returns n bytes that no other seed gives.
func pattern(seed, n int) []byte {
	b := make([]byte, n)
	x := uint64(seed)*0x9e3779b97f4a7c15 + 1
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
	return b
}

func TestWhatIsCommittedIsFoundWhole(t *testing.T) {
	tests := map[string]struct {
		size     int
		announce bool
		step     int
	}{
		"nothing":                                {0, true, 1},
		"nothing, size unknown":                  {0, false, 1},
		"one byte":                               {1, true, 1},
		"a small body":                           {1000, true, 100},
		"a small body, size unknown":             {1000, false, 300},
		"just too large for one piece":           {smallBody, true, 7000},
		"one chunk":                              {chunkBytes, true, 1 << 20},
		"one chunk, size unknown":                {chunkBytes, false, 4096},
		"one chunk and a byte":                   {chunkBytes + 1, true, 100_000},
		"some chunks, size unknown":              {1_000_003, false, 33_333},
		"as large as memory takes, size unknown": {4 << 20, false, 1 << 20},
	}
	s := open(t, Options{})
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			want := pattern(test.size, test.size)
			size := int64(-1)
			if test.announce {
				size = int64(test.size)
			}
			w := s.Create([]byte(name), []byte("v"), []byte("h"), attributes("a", "h.example", "/"+name), size)
			r := w.Reader()
			defer r.Close()
			for rest := want; len(rest) > 0; {
				n := min(test.step, len(rest))
				if m, err := w.Write(rest[:n]); m != n || err != nil {
					t.Fatalf("wrote %d of %d: %v", m, n, err)
				}
				rest = rest[n:]
			}
			if s.Get([]byte(name), nil) != nil {
				t.Error("found before Commit")
			}
			o, err := w.Commit()
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want) {
				t.Errorf("the writer's reader gave %d bytes, %v; want %d", len(got), err, len(want))
			}
			if s.Get([]byte(name), exact("v")) != o || s.Get([]byte(name), exact("w")) != nil {
				t.Error("not found by its variant, or by another")
			}
			if got := body(t, o); !bytes.Equal(got, want) {
				t.Errorf("%d bytes; want %d", len(got), len(want))
			}
			if o.Size() != int64(len(want)) || string(o.Key()) != name || string(o.Variant()) != "v" || string(o.Head()) != "h" ||
				string(o.Path()) != "/"+name || o.Hostname() != "h.example" || o.Stale() || o.Tier() != Memory {
				t.Errorf("got %d %q %q %q %q %q %v", o.Size(), o.Key(), o.Variant(), o.Head(), o.Path(), o.Hostname(), o.Stale())
			}
			for _, part := range [][2]int64{{0, 1}, {1, -1}, {int64(test.size) / 2, 70_000}, {int64(test.size), 5}, {int64(test.size) + 9, -1}} {
				from := min(part[0], int64(test.size))
				to := int64(test.size)
				if part[1] >= 0 {
					to = min(to, from+part[1])
				}
				r := o.Reader(part[0], part[1])
				if r.Buffered() != int(to-from) {
					t.Errorf("part %v: %d buffered; want %d", part, r.Buffered(), to-from)
				}
				var got []byte
				for {
					p, err := r.Next()
					if err == io.EOF {
						break
					}
					if err != nil || len(p) == 0 {
						t.Fatalf("part %v: %d bytes, %v", part, len(p), err)
					}
					got = append(got, p...)
				}
				if !bytes.Equal(got, want[from:to]) {
					t.Errorf("part %v: %d bytes; want %d", part, len(got), to-from)
				}
				r.Close()
			}
		})
	}
}

func TestVariants(t *testing.T) {
	s := open(t, Options{})
	a := attributes("a", "h", "/")
	for i := range 3 {
		put(t, s, "k", fmt.Sprint("v", i), pattern(i, 10), a)
	}
	if o := s.Get([]byte("k"), nil); string(o.Variant()) != "v2" {
		t.Errorf("%s is the newest; want v2", o.Variant())
	}
	again := put(t, s, "k", "v0", pattern(9, 10), a)
	if n := s.Has([]byte("k")); n != 3 {
		t.Errorf("%d variants after one was replaced; want 3", n)
	}
	if o := s.Get([]byte("k"), nil); o != again {
		t.Errorf("%s is the newest; want v0 again", o.Variant())
	}
	for i := range 40 {
		put(t, s, "k", fmt.Sprint("w", i), pattern(i, 10), a)
	}
	if n := s.Has([]byte("k")); n != maxVariants {
		t.Errorf("%d variants; want %d", n, maxVariants)
	}
	if s.Get([]byte("k"), exact("w7")) != nil || s.Get([]byte("k"), exact("w8")) == nil {
		t.Error("it is not the oldest variants that went")
	}
	if st := s.Stats(); st.Objects != maxVariants || st.Namespaces["a"].Services["web"].Objects != maxVariants {
		t.Errorf("%d objects; want %d", st.Objects, maxVariants)
	}
}

func TestUpdateAndRemove(t *testing.T) {
	s := open(t, Options{})
	for name, size := range map[string]int{"small": 100, "chunks": 600_000} {
		t.Run(name, func(t *testing.T) {
			want := pattern(size, size)
			o := put(t, s, name, "", want, attributes("a", "h", "/"+name, "t"))
			if n, err := s.Purge(&Purge{Namespace: "a", URLs: []URL{{"h", "/" + name}}, Soft: true}); n != 1 || err != nil {
				t.Fatalf("purged %d, %v", n, err)
			}
			if !o.Stale() {
				t.Error("not stale after a soft purge")
			}
			u := s.Update(o, []byte("a head that is longer than before"))
			if u == nil || u.Stale() || s.Get([]byte(name), nil) != u || !u.Stored().After(o.Stored()) {
				t.Fatal("not updated")
			}
			if string(u.Head()) != "a head that is longer than before" || !bytes.Equal(body(t, u), want) || !bytes.Equal(body(t, o), want) {
				t.Error("head or body differ")
			}
			if s.Update(o, []byte("x")) != nil {
				t.Error("what was updated before was updated again")
			}
			s.Remove(o)
			if s.Get([]byte(name), nil) != u {
				t.Error("Remove of an old form took the new one")
			}
			if n, _ := s.Purge(&Purge{Namespace: "a", Tags: []string{"t"}}); n != 1 {
				t.Errorf("purged %d by tag after an update; want 1", n)
			}
			if s.Update(u, []byte("y")) != nil || s.Get([]byte(name), nil) != nil {
				t.Error("what was purged came back")
			}
		})
	}
	if st := s.Stats(); st.Objects != 0 || st.Memory.Bytes != 0 || st.TagEntries != 0 || len(s.namespaces) != 0 ||
		st.Namespaces["a"].Services["web"].Evicted[CausePurged] != 2 {
		t.Errorf("left in an empty store: %+v", st)
	}
}

func TestBounds(t *testing.T) {
	long := func(n int) []byte { return bytes.Repeat([]byte("x"), n) }
	tests := map[string]struct {
		key, variant, head int
		change             func(a *Attributes)
	}{
		"key":           {MaxKey + 1, 0, 0, nil},
		"variant":       {1, MaxKey + 1, 0, nil},
		"head":          {1, 0, MaxHead + 1, nil},
		"path":          {1, 0, 0, func(a *Attributes) { a.Path = long(MaxPath + 1) }},
		"hostname":      {1, 0, 0, func(a *Attributes) { a.Hostname = long(MaxName + 1) }},
		"no namespace":  {1, 0, 0, func(a *Attributes) { a.Namespace = "" }},
		"too many tags": {1, 0, 0, func(a *Attributes) { a.Tags = make([][]byte, MaxTags+1) }},
		"a long tag":    {1, 0, 0, func(a *Attributes) { a.Tags = [][]byte{long(MaxTag + 1)} }},
		"an empty tag":  {1, 0, 0, func(a *Attributes) { a.Tags = [][]byte{{}} }},
	}
	s := open(t, Options{})
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a := attributes("a", "h", "/")
			if test.change != nil {
				test.change(&a)
			}
			w := s.Create(long(test.key), long(test.variant), long(test.head), a, -1)
			r := w.Reader()
			if _, err := w.Write([]byte("body")); err != nil || w.Storable() {
				t.Errorf("write: %v, storable %v", err, w.Storable())
			}
			if _, err := w.Commit(); !errors.Is(err, ErrBounds) {
				t.Errorf("got %v; want ErrBounds", err)
			}
			if b, err := io.ReadAll(r); string(b) != "body" || err != nil {
				t.Errorf("its reader got %q, %v", b, err)
			}
		})
	}
	most := attributes("a", "h", string(long(MaxPath)))
	for i := range MaxTags {
		most.Tags = append(most.Tags, append(long(MaxTag-1), byte(i)))
	}
	w := s.Create(long(MaxKey), long(MaxKey), long(MaxHead), most, 0)
	o, err := w.Commit()
	if err != nil || len(o.Path()) != MaxPath || len(o.Head()) != MaxHead {
		t.Fatalf("an object at all bounds: %v", err)
	}
	if n, _ := s.Purge(&Purge{Namespace: "a", Tags: []string{string(most.Tags[127])}}); n != 1 {
		t.Errorf("purged %d by the last tag; want 1", n)
	}
}

func TestSizes(t *testing.T) {
	if n := unsafe.Sizeof(Object{}); n != objectBytes {
		t.Errorf("an Object takes %d bytes; want %d", n, objectBytes)
	}
	if n := unsafe.Sizeof(entry{}); n != 56 {
		t.Errorf("an entry takes %d bytes; want 56", n)
	}
	if n := unsafe.Sizeof(loc{}); n != locBytes {
		t.Errorf("a loc takes %d bytes; want %d", n, locBytes)
	}
	if n := unsafe.Sizeof(label{}); n != 24 {
		t.Errorf("a label takes %d bytes; want 24", n)
	}
	if n := unsafe.Sizeof(more{}); n != moreBytes-8 && n != moreBytes {
		t.Errorf("a more takes %d bytes; want %d", n, moreBytes)
	}
}

func TestGetAllocatesNothing(t *testing.T) {
	s := open(t, Options{})
	put(t, s, "key", "variant", pattern(1, 1000), attributes("a", "h", "/"))
	key, variant := []byte("key"), []byte("variant")
	var r Reader
	got := 0
	if n := testing.AllocsPerRun(1000, func() {
		o := s.Get(key, func(v []byte) bool { return bytes.Equal(v, variant) })
		o.Read(&r, 0, -1)
		p, _ := r.Next()
		got += len(p)
		r.Close()
	}); n != 0 {
		t.Errorf("%v allocations for a hit; want 0", n)
	}
	if got != 1001*1000 {
		t.Errorf("read %d bytes", got)
	}
	put(t, s, "key", "newer", nil, attributes("a", "h", "/"))
	if n := testing.AllocsPerRun(100, func() {
		if s.Get(key, func(v []byte) bool { return bytes.Equal(v, variant) }) == nil {
			t.Error("not found behind a newer variant")
		}
	}); n != 0 {
		t.Errorf("%v allocations for a hit of an older variant; want 0", n)
	}
	if n := testing.AllocsPerRun(100, func() { s.Get([]byte("none"), nil) }); n != 0 {
		t.Errorf("%v allocations for a miss; want 0", n)
	}
}
