package store

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// crashOptions are those of the process that is killed.
func crashOptions(dir string) Options {
	return Options{MemoryBytes: 4 << 20, Dir: dir, DiskBytes: 64 << 20}
}

const crashFolder = "PENSTOCK_STORE_CRASH_FOLDER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashFolder); dir != "" {
		crashChild(dir)
	}
	os.Exit(m.Run())
}

// sworn returns a head that says what the body is, and the body.
func sworn(generation, n int) (head string, body []byte) {
	return fmt.Sprintf("%d %d", generation, n), pattern(generation, n)
}

// generation returns what the head of o says, after comparing the body with it.
func generation(t *testing.T, o *Object) int {
	t.Helper()
	var g, n, again int
	if _, err := fmt.Sscanf(string(o.Head()), "%d %d %d", &g, &n, &again); err != nil {
		if _, err := fmt.Sscanf(string(o.Head()), "%d %d", &g, &n); err != nil {
			t.Fatalf("head of %s is %q", o.Key(), o.Head())
		}
		again = g
	}
	r := o.Reader(0, -1)
	if r == nil {
		return -1 // evicted meanwhile
	}
	defer r.Close()
	if b, err := io.ReadAll(r); err != nil || !bytes.Equal(b, pattern(g, n)) {
		t.Errorf("%s, head %q: body of %d bytes is wrong, %v", o.Key(), o.Head(), len(b), err)
	}
	return again
}

// crashChild works on a store until it is killed. What it prints has happened: "only K
// G": no object of key K before generation G may be found; "purged T G": none with tag
// T up to G.
func crashChild(dir string) {
	s, err := Open(crashOptions(dir))
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	var last atomic.Int64
	last.Store(time.Now().UnixMicro())
	fmt.Println("ready")
	for worker := range 4 {
		go func() {
			r := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), uint64(worker)))
			for {
				key := fmt.Sprintf("key-%d-%d", worker, r.IntN(60))
				g := int(last.Add(1))
				switch n := r.IntN(20); {
				case n == 0:
					tag := fmt.Sprintf("tag-%d-%d", worker, r.IntN(8))
					if _, err := s.Purge(&Purge{Namespace: "a", Tags: []string{tag}}); err == nil {
						fmt.Println("purged", tag, g)
					}
				case n == 1:
					if o := s.Get([]byte(key), nil); o != nil {
						s.Remove(o)
						fmt.Println("only", key, g)
					}
				case n < 5:
					if o := s.Get([]byte(key), nil); o != nil {
						var was, size int
						_, _ = fmt.Sscanf(string(o.Head()), "%d %d", &was, &size)
						if s.Update(o, fmt.Appendf(nil, "%d %d %d", was, size, g)) != nil {
							fmt.Println("only", key, g)
						}
					}
				default:
					size := []int{10, 3000, 50_000, 400_000, 1_000_000}[min(r.IntN(40), r.IntN(40))/8]
					head, body := sworn(g, size)
					tag := fmt.Sprintf("tag-%d-%d", worker, r.IntN(8))
					w := s.Create([]byte(key), nil, []byte(head), attributes("a", "h", "/"+key, tag), -1)
					if _, err := w.Write(body); err != nil {
						w.Abort(err)
						continue
					}
					if _, err := w.Commit(); err == nil {
						fmt.Println("only", key, g)
					}
				}
			}
		}()
	}
	select {}
}

