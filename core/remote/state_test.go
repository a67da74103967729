package remote

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
)

func kept(dir, key string) *State {
	return NewState(dir, func() ([]byte, error) { return []byte(strings.Repeat(key, 32)), nil }, zap.NewNop())
}

func copied(s *Set) *Set {
	return &Set{Config: maps.Clone(s.Config), Endpoints: maps.Clone(s.Endpoints), Images: maps.Clone(s.Images)}
}

// changed returns a set with some other resources of size bytes.
func changed(random *rand.Rand, s *Set, size int) *Set {
	next := copied(s)
	for _, part := range next.parts() {
		for range random.IntN(3) {
			name := fmt.Sprint("kind/", random.IntN(20))
			if delete(part, name); random.IntN(3) > 0 {
				b := make([]byte, random.IntN(size))
				for i := range b {
					b[i] = byte(random.Uint32())
				}
				part[name] = &Resource{Name: name, Version: hash(b), Bytes: b}
			}
		}
	}
	return next
}

func stateBytes(t *testing.T, dir string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestState: what was written last is read, whether it was written as a whole or as
// changes, and the file does not grow without end.
func TestState(t *testing.T) {
	for _, size := range []int{100, 200 << 10} {
		random := rand.New(rand.NewPCG(1, uint64(size)))
		dir := t.TempDir()
		s := kept(dir, "k")
		set := newSet()
		for step := range 120 {
			set = changed(random, set, size)
			if err := s.write(set); err != nil {
				t.Fatal(err)
			}
			if random.IntN(40) == 0 {
				s.close() // the process begins again
			}
			if random.IntN(10) > 0 {
				continue
			}
			got, err := kept(dir, "k").load()
			if err != nil || !reflect.DeepEqual(set, got) {
				t.Fatalf("size %d, step %d: %v, or another state", size, step, err)
			}
		}
		held := 0
		for _, part := range set.parts() {
			for _, r := range part {
				held += len(r.Bytes)
			}
		}
		if n := len(stateBytes(t, dir)); n > 4*60*size+2*smallState {
			t.Errorf("the file has %d bytes for %d", n, held)
		}
		if all, err := os.ReadDir(dir); err != nil || len(all) != 1 {
			t.Errorf("%v %v; want one file", all, err)
		}
		s.close()
	}
}

// TestStateIsCut: wherever a crash cuts the file, what is read is what had been written
// whole by then, or nothing.
func TestStateIsCut(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	dir := t.TempDir()
	s := kept(dir, "k")
	defer s.close()
	type step struct {
		size int
		set  *Set
	}
	steps := []step{{0, nil}}
	set := newSet()
	for range 6 {
		set = changed(random, set, 60)
		if err := s.write(set); err != nil {
			t.Fatal(err)
		}
		steps = append(steps, step{len(stateBytes(t, dir)), set})
	}
	text := stateBytes(t, dir)
	cut := t.TempDir()
	for n := range len(text) {
		if err := os.WriteFile(filepath.Join(cut, stateFile), text[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		var want *Set
		for _, s := range steps {
			if s.size <= n {
				want = s.set
			}
		}
		got, err := kept(cut, "k").load()
		if !cmp.Equal(want, got) || (want == nil) != (err != nil) {
			t.Fatalf("cut at %d of %d: %v %s", n, len(text), err, cmp.Diff(want, got))
		}
	}
}

// TestStateIsTouched: bytes that somebody changed are never taken for what was written.
func TestStateIsTouched(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	dir := t.TempDir()
	s := kept(dir, "k")
	defer s.close()
	set := newSet()
	sets := []*Set{}
	for range 4 {
		set = changed(random, set, 60)
		if err := s.write(set); err != nil {
			t.Fatal(err)
		}
		sets = append(sets, set)
	}
	text := stateBytes(t, dir)
	other := t.TempDir()
	read := func(text []byte) (*Set, error) {
		if err := os.WriteFile(filepath.Join(other, stateFile), text, 0o600); err != nil {
			t.Fatal(err)
		}
		return kept(other, "k").load()
	}
	for i := range text {
		touched := bytes.Clone(text)
		touched[i] ^= byte(1 + random.IntN(255))
		got, err := read(touched)
		if got == nil && err != nil {
			continue
		}
		earlier := false
		for _, s := range sets[:len(sets)-1] {
			earlier = earlier || cmp.Equal(s, got)
		}
		if !earlier {
			t.Fatalf("byte %d: it is read as %v", i, got)
		}
	}
	head := len(sealedMagic) + saltSize
	if got, err := read(append(bytes.Clone(text), text[head:]...)); err != nil || !cmp.Equal(got, set) {
		t.Errorf("frames that come twice: %v %v", got, err)
	}
}

// TestStateIsRefused: what may not be used says why.
func TestStateIsRefused(t *testing.T) {
	at := func(written int64) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			f, err := os.Create(filepath.Join(dir, stateFile))
			if err != nil {
				t.Fatal(err)
			}
			s, err := newSealed(f, bytes.Repeat([]byte("k"), 32))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			text, err := encMode.Marshal(&frame{Written: written})
			if err == nil {
				err = s.append(text)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	file := func(text string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, stateFile), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	now := time.Now().Unix()
	tests := map[string]struct {
		make func(t *testing.T, dir string)
		key  string
		want string // part of the error; empty: it is read
	}{
		"fresh":            {at(now), "k", ""},
		"a day old":        {at(now - 86400 - 5), "k", "old"},
		"of tomorrow":      {at(now + 86400), "k", "old"},
		"another key":      {at(now), "x", "another key"},
		"a short key":      {at(now), "", "32 at least"},
		"empty":            {file(""), "k", "cut short"},
		"another format":   {file(strings.Repeat("x", 200)), "k", "another version"},
		"a frame of 4 GiB": {file(sealedMagic + strings.Repeat("s", saltSize) + "\xff\xff\xff\xff"), "k", "changed"},
		"a frame that is no CBOR": {func(t *testing.T, dir string) {
			f, err := os.Create(filepath.Join(dir, stateFile))
			if err != nil {
				t.Fatal(err)
			}
			s, err := newSealed(f, bytes.Repeat([]byte("k"), 32))
			if err == nil {
				err = s.append([]byte("\xff\xff"))
			}
			if err != nil {
				t.Fatal(err)
			}
		}, "k", "cbor"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			tt.make(t, dir)
			set, err := kept(dir, tt.key).load()
			switch {
			case tt.want == "" && (err != nil || set == nil):
				t.Errorf("got %v, %v", set, err)
			case tt.want != "" && (set != nil || err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got %v, %v; want an error with %q", set, err, tt.want)
			}
		})
	}
}

// TestStateOfANewKey: a key that is rotated is used at once.
func TestStateOfANewKey(t *testing.T) {
	dir, key := t.TempDir(), "k"
	s := NewState(dir, func() ([]byte, error) { return []byte(strings.Repeat(key, 32)), nil }, zap.NewNop())
	defer s.close()
	set := changed(rand.New(rand.NewPCG(7, 8)), newSet(), 60)
	for _, key = range []string{"k", "n"} {
		if err := s.write(set); err != nil {
			t.Fatal(err)
		}
		if got, err := kept(dir, key).load(); err != nil || !cmp.Equal(got, set) {
			t.Errorf("with key %s: %v", key, err)
		}
	}
}
