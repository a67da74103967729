package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// awaiting opens a store on a folder that another one has; adopted receives how many
// objects were found there.
func awaiting(t *testing.T, o Options) (s *Store, adopted chan int, errs *told) {
	t.Helper()
	adopted, errs = make(chan int, 1), &told{}
	o.Wait, o.Error = true, errs.tell
	o.Adopted = func(n int, waited time.Duration) {
		if waited <= 0 {
			t.Errorf("adopted after %v", waited)
		}
		adopted <- n
	}
	s = open(t, o)
	if st := s.Stats(); !st.Waiting || st.Loading || st.Disk.Objects != 0 {
		t.Fatalf("while another store has the folder: %+v", st)
	}
	return s, adopted, errs
}

// settled waits until s has adopted its folder, and what it held is written.
func settled(t *testing.T, s *Store, adopted chan int) int {
	t.Helper()
	select {
	case n := <-adopted:
		s.Flush()
		checkAccounts(t, s)
		if st := s.Stats(); st.Waiting || st.Loading {
			t.Errorf("adopted, and still waiting: %+v", st)
		}
		return n
	case <-time.After(20 * time.Second):
		t.Fatal("the folder was not adopted")
		return 0
	}
}

// disked are options with a disk tier of n bytes in dir.
func disked(dir string, n int64) Options {
	return Options{MemoryBytes: 8 << 20, Dir: dir, DiskBytes: n}
}

// holds says what s should find.
func holds(t *testing.T, s *Store, want map[string]string) {
	t.Helper()
	for key, text := range want {
		got := ""
		if o := s.Get([]byte(key), nil); o != nil {
			got = string(body(t, o))
			if o.Stale() {
				got += " (stale)"
			}
		}
		if got != text {
			t.Errorf("%s: got %.60q; want %.60q", key, got, text)
		}
	}
}

func TestAFolderIsAdoptedOnceItIsLetGoOf(t *testing.T) {
	dir := t.TempDir()
	a := open(t, disked(dir, 64<<20))
	big := pattern(7, 700_000)
	put(t, a, "small", "", []byte("small"), attributes("n", "h", "/small", "t"))
	put(t, a, "big", "", big, attributes("n", "h", "/big", "t"))
	put(t, a, "won", "", []byte("old"), attributes("n", "h", "/won", "t"))
	put(t, a, "other", "", []byte("other"), attributes("m", "h", "/", "t"))
	a.Flush()

	b, adopted, _ := awaiting(t, disked(dir, 64<<20))
	holds(t, b, map[string]string{"small": "", "big": "", "won": ""})
	put(t, b, "won", "", []byte("new"), attributes("n", "h", "/won"))
	put(t, b, "mine", "", []byte("mine"), attributes("n", "h", "/mine"))
	b.Flush() // there is nothing to wait for
	checkAccounts(t, b)
	time.Sleep(2 * lockLook)
	if !b.Stats().Waiting {
		t.Fatal("adopted what another store has")
	}
	if err := a.Release(); err != nil {
		t.Fatal(err)
	}
	if n := settled(t, b, adopted); n != 3 {
		t.Errorf("%d objects adopted; want 3", n)
	}
	if o := b.Get([]byte("small"), nil); o == nil || o.Tier() != Disk {
		t.Errorf("small is not from the disk: %v", o)
	}
	want := map[string]string{"small": "small", "big": string(big), "won": "new", "mine": "mine", "other": "other"}
	holds(t, b, want)
	st := b.Stats()
	if st.Objects != 5 || st.Disk.Objects != 5 || st.TagEntries != 3 || st.Namespaces["n"].Objects != 4 || st.Namespaces["m"].Disk.Objects != 1 {
		t.Errorf("after it was adopted: %+v", st)
	}
	if n, err := b.Purge(&Purge{Namespace: "n", Tags: []string{"t"}}); n != 2 || err != nil {
		t.Errorf("purged %d, %v; want 2", n, err)
	}
	delete(want, "small")
	delete(want, "big")
	checkAccounts(t, b)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	c := open(t, disked(dir, 64<<20))
	c.disk.loaded()
	want["small"], want["big"] = "", ""
	holds(t, c, want)
}