func TestNothingWrongIsFoundAfterKill(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	times := 20
	if long {
		times = 200
	}
	r := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	only, purged := map[string]int{}, map[string]int{}
	found := 0
	for range times {
		child := exec.Command(os.Args[0], "-test.run=^$")
		child.Env = append(os.Environ(), crashFolder+"="+dir)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		if !lines.Scan() || lines.Text() != "ready" {
			t.Fatalf("the child says %q", lines.Text())
		}
		time.AfterFunc(time.Duration(r.IntN(150_000))*time.Microsecond, func() { child.Process.Kill() })
		for lines.Scan() {
			var what, of string
			var g int
			if n, _ := fmt.Sscan(lines.Text(), &what, &of, &g); n != 3 {
				continue // half a line
			}
			if what == "only" {
				only[of] = max(only[of], g)
			} else {
				purged[of] = max(purged[of], g)
			}
		}
		child.Wait()
		o := crashOptions(dir)
		o.Error = func(err error) { t.Errorf("told of %v", err) }
		s, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		s.disk.loaded()
		if n := folderBytes(t, dir); n > o.DiskBytes {
			t.Errorf("%d bytes on disk; budget %d", n, o.DiskBytes)
		}
		s.Objects("a", func(o *Object) bool {
			g := generation(t, o)
			if g < 0 {
				return true
			}
			found++
			if g < only[string(o.Key())] {
				t.Errorf("%s of generation %d came back; %d was there", o.Key(), g, only[string(o.Key())])
			}
			for tag := range o.Tags {
				var was int
				_, _ = fmt.Sscan(string(o.Head()), &was)
				if g <= purged[string(tag)] {
					t.Errorf("%s of generation %d came back; its tag %s was purged at %d", o.Key(), g, tag, purged[string(tag)])
				}
			}
			return true
		})
		checkAccounts(t, s)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			return
		}
	}
	if found < 100 || len(purged) == 0 {
		t.Errorf("%d objects found, %d tags purged: nothing is shown", found, len(purged))
	}
}

// fill opens a store in dir, puts n objects of this size into it and closes it.
func fill(t *testing.T, o Options, n, size int) {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		head, body := sworn(i, size)
		w := s.Create(fmt.Append(nil, "key", i), nil, []byte(head), attributes("a", "h", fmt.Sprint("/", i), fmt.Sprint("t", i%10)), int64(size))
		w.Write(body)
		if _, err := w.Commit(); err != nil {
			t.Fatal(err)
		}
		if i%100 == 99 {
			s.Flush()
		}
	}
	s.Flush()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// whole opens a store and returns how many of n objects are found, each whole.
func whole(t *testing.T, o Options, n int) (found int, told []error) {
	t.Helper()
	var mu sync.Mutex
	o.Error = func(err error) {
		mu.Lock()
		told = append(told, err)
		mu.Unlock()
	}
	s, err := Open(o)
	if err != nil {
		return 0, []error{err}
	}
	defer s.Close()
	s.disk.loaded()
	for i := range n {
		if o := s.Get(fmt.Append(nil, "key", i), nil); o != nil {
			r := o.Reader(0, -1)
			if r == nil {
				continue
			}
			b, err := io.ReadAll(r)
			r.Close()
			if err != nil && bytes.HasPrefix(pattern(i, o2(o)), b) {
				continue // the start of a large body, and then an error
			}
			if g := generationOf(o); g != i || !bytes.Equal(b, pattern(i, o2(o))) || err != nil {
				t.Fatalf("object %d: head %q, %d bytes, %v", i, o.Head(), len(b), err)
			}
			found++
		}
	}
	for i := range n { // what was found to be damaged is gone
		if o := s.Get(fmt.Append(nil, "key", i), nil); o != nil && generationOf(o) != i {
			t.Fatalf("object %d: head %q", i, o.Head())
		}
	}
	checkAccounts(t, s)
	return found, told
}

func o2(o *Object) int { return int(o.Size()) }

func generationOf(o *Object) (g int) {
	_, _ = fmt.Sscan(string(o.Head()), &g)
	return g
}

func glob(t *testing.T, dir, pattern string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(all) == 0 {
		t.Fatalf("no %s: %v", pattern, err)
	}
	return all
}

