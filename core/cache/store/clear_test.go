package store

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// stock stores n objects of several namespaces, small ones and large ones.
func stock(t *testing.T, s *Store, n int) {
	t.Helper()
	if s.disk != nil {
		s.disk.loaded() // large ones need it
	}
	for i := range n {
		size := 100
		if s.disk != nil && i%50 == 0 {
			size = largeBody + i
		}
		put(t, s, fmt.Sprint("key", i), "", pattern(i, size), attributes(fmt.Sprint("n", i%5), fmt.Sprint("h", i%3), fmt.Sprint("/", i), fmt.Sprint("t", i%7)))
		if i%200 == 199 {
			s.Flush()
		}
	}
	s.Flush()
}

// stocked counts what stock has stored and is found.
func (s *Store) stocked(n int) (found int) {
	for i := range n {
		if s.Get(fmt.Append(nil, "key", i), nil) != nil {
			found++
		}
	}
	return found
}

// TestClear: nothing is found any more, of any namespace or tier, nor after a restart;
// what comes after it is.
func TestClear(t *testing.T) {
	for name, disk := range map[string]bool{"in memory": false, "on disk": true} {
		t.Run(name, func(t *testing.T) {
			o := Options{MemoryBytes: 4 << 20}
			if disk {
				o.Dir, o.DiskBytes = t.TempDir(), 256<<20
			}
			s, err := Open(o)
			if err != nil {
				t.Fatal(err)
			}
			const n = 1500
			stock(t, s, n)
			held := s.Stats().Objects
			got, err := s.Clear()
			if got != held || held == 0 || !disk && held > n || disk && held != n || err != nil {
				t.Errorf("cleared %d of %d, %v", got, held, err)
			}
			if found := s.stocked(n); found > 0 {
				t.Errorf("%d are found", found)
			}
			if st := s.Stats(); st.Objects != 0 || st.Evicted[CausePurged] != int64(held) {
				t.Errorf("%d left, gone for %v", st.Objects, st.Evicted)
			}
			if got, err := s.Clear(); got != 0 || err != nil {
				t.Errorf("again: cleared %d, %v", got, err)
			}
			put(t, s, "after", "", pattern(1, 100), attributes("n1", "h", "/"))
			if !disk {
				checkAccounts(t, s)
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				return
			}
			s = restart(t, s, o)
			if found := s.stocked(n); found > 0 || s.Get([]byte("after"), nil) == nil {
				t.Errorf("after a restart %d are found; what came after it: %v", found, s.Get([]byte("after"), nil) != nil)
			}
			checkAccounts(t, s)
		})
	}
}

// TestClearMeetsWhatIsUnderWay: what is being written or validated when it begins is not
// found afterwards.
func TestClearMeetsWhatIsUnderWay(t *testing.T) {
	s := open(t, Options{})
	a := attributes("a", "h", "/")
	w := s.Create([]byte("written"), nil, nil, a, -1)
	if _, err := w.Write([]byte("half")); err != nil {
		t.Fatal(err)
	}
	old := put(t, s, "validated", "", nil, a)
	if n, err := s.Clear(); n != 1 || err != nil {
		t.Errorf("cleared %d, %v; want 1", n, err)
	}
	if _, err := w.Commit(); !errors.Is(err, ErrPurged) || s.Get([]byte("written"), nil) != nil {
		t.Errorf("what was being written: %v", err)
	}
	if s.Update(old, []byte("head")) != nil || s.Get([]byte("validated"), nil) != nil {
		t.Error("what was validated is back")
	}
	put(t, s, "written", "", nil, a)
	if s.Get([]byte("written"), nil) == nil {
		t.Error("what came later is not found")
	}
	checkAccounts(t, s)
}