// TestWhatWasPurgedMeanwhileIsNotAdopted: each way to take something away while another
// store has the folder, and what of it is found afterwards, also by the next store; be
// it that the one that took it away adopted the folder, or that it ended before.
func TestWhatWasPurgedMeanwhileIsNotAdopted(t *testing.T) {
	tests := map[string]struct {
		do   func(s *Store)
		gone string // keys
		soft string
	}{
		"nothing": {do: func(*Store) {}},
		"a URL": {gone: "a", do: func(s *Store) {
			_, _ = s.Purge(&Purge{Namespace: "n", URLs: []URL{{"h", "/x/a"}}})
		}},
		"a URL of another namespace": {do: func(s *Store) {
			_, _ = s.Purge(&Purge{Namespace: "other", URLs: []URL{{"h", "/x/a"}}})
		}},
		"a prefix": {gone: "a b", do: func(s *Store) {
			_, _ = s.Purge(&Purge{Namespace: "n", Prefixes: []URL{{"h", "/x/"}}})
		}},
		"a prefix, softly": {soft: "a b", do: func(s *Store) {
			_, _ = s.Purge(&Purge{Namespace: "n", Prefixes: []URL{{"h", "/x/"}}, Soft: true})
		}},
		"a hostname": {gone: "a b c", do: func(s *Store) {
			_, _ = s.Purge(&Purge{Namespace: "n", Hostnames: []string{"h"}})
		}},
		"a tag": {gone: "b d", do: func(s *Store) {
			_, _ = s.Purge(&Purge{Namespace: "n", Tags: []string{"none", "even"}})
		}},
		"a tag, softly": {soft: "b d", do: func(s *Store) {
			_, _ = s.Purge(&Purge{Namespace: "n", Tags: []string{"even"}, Soft: true})
		}},
		"a tag softly and a URL": {gone: "b", soft: "d", do: func(s *Store) {
			_, _ = s.Purge(&Purge{Namespace: "n", Tags: []string{"even"}, Soft: true})
			_, _ = s.Purge(&Purge{Namespace: "n", URLs: []URL{{"h", "/x/b"}}})
		}},
		"a key": {gone: "c", do: func(s *Store) { s.Forget([]byte("c")) }},
		"an object that has won": {gone: "a", do: func(s *Store) {
			s.Remove(put(t, s, "a", "", []byte("newer"), attributes("n", "h", "/x/a")))
		}},
		"a tag that only what has won has": {gone: "a", do: func(s *Store) {
			put(t, s, "a", "", []byte("newer"), attributes("n", "h", "/x/a", "new"))
			if n, err := s.Purge(&Purge{Namespace: "n", Tags: []string{"new"}}); n != 1 || err != nil {
				t.Errorf("purged %d, %v", n, err)
			}
		}},
	}
	for name, tt := range tests {
		for _, ended := range []string{"adopted", "ended before", "another waits behind it"} {
			t.Run(name+", "+ended, func(t *testing.T) {
				dir := t.TempDir()
				a := open(t, disked(dir, 64<<20))
				late := a.Create([]byte("b"), nil, nil, attributes("n", "h", "/x/b", "even"), 1) // ends after it all
				for i, at := range []string{"h/x/a", "h/x/b", "h/y/c", "i/x/d"} {
					tags := []string{[]string{"odd", "even"}[i%2]}
					put(t, a, at[4:], "", []byte(at[4:]), attributes("n", at[:1], at[1:], tags...))
				}
				a.Flush()
				b, adopted, _ := awaiting(t, disked(dir, 64<<20))
				s := b
				if ended == "another waits behind it" {
					s, adopted, _ = awaiting(t, disked(dir, 64<<20))
				}
				tt.do(b)
				checkAccounts(t, b)
				if _, err := late.Write([]byte("b")); err != nil {
					t.Fatal(err)
				}
				if _, err := late.Commit(); err != nil {
					t.Fatal(err)
				}
				switch ended {
				case "ended before":
					b.Close()
				case "another waits behind it":
					b.Release()
				}
				a.Release()
				want := map[string]string{}
				for _, key := range []string{"a", "b", "c", "d"} {
					switch want[key] = key; {
					case strings.Contains(tt.gone, key):
						want[key] = ""
					case strings.Contains(tt.soft, key):
						want[key] += " (stale)"
					}
				}
				if ended != "ended before" {
					settled(t, s, adopted)
					holds(t, s, want)
					if text, err := os.ReadFile(filepath.Join(dir, missedName)); len(text) > 0 {
						t.Errorf("what holds is still noted: %q, %v", text, err)
					}
					s.Close()
				}
				for range 2 {
					next := open(t, disked(dir, 64<<20))
					next.disk.loaded()
					holds(t, next, want)
					checkAccounts(t, next)
					next.Close()
				}
			})
		}
	}
}