func change(t *testing.T, path string, do func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, do(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestDamageCostsWhatItHits(t *testing.T) {
	flip := func(at int) func([]byte) []byte {
		return func(b []byte) []byte { b[at%len(b)] ^= 1; return b }
	}
	zero := func(from, to int) func([]byte) []byte {
		return func(b []byte) []byte { clear(b[from:to]); return b }
	}
	cut := func(n int) func([]byte) []byte {
		return func(b []byte) []byte { return b[:len(b)-n] }
	}
	const n = 200 // of about 1,100 bytes
	tests := map[string]struct {
		file   string
		change func([]byte) []byte
		size   int
		least  int // found
		most   int
	}{
		"a bit of a body":                      {"*.seg", flip(100_000), 1000, n - 1, n - 1},
		"a page in the middle of a segment":    {"*.seg", zero(98304, 102400), 1000, n - 6, n - 3},
		"a segment that lacks its end":         {"*.seg", cut(500), 1000, n - 1, n - 1},
		"a segment that lacks its half":        {"*.seg", cut(110_000), 1000, n / 3, n - 80},
		"the header of a segment":              {"*.seg", flip(9), 1000, 0, 0},
		"an empty segment":                     {"*.seg", func([]byte) []byte { return nil }, 1000, 0, 0},
		"a bit of an index":                    {"*.idx", flip(5000), 1000, n, n},
		"the header of an index":               {"*.idx", flip(2), 1000, n, n},
		"an empty index":                       {"*.idx", func([]byte) []byte { return nil }, 1000, n, n},
		"a page of an index":                   {"*.idx", zero(4096, 8192), 1000, n, n},
		"an index that lacks its end":          {"*.idx", cut(1000), 1000, n, n},
		"one copy of the kills":                {"kills-a", zero(0, 16), 1000, n, n},
		"one copy of the kills is empty":       {"kills-b", func([]byte) []byte { return nil }, 1000, n, n},
		"a bit of the secret":                  {"format", flip(30), 1000, 0, 0},
		"a bit of a large body":                {"*.body", flip(200_000), 300_000, n - 1, n - 1},
		"the end of a large body":              {"*.body", flip(300_010), 300_000, n - 1, n - 1},
		"a large body that lacks its end":      {"*.body", cut(1), 300_000, n - 1, n - 1},
		"a large body of another":              {"*.body", func(b []byte) []byte { return append(pattern(9, 300_000), b[300_000:]...) }, 300_000, n - 1, n - 1},
		"a bit of the record of a large body":  {"*.seg", flip(5000), 300_000, n - 1, n - 1},
		"the index of records of large bodies": {"*.idx", flip(5000), 300_000, n, n},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o := Options{MemoryBytes: 64 << 20, Dir: filepath.Join(t.TempDir(), "c"), DiskBytes: 4 << 30}
			n := n
			if test.size > largeBody {
				n = 20
				test.least, test.most = test.least-180, test.most-180
			}
			fill(t, o, n, test.size)
			if found, told := whole(t, o, n); found != n || len(told) != 0 {
				t.Fatalf("found %d of %d before the damage, told %v", found, n, told)
			}
			change(t, glob(t, o.Dir, test.file)[0], test.change)
			found, _ := whole(t, o, n)
			if found < max(test.least, 0) || found > max(test.most, 0) {
				t.Errorf("found %d of %d; want %d to %d", found, n, test.least, test.most)
			}
			// The damage is not found twice.
			if again, told := whole(t, o, n); again != found {
				t.Errorf("found %d, then %d, told %v", found, again, told)
			}
		})
	}
}

func TestRandomDamageIsNeverServed(t *testing.T) {
	r := rand.New(rand.NewPCG(2, uint64(time.Now().UnixNano())))
	times := 30
	if long {
		times = 1000
	}
	o := Options{MemoryBytes: 64 << 20, Dir: filepath.Join(t.TempDir(), "c"), DiskBytes: 1 << 30}
	found := 0
	for i := range times {
		if i%10 == 0 {
			os.RemoveAll(o.Dir)
			fill(t, o, 300, 700)
			fill(t, Options{MemoryBytes: 64 << 20, Dir: o.Dir, DiskBytes: 1 << 30}, 10, 300_000)
		}
		entries, _ := os.ReadDir(o.Dir)
		e := entries[r.IntN(len(entries))]
		change(t, filepath.Join(o.Dir, e.Name()), func(b []byte) []byte {
			if len(b) == 0 {
				return b
			}
			at := r.IntN(len(b))
			switch r.IntN(4) {
			case 0:
				b[at] ^= 1 << r.IntN(8)
			case 1:
				clear(b[at:min(len(b), at+1+r.IntN(8192))])
			case 2:
				copy(b[at:], pattern(i, min(4096, len(b)-at)))
			default:
				b = b[:at]
			}
			return b
		})
		n, told := whole(t, o, 300)
		found += n
		if n == 0 && len(told) > 0 && e.Name() == formatName {
			os.RemoveAll(o.Dir)
			fill(t, o, 300, 700)
		}
	}
	if found < times*50 {
		t.Errorf("%d found: nothing is shown", found)
	}
}