// TestClearBesideOthers: while others store, validate, purge and read, all that was there
// before goes, and the accounts are right.
func TestClearBesideOthers(t *testing.T) {
	o := Options{MemoryBytes: 2 << 20, Dir: t.TempDir(), DiskBytes: 64 << 20}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	const n = 3000
	stock(t, s, n)
	stop := make(chan struct{})
	var group sync.WaitGroup
	for g := range 4 {
		group.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if x := s.Get(fmt.Append(nil, "key", (i*7+g)%n), nil); x != nil && i%3 == 0 {
					s.Update(x, []byte("validated"))
				}
				w := s.Create(fmt.Append(nil, "new", g, "-", i%500), nil, nil, attributes("n1", "other", "/", "t"), 200)
				if _, err := w.Write(pattern(i, 200)); err != nil {
					t.Error(err)
				}
				if _, err := w.Commit(); err != nil && !errors.Is(err, ErrPurged) {
					t.Error(err)
				}
				if i%100 == 0 {
					if _, err := s.Purge(&Purge{Namespace: "n1", Tags: []string{"t"}}); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	time.Sleep(20 * time.Millisecond)
	if _, err := s.Clear(); err != nil {
		t.Error(err)
	}
	if found := s.stocked(n); found > 0 {
		t.Errorf("%d are found", found)
	}
	close(stop)
	group.Wait()
	s.Flush() // so that there is room in the queue
	put(t, s, "last", "", nil, attributes("n1", "h", "/"))
	s = restart(t, s, o)
	if found := s.stocked(n); found > 0 || s.Get([]byte("last"), nil) == nil {
		t.Errorf("after a restart %d are found; the last one: %v", found, s.Get([]byte("last"), nil) != nil)
	}
	checkAccounts(t, s)
}

// TestClearWhileLoading: what is still being read is not taken in, and counts.
func TestClearWhileLoading(t *testing.T) {
	o := Options{MemoryBytes: 1 << 20, Dir: t.TempDir(), DiskBytes: 256 << 20}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	const n = 4000
	stock(t, s, n)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(o); err != nil {
		t.Fatal(err)
	}
	early := s.Stats().Loading
	put(t, s, "mine", "", nil, attributes("n1", "h", "/mine"))
	got, err := s.Clear()
	if got != n+1 || err != nil {
		t.Errorf("cleared %d, %v; want %d", got, err, n+1)
	}
	t.Logf("it was loading: %v", early)
	put(t, s, "after", "", nil, attributes("n1", "h", "/after"))
	if found := s.stocked(n); found > 0 || s.Get([]byte("mine"), nil) != nil {
		t.Errorf("%d are found", found)
	}
	s = restart(t, s, o)
	if found := s.stocked(n); found > 0 || s.Get([]byte("after"), nil) == nil {
		t.Errorf("after a restart %d are found; what came after it: %v", found, s.Get([]byte("after"), nil) != nil)
	}
	checkAccounts(t, s)
}

// TestClearOfAClosedStore: what could not be read to its end may come back.
func TestClearOfAClosedStore(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir(), DiskBytes: 64 << 20})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Clear(); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v; want ErrClosed", err)
	}
}

// TestClearOnAFullDisk: what cannot be noted goes with its files.
func TestClearOnAFullDisk(t *testing.T) {
	var e told
	o := Options{MemoryBytes: 4 << 20, Dir: t.TempDir(), DiskBytes: 64 << 20, Error: e.tell}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	stock(t, s, 500)
	s.disk.kills.mu.Lock()
	was := s.disk.kills.files[1]
	s.disk.kills.files[1] = full(t)
	s.disk.kills.mu.Unlock()
	n, _ := s.Clear() // that the log is not synced is an error or not: the files are gone
	was.Close()
	if n != 500 || s.stocked(500) > 0 {
		t.Errorf("cleared %d, %d are found", n, s.stocked(500))
	}
	if segments, err := filepath.Glob(filepath.Join(o.Dir, "*"+segmentSuffix)); err != nil || len(segments) > 0 {
		t.Errorf("left: %s, %v", strings.Join(segments, " "), err)
	}
	_ = s.Close()
	s = open(t, o)
	s.disk.loaded()
	if found := s.stocked(500); found > 0 {
		t.Errorf("after a restart %d are found", found)
	}
}

// TestClearWhileWaiting: the folder that another process has is empty once it is adopted,
// by this process or by one that comes after it.
func TestClearWhileWaiting(t *testing.T) {
	for name, crash := range map[string]bool{"it adopts": false, "it ends before": true} {
		t.Run(name, func(t *testing.T) {
			o := disked(t.TempDir(), 64<<20)
			before, err := Open(o)
			if err != nil {
				t.Fatal(err)
			}
			stock(t, before, 300)
			s, adopted, _ := awaiting(t, o)
			put(t, s, "mine", "", nil, attributes("n1", "h", "/mine"))
			if n, err := s.Clear(); n != 1 || err != nil {
				t.Errorf("cleared %d, %v; want what it has itself", n, err)
			}
			put(t, s, "after", "", nil, attributes("n1", "h", "/after"))
			put(t, before, "key300", "", nil, attributes("n1", "h", "/late"))
			if crash {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
			if err := before.Close(); err != nil {
				t.Fatal(err)
			}
			if crash {
				s = open(t, o)
				s.disk.loaded()
			} else if n := settled(t, s, adopted); n != 0 {
				t.Errorf("adopted %d objects", n)
			}
			if found := s.stocked(301); found > 0 || s.Get([]byte("mine"), nil) != nil || s.Get([]byte("after"), nil) == nil != crash {
				t.Errorf("%d are found; what came after: %v", found, s.Get([]byte("after"), nil) != nil)
			}
			checkAccounts(t, s)
		})
	}
}

// TestFolder: a store that has let go of its folder has none.
func TestFolder(t *testing.T) {
	dir := t.TempDir()
	s := open(t, disked(dir, 64<<20))
	if got := s.Folder(); got != dir {
		t.Errorf("got %q; want %q", got, dir)
	}
	if err := s.Release(); err != nil {
		t.Fatal(err)
	}
	if got := s.Folder(); got != "" {
		t.Errorf("released: got %q", got)
	}
	if got := open(t, Options{}).Folder(); got != "" {
		t.Errorf("in memory: got %q", got)
	}
}