func TestWhatIsPurgedAfterItWasAdoptedIsNotMissed(t *testing.T) {
	dir := t.TempDir()
	a := open(t, disked(dir, 64<<20))
	for i := range 3000 {
		put(t, a, fmt.Sprint(i), "", []byte("old"), attributes("n", "h", fmt.Sprint("/", i), fmt.Sprint("tag", i)))
	}
	b, adopted, _ := awaiting(t, disked(dir, 64<<20))
	var all sync.WaitGroup
	gone := make(chan int, 3000)
	for worker := range 3 {
		all.Go(func() {
			for i := worker; i < 3000; i += 3 {
				switch i % 4 {
				case 0:
					if _, err := b.Purge(&Purge{Namespace: "n", Tags: []string{fmt.Sprint("tag", i)}}); err != nil {
						t.Error(err)
					}
				case 1:
					b.Forget([]byte(fmt.Sprint(i)))
				case 2:
					o := put(t, b, fmt.Sprint(i), "", []byte("new"), attributes("n", "h", fmt.Sprint("/", i)))
					b.Remove(o)
				default:
					put(t, b, fmt.Sprint(i), "", []byte("new"), attributes("n", "h", fmt.Sprint("/", i)))
					continue
				}
				gone <- i
			}
		})
	}
	all.Go(func() { // the other goes on
		for i := range 3000 {
			w := a.Create([]byte(fmt.Sprint(i)), nil, nil, attributes("n", "h", fmt.Sprint("/", i), fmt.Sprint("tag", i)), 3)
			_, _ = w.Write([]byte("old"))
			_, _ = w.Commit() // stored or not, of a store without a folder
			a.Forget([]byte(fmt.Sprint(i + 1)))
		}
	})
	for range 500 {
		<-gone
	}
	if err := a.Release(); err != nil {
		t.Error(err)
	}
	settled(t, b, adopted)
	all.Wait()
	checkAccounts(t, a)
	want := map[string]string{}
	for key := range 3000 {
		if want[fmt.Sprint(key)] = ""; key%4 == 3 {
			want[fmt.Sprint(key)] = "new"
		}
	}
	holds(t, b, want)
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	c := open(t, disked(dir, 64<<20))
	c.disk.loaded()
	holds(t, c, want)
}

func TestMorePurgesThanAreKeptEmptyTheFolder(t *testing.T) {
	dir := t.TempDir()
	a := open(t, disked(dir, 1<<20))
	put(t, a, "k", "", []byte("old"), attributes("n", "h", "/"))
	b, adopted, errs := awaiting(t, disked(dir, 1<<20))
	for i := range 3000 {
		b.Forget([]byte(fmt.Sprint(i)))
	}
	put(t, b, "mine", "", []byte("mine"), attributes("n", "h", "/mine"))
	if n, err := b.Purge(&Purge{Namespace: "n", Tags: []string{"t"}}); n != 0 || err != nil {
		t.Errorf("purged %d, %v", n, err)
	}
	if info, err := os.Stat(filepath.Join(dir, missedName)); err != nil || info.Size() > 33<<10 {
		t.Errorf("what was purged takes %v, %v", info, err)
	}
	a.Release()
	if n := settled(t, b, adopted); n != 0 {
		t.Errorf("%d objects adopted", n)
	}
	if len(errs.all) != 1 || !strings.Contains(errs.all[0].Error(), "too much was removed") {
		t.Errorf("told %v; want once that the folder was emptied", errs.all)
	}
	b.Close()
	c := open(t, disked(dir, 1<<20))
	c.disk.loaded()
	holds(t, c, map[string]string{"k": "", "mine": "mine"})
}

