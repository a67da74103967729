package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// told gathers what a store tells.
type told struct {
	mu  sync.Mutex
	all []error
}

func (e *told) tell(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, err)
}

func (e *told) has(target error) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, err := range e.all {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// full is a file that cannot be written to: its disk is full.
func full(t *testing.T) *os.File {
	t.Helper()
	f, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no /dev/full here")
	}
	return f
}

// mend lets the disk be tried again at once.
func mend(s *Store) {
	s.mu.Lock()
	s.disk.failing = time.Time{}
	s.mu.Unlock()
}

func TestAFullDiskIsLeftOut(t *testing.T) {
	var e told
	o := Options{MemoryBytes: 8 << 20, Dir: t.TempDir(), DiskBytes: 64 << 20, Error: e.tell}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	a := attributes("a", "h", "/", "t")
	put(t, s, "before", "", pattern(1, 100), a)
	s.Flush()
	s.disk.turn.Lock()
	g := s.namespaces["a"].segments[0]
	was := g.file
	g.file = full(t)
	s.disk.turn.Unlock()
	for i := range 10 {
		put(t, s, fmt.Sprint("during", i), "", pattern(i, 100), a)
	}
	s.Flush()
	if st := s.Stats(); !st.DiskFailing || !e.has(syscall.ENOSPC) || st.Disk.Objects != 0 {
		t.Errorf("failing %v, %d objects on disk, told %v", st.DiskFailing, st.Disk.Objects, e.all)
	}
	for i := range 10 {
		if s.Get(fmt.Append(nil, "during", i), nil) == nil {
			t.Errorf("object %d is gone from memory", i)
		}
	}
	// While it is left out nothing is tried.
	put(t, s, "later", "", pattern(3, 100), a)
	if st := s.Stats(); st.QueuedObjects != 0 {
		t.Errorf("%d objects wait for it", st.QueuedObjects)
	}
	was.Close()
	mend(s)
	put(t, s, "after", "", pattern(2, 100), a)
	s = restart(t, s, o)
	// Unlike a file, what stood for it could not be cut where the fault was: all that
	// was in the segment is gone.
	for key, want := range map[string]bool{"before": false, "during3": false, "later": false, "after": true} {
		if found := s.Get([]byte(key), nil) != nil; found != want {
			t.Errorf("%s found after a restart: %v", key, found)
		}
	}
}

func TestAFolderThatGoesAwayIsLeftOut(t *testing.T) {
	var e told
	dir := filepath.Join(t.TempDir(), "c")
	s := open(t, Options{MemoryBytes: 8 << 20, Dir: dir, DiskBytes: 64 << 20, Error: e.tell})
	s.disk.loaded()
	if err := os.Rename(dir, dir+"-away"); err != nil {
		t.Fatal(err)
	}
	a := attributes("a", "h", "/")
	put(t, s, "small", "", pattern(1, 100), a)
	s.Flush()
	mend(s)
	w := s.Create([]byte("large"), nil, nil, a, -1) // has no place but its readers
	r := w.Reader()
	go func() {
		for {
			if _, err := r.Next(); err != nil {
				return
			}
		}
	}()
	if _, err := w.Write(make([]byte, 2<<20)); err != nil {
		t.Errorf("write: %v", err)
	}
	if _, err := w.Commit(); !errors.Is(err, ErrTooLarge) {
		t.Errorf("commit: %v", err)
	}
	r.Close()
	if s.Get([]byte("small"), nil) == nil || !e.has(os.ErrNotExist) {
		t.Errorf("gone from memory, or told only %v", e.all)
	}
	if err := os.Rename(dir+"-away", dir); err != nil {
		t.Fatal(err)
	}
	mend(s)
	put(t, s, "again", "", pattern(1, 100), a)
	s.Flush()
	if n := s.Stats().Disk.Objects; n != 1 {
		t.Errorf("%d objects on disk; want 1", n)
	}
}

// TestWhatCannotBeNotedIsThrownAway: a purge that cannot be written down takes the files.
func TestWhatCannotBeNotedIsThrownAway(t *testing.T) {
	for i := range killNames {
		t.Run(killNames[i], func(t *testing.T) {
			var e told
			o := Options{MemoryBytes: 8 << 20, Dir: t.TempDir(), DiskBytes: 64 << 20, Error: e.tell}
			s, err := Open(o)
			if err != nil {
				t.Fatal(err)
			}
			put(t, s, "a", "", pattern(1, 100), attributes("a", "h", "/", "t"))
			put(t, s, "b", "", pattern(1, 300_000), attributes("a", "h", "/"))
			s.Flush()
			was := s.disk.kills.files[i]
			s.disk.kills.files[i] = full(t)
			if n, err := s.Purge(&Purge{Namespace: "a", Tags: []string{"t"}}); n != 1 || err != nil {
				t.Errorf("purged %d, %v", n, err)
			}
			if !e.has(syscall.ENOSPC) {
				t.Errorf("told %v", e.all)
			}
			s.disk.kills.files[i] = was
			checkAccounts(t, s)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, o)
			s.disk.loaded()
			if s.Get([]byte("a"), nil) != nil {
				t.Error("what was purged came back")
			}
		})
	}
}

func TestFolders(t *testing.T) {
	good := func(t *testing.T, dir string) {
		fill(t, Options{MemoryBytes: 8 << 20, Dir: dir, DiskBytes: 64 << 20}, 10, 1000)
	}
	tests := map[string]struct {
		make func(t *testing.T, dir string)
		err  string // part of it; empty: opens
		want int    // objects
	}{
		"a missing one":             {func(*testing.T, string) {}, "", 0},
		"one of an earlier process": {good, "", 10},
		"a file": {func(t *testing.T, dir string) {
			os.WriteFile(dir, []byte("x"), 0o600)
		}, "not a directory", 0},
		"another program's": {func(t *testing.T, dir string) {
			os.Mkdir(dir, 0o700)
			os.WriteFile(filepath.Join(dir, "notes.txt"), []byte("x"), 0o600)
		}, "it holds notes.txt; name an empty or a new folder", 0},
		"another program's format": {func(t *testing.T, dir string) {
			os.Mkdir(dir, 0o700)
			os.WriteFile(filepath.Join(dir, formatName), []byte("something else"), 0o600)
		}, "another program's", 0},
		"another version's": {func(t *testing.T, dir string) {
			good(t, dir)
			change(t, filepath.Join(dir, formatName), func(b []byte) []byte {
				b[16] = 2
				return withSum(b)
			})
		}, "version 2, this is version 1: empty it, or name another folder", 0},
		"one with foreign files beside ours": {func(t *testing.T, dir string) {
			good(t, dir)
			os.WriteFile(filepath.Join(dir, "notes.txt"), []byte("x"), 0o600)
			os.WriteFile(filepath.Join(dir, "000000000000zzzz.seg"), []byte("x"), 0o600)
			os.WriteFile(filepath.Join(dir, fileName(99, segmentSuffix)), []byte("nothing of a segment"), 0o600)
			os.WriteFile(filepath.Join(dir, fileName(98, segmentSuffix)), nil, 0o600)
			os.WriteFile(filepath.Join(dir, fileName(97, largeSuffix)), []byte("nobody's body"), 0o600)
			os.WriteFile(filepath.Join(dir, fileName(96, indexSuffix)), []byte("an index of nothing"), 0o600)
			os.Mkdir(filepath.Join(dir, fileName(95, segmentSuffix)), 0o700)
		}, "", 10},
		"a segment under another number": {func(t *testing.T, dir string) {
			good(t, dir)
			for _, suffix := range []string{segmentSuffix, indexSuffix} {
				os.Rename(glob(t, dir, "*"+suffix)[0], filepath.Join(dir, fileName(77, suffix)))
			}
		}, "", 0},
		"one without kills": {func(t *testing.T, dir string) {
			good(t, dir)
			os.Remove(filepath.Join(dir, killNames[0]))
			os.Remove(filepath.Join(dir, killNames[1]))
		}, "", 0},
		"one with kills of which both copies are damaged": {func(t *testing.T, dir string) {
			good(t, dir)
			for _, name := range killNames {
				change(t, filepath.Join(dir, name), func(b []byte) []byte { b[3] ^= 1; return b })
			}
		}, "", 0},
		"one with half of what was to replace a file": {func(t *testing.T, dir string) {
			good(t, dir)
			os.WriteFile(filepath.Join(dir, killNames[0]+".new"), []byte("half"), 0o600)
		}, "", 10},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "c")
			test.make(t, dir)
			var e told
			s, err := Open(Options{MemoryBytes: 8 << 20, Dir: dir, DiskBytes: 64 << 20, Error: e.tell})
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("got %v; want %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			s.disk.loaded()
			if n := s.Stats().Disk.Objects; n != test.want {
				t.Errorf("%d objects, told %v; want %d", n, e.all, test.want)
			}
			if _, err := Open(Options{MemoryBytes: 8 << 20, Dir: dir, DiskBytes: 64 << 20}); err == nil || !strings.Contains(err.Error(), "in use by another process") {
				t.Errorf("opened twice: %v", err)
			}
			put(t, s, "k", "", pattern(1, 100), attributes("a", "h", "/"))
			s.Flush()
			checkAccounts(t, s)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(filepath.Join(dir, "notes.txt")); err != nil && strings.Contains(name, "beside") {
				t.Error("a foreign file was removed")
			}
			if all, _ := filepath.Glob(filepath.Join(dir, "*.new")); len(all) != 0 {
				t.Errorf("%v is left", all)
			}
		})
	}
}