func TestAStoreThatNeverGetsItsFolder(t *testing.T) {
	dir := t.TempDir()
	a := open(t, disked(dir, 64<<20))
	put(t, a, "k", "", []byte("k"), attributes("n", "h", "/"))
	b, _, errs := awaiting(t, disked(dir, 64<<20))
	for i := range 2 * queueObjects { // more than may wait to be written
		put(t, b, fmt.Sprint(i), "", []byte("small"), attributes("n", "h", fmt.Sprint("/", i)))
	}
	big := b.Create([]byte("big"), nil, nil, attributes("n", "h", "/big"), -1)
	r := big.Reader()
	go func() {
		_, _ = big.Write(make([]byte, 4<<20))
		_, _ = big.Commit()
	}()
	if n, err := io.Copy(io.Discard, struct{ io.Reader }{r}); n != 4<<20 || err != nil {
		t.Errorf("a body that only the disk could hold: %d bytes, %v", n, err)
	}
	r.Close()
	if st := b.Stats(); st.QueuedObjects != 0 || st.Memory.Objects != 2*queueObjects {
		t.Errorf("while it waits: %+v", st)
	}
	checkAccounts(t, b)
	began := time.Now()
	if err := b.Close(); err != nil || time.Since(began) > 5*time.Second {
		t.Errorf("closed after %v, %v", time.Since(began), err)
	}
	if _, err := b.Purge(&Purge{Namespace: "n", Hostnames: []string{"h"}}); err != nil {
		t.Errorf("a purge after that: %v", err)
	}
	if len(errs.all) > 0 {
		t.Errorf("told %v", errs.all)
	}
	holds(t, a, map[string]string{"k": "k"})
}

// TestAReleasedStoreGoesOn: what is read and written is read and written to its end, and
// nothing reaches the folder any more.
func TestAReleasedStoreGoesOn(t *testing.T) {
	dir := t.TempDir()
	o := disked(dir, 256<<20)
	a := open(t, o)
	a.disk.loaded()
	big, long := pattern(3, 8<<20), pattern(4, 6<<20)
	put(t, a, "small", "", []byte("small"), attributes("n", "h", "/small", "t"))
	w := a.Create([]byte("big"), nil, nil, attributes("n", "h", "/big", "t"), -1)
	if _, err := w.Write(big); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	a.Flush()
	reader := a.Get([]byte("big"), nil).Reader(0, -1)
	defer reader.Close()
	if _, err := io.ReadFull(reader, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	growing := a.Create([]byte("long"), nil, nil, attributes("n", "h", "/long"), -1)
	follower := growing.Reader()
	defer follower.Close()
	if _, err := growing.Write(long[:5<<20]); err != nil { // into a file
		t.Fatal(err)
	}
	b, adopted, _ := awaiting(t, o)
	if err := a.Release(); err != nil {
		t.Fatal(err)
	}
	settled(t, b, adopted)
	go func() {
		_, _ = growing.Write(long[5<<20:])
		if _, err := growing.Commit(); !errors.Is(err, ErrTooLarge) && !errors.Is(err, ErrClosed) && !errors.Is(err, ErrFull) {
			t.Errorf("a body in a file that was let go of: %v", err)
		}
	}()
	if got, err := io.ReadAll(struct{ io.Reader }{follower}); err != nil || !bytes.Equal(got, long) {
		t.Errorf("%d bytes of a body that grows, %v; want %d", len(got), err, len(long))
	}
	if got, err := io.ReadAll(struct{ io.Reader }{reader}); err != nil || !bytes.Equal(got, big[1000:]) {
		t.Errorf("%d bytes of a body that is read, %v", len(got), err)
	}
	holds(t, a, map[string]string{"small": "small", "long": ""})
	put(t, a, "late", "", []byte("late"), attributes("n", "h", "/late", "t"))
	put(t, a, "small", "", []byte("newer"), attributes("n", "h", "/small", "t"))
	holds(t, a, map[string]string{"late": "late", "small": "newer"})
	a.Forget([]byte("big"))
	if n, err := a.Purge(&Purge{Namespace: "n", Tags: []string{"t"}}); n != 2 || err != nil {
		t.Errorf("purged %d, %v", n, err)
	}
	a.Flush()
	holds(t, a, map[string]string{"late": "", "small": "", "big": ""})
	checkAccounts(t, a)
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	holds(t, b, map[string]string{"small": "small", "big": string(big), "long": "", "late": ""})
	if n := len(glob(t, dir, "*.body")); n != 1 {
		t.Errorf("%d bodies in the folder; want 1", n)
	}
}

func TestAFolderThatCannotBeAdopted(t *testing.T) {
	tests := map[string]struct {
		after   func(t *testing.T, dir string)
		adopted bool
		told    string
	}{
		"its format was damaged": {adopted: true, after: func(t *testing.T, dir string) {
			change(t, filepath.Join(dir, formatName), func(p []byte) []byte { p[30] ^= 1; return p })
		}},
		"it was another one": {adopted: true, after: func(t *testing.T, dir string) {
			if err := writeFormat(dir, newHasher()); err != nil {
				t.Fatal(err)
			}
		}},
		"it is of another version": {told: "is a cache folder of version 200", after: func(t *testing.T, dir string) {
			change(t, filepath.Join(dir, formatName), func(p []byte) []byte { p[16] = 200; return withSum(p) })
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			a := open(t, disked(dir, 64<<20))
			put(t, a, "k", "", []byte("k"), attributes("n", "h", "/"))
			a.Flush()
			b, adopted, errs := awaiting(t, disked(dir, 64<<20))
			put(t, b, "mine", "", []byte("mine"), attributes("n", "h", "/mine"))
			tt.after(t, dir)
			a.Release()
			if tt.adopted {
				if n := settled(t, b, adopted); n != 0 {
					t.Errorf("%d objects adopted", n)
				}
			} else {
				<-b.disk.done
				if st := b.Stats(); st.Waiting || st.Disk.Objects != 0 {
					t.Errorf("%+v", st)
				}
			}
			holds(t, b, map[string]string{"k": "", "mine": "mine"})
			if n, err := b.Purge(&Purge{Namespace: "n", Hostnames: []string{"h"}}); n != 1 || err != nil {
				t.Errorf("purged %d, %v", n, err)
			}
			if tt.told == "" != (len(errs.all) == 0) || len(errs.all) > 0 && !strings.Contains(errs.all[0].Error(), tt.told) {
				t.Errorf("told %v; want %q", errs.all, tt.told)
			}
			checkAccounts(t, b)
		})
	}
	t.Run("at once", func(t *testing.T) {
		dir := t.TempDir()
		open(t, disked(dir, 64<<20))
		o := disked(dir, 64<<20)
		if _, err := Open(Options{MemoryBytes: o.MemoryBytes, Dir: dir, DiskBytes: o.DiskBytes}); !errors.Is(err, ErrInUse) {
			t.Errorf("without Wait: %v", err)
		}
		change(t, filepath.Join(dir, formatName), func(p []byte) []byte { p[16] = 200; return withSum(p) })
		o.Wait = true
		if _, err := Open(o); err == nil || !strings.Contains(err.Error(), "version 200") {
			t.Errorf("of another version: %v", err)
		}
	})
}

// TestForgetWhileLoading: what a key had on disk is not found again, whether it was read
// before or not.
func TestForgetWhileLoading(t *testing.T) {
	dir := t.TempDir()
	a := open(t, disked(dir, 64<<20))
	for i := range 5000 {
		put(t, a, fmt.Sprint(i%2500), fmt.Sprint(i), []byte("old"), attributes("n", "h", "/"))
		if i%1000 == 0 {
			a.Flush()
		}
	}
	a.Close()
	for range 2 {
		b := open(t, disked(dir, 64<<20))
		for i := range 1250 {
			b.Forget([]byte(fmt.Sprint(i)))
		}
		b.disk.loaded()
		for i := range 2500 {
			if n, want := b.Has([]byte(fmt.Sprint(i))), 2*(i/1250); n != want {
				t.Fatalf("%d variants of %d; want %d", n, i, want)
			}
		}
		b.Close()
	}
}