// TestASegmentThatWasNotBegun: one without its header, of a process that was killed, is no
// damage.
func TestASegmentThatWasNotBegun(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "c")
	fill(t, Options{MemoryBytes: 8 << 20, Dir: dir, DiskBytes: 64 << 20}, 10, 1000)
	name := filepath.Join(dir, fileName(98, segmentSuffix))
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var e told
	s, err := Open(Options{MemoryBytes: 8 << 20, Dir: dir, DiskBytes: 64 << 20, Error: e.tell})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.disk.loaded()
	if n := s.Stats().Disk.Objects; n != 10 || len(e.all) != 0 {
		t.Errorf("%d objects, told %v; want 10, and nothing", n, e.all)
	}
	if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is left: %v", err)
	}
}

func TestOptions(t *testing.T) {
	tests := map[string]struct {
		o    Options
		want string
	}{
		"no memory":     {Options{}, "MemoryBytes is 0: at least 65536"},
		"hardly a disk": {Options{MemoryBytes: 1 << 20, Dir: "x", DiskBytes: 1000}, "DiskBytes is 1000: at least 1048576"},
		"below 0":       {Options{MemoryBytes: 1 << 20, MemoryObjects: -1}, "not below 0"},
		"too many":      {Options{MemoryBytes: 1 << 20, MemoryObjects: 1 << 31}, "at most 1073741824"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := Open(test.o); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v; want %q", err, test.want)
			}
		})
	}
}

func TestAStoreThatIsClosed(t *testing.T) {
	s, err := Open(Options{MemoryBytes: 8 << 20, Dir: t.TempDir(), DiskBytes: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	a := attributes("a", "h", "/", "t")
	begun := s.Create([]byte("begun"), nil, nil, a, -1)
	o := put(t, s, "k", "", pattern(1, 500_000), a)
	// One that is in a file, and goes on.
	large := s.Create([]byte("large"), nil, nil, a, -1)
	follower := large.Reader()
	var got []byte
	read := make(chan error, 1)
	go func() {
		b, err := io.ReadAll(follower)
		got = b
		read <- err
	}()
	s.disk.loaded()
	want := pattern(4, 3_000_000)
	if _, err := large.Write(want[:2_000_000]); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
	if _, err := large.Write(want[2_000_000:]); err != nil {
		t.Errorf("write of a large body: %v", err)
	}
	if _, err := large.Commit(); err == nil {
		t.Error("a large body was stored")
	}
	if err := <-read; err != nil || !bytes.Equal(got, want) {
		t.Errorf("its reader got %d bytes, %v", len(got), err)
	}
	follower.Close()
	if _, err := begun.Commit(); err != ErrClosed {
		t.Errorf("commit: %v", err)
	}
	w := s.Create([]byte("k2"), nil, nil, a, -1)
	r := w.Reader()
	if _, err := w.Write([]byte("x")); err != nil {
		t.Errorf("write: %v", err)
	}
	r.Close()
	if _, err := w.Commit(); err != ErrClosed {
		t.Errorf("commit: %v", err)
	}
	if got := body(t, o); len(got) != 500_000 {
		t.Errorf("%d bytes of an object that was found before", len(got))
	}
	if _, err := s.Purge(&Purge{Namespace: "a", Tags: []string{"t"}}); err != ErrClosed {
		t.Errorf("purge: %v", err)
	}
	s.Flush()
	s.Remove(o)
	s.Update(o, nil)
}

// TestClosedWhileLoading: what was not read yet stays, and what was removed meanwhile
// does not come back.
func TestClosedWhileLoading(t *testing.T) {
	o := Options{MemoryBytes: 8 << 20, Dir: t.TempDir(), DiskBytes: 4 << 20, DiskObjects: 10_000}
	const n = 1500 // in many segments
	fill(t, o, n, 1000)
	gone := map[int]bool{}
	for i := range 30 {
		s, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		key := i * 37
		switch found := s.Get(fmt.Append(nil, "key", key), nil); {
		case found == nil:
		case i%2 == 0:
			s.Remove(found)
			gone[key] = true
		default:
			if s.Update(found, fmt.Appendf(nil, "%d 1000 updated", key)) == nil {
				t.Error("not updated")
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	found, told := whole(t, o, n)
	// An update whose Close came before everything was read is lost with its object.
	if found < n-30 || found > n-len(gone) || len(told) != 0 {
		t.Errorf("found %d of %d, of which %d were removed; told %v", found, n, len(gone), told)
	}
	s := open(t, o)
	s.disk.loaded()
	for key := range gone {
		if s.Get(fmt.Append(nil, "key", key), nil) != nil {
			t.Errorf("key%d came back", key)
		}
	}
}
