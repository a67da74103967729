package store

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestManyAtOnce has writers, readers, updates and purges on the same few keys, and
// tiers that are much too small. Heads say what bodies are.
func TestManyAtOnce(t *testing.T) {
	tests := map[string]Options{
		"in memory":            {MemoryBytes: 1 << 20},
		"on disk":              {MemoryBytes: 1 << 20, DiskBytes: 16 << 20},
		"on disk, few objects": {MemoryBytes: 8 << 20, MemoryObjects: 20, DiskBytes: 64 << 20, DiskObjects: 40, TagEntries: 60},
	}
	for name, o := range tests {
		t.Run(name, func(t *testing.T) {
			if o.DiskBytes > 0 {
				o.Dir = t.TempDir()
				o.Error = func(err error) { t.Errorf("told of %v", err) }
			}
			s := open(t, o)
			stop := time.Now().Add(time.Second)
			if long {
				stop = stop.Add(time.Minute)
			}
			var generations, found, purged atomic.Int64
			// A tag of each generation of hundreds: once it is purged, none is found.
			var all sync.WaitGroup
			for worker := range 8 {
				all.Go(func() {
					r := rand.New(rand.NewPCG(uint64(worker), 1))
					for time.Now().Before(stop) && !t.Failed() {
						key := fmt.Appendf(nil, "key%d", r.IntN(100))
						switch n := r.IntN(20); {
						case n < 6:
							g := int(generations.Add(1))
							size := []int{10, 2000, 60_000, 300_000, 700_000}[min(r.IntN(20), r.IntN(20))/4]
							head, content := sworn(g, size)
							a := attributes(fmt.Sprint("ns", r.IntN(3)), "h", "/"+string(key), fmt.Sprint("g", g/100))
							w := s.Create(key, fmt.Append(nil, r.IntN(3)), []byte(head), a, -1)
							reader := w.Reader()
							var readers sync.WaitGroup
							readers.Go(func() {
								defer reader.Close()
								if b, err := io.ReadAll(reader); err != nil || !bytes.Equal(b, content) {
									t.Errorf("a follower of %d got %d bytes, %v", g, len(b), err)
								}
							})
							if _, err := w.Write(content); err != nil {
								t.Error(err)
							}
							if _, err := w.Commit(); err != nil && err != ErrPurged && err != ErrTags && err != ErrFull && err != ErrTooLarge && err != errNoRoom {
								t.Error(err)
							}
							readers.Wait()
						case n < 16:
							if o := s.Get(key, nil); o != nil {
								generation(t, o)
								found.Add(1)
							}
						case n < 18:
							if o := s.Get(key, nil); o != nil {
								var was, size int
								_, _ = fmt.Sscanf(string(o.Head()), "%d %d", &was, &size)
								if u := s.Update(o, fmt.Appendf(nil, "%d %d %d", was, size, was)); u != nil {
									generation(t, u)
								}
							}
						case n < 19:
							if o := s.Get(key, nil); o != nil {
								s.Remove(o)
								if s.Update(o, nil) != nil {
									t.Error("a removed object was updated")
								}
							}
						default:
							tag := fmt.Sprint("g", generations.Load()/100)
							p := &Purge{Namespace: fmt.Sprint("ns", r.IntN(3)), Tags: []string{tag}, Soft: r.IntN(2) == 0}
							before := generations.Load()
							n, err := s.Purge(p)
							if err != nil {
								t.Error(err)
							}
							purged.Add(int64(n))
							if r.IntN(4) == 0 {
								s.Objects(p.Namespace, func(o *Object) bool {
									var g int
									_, _ = fmt.Sscan(string(o.Head()), &g)
									for has := range o.Tags {
										if string(has) == tag && int64(g) <= before && !p.Soft && !strings.HasSuffix(tag, "x") && int64(g) < before-50 {
											t.Errorf("%d is there after its tag was purged", g)
										}
									}
									return true
								})
							}
						}
					}
				})
			}
			all.Go(func() {
				tick := time.NewTicker(time.Millisecond)
				defer tick.Stop()
				for now := time.Now(); now.Before(stop); now = <-tick.C {
					st := s.Stats()
					if st.Memory.Bytes > o.MemoryBytes && st.Memory.Objects > 0 {
						t.Errorf("%d bytes in memory; budget %d", st.Memory.Bytes, o.MemoryBytes)
					}
					if st.Disk.Bytes > o.DiskBytes || o.Dir != "" && folderBytes(t, o.Dir) > o.DiskBytes {
						t.Errorf("%d bytes on disk, %d in files; budget %d", st.Disk.Bytes, folderBytes(t, o.Dir), o.DiskBytes)
					}
				}
			})
			all.Wait()
			if found.Load() == 0 || purged.Load() == 0 {
				t.Errorf("%d found, %d purged: nothing is shown", found.Load(), purged.Load())
			}
			s.Flush()
			checkAccounts(t, s)
			if n := s.Stats().WritingBytes; n != 0 {
				t.Errorf("%d bytes are being written by nobody", n)
			}
		})
	}
}

// TestPurgeMeetsWhatIsBeingStored: whatever the order, after Purge has returned nothing
// is found that was begun before.
func TestPurgeMeetsWhatIsBeingStored(t *testing.T) {
	s := open(t, Options{MemoryBytes: 8 << 20, Dir: t.TempDir(), DiskBytes: 64 << 20})
	for round := range 300 {
		var all sync.WaitGroup
		key := fmt.Append(nil, "key", round)
		for range 4 {
			w := s.Create(key, nil, nil, attributes("a", "h", "/", "t"), -1)
			all.Go(func() {
				w.Write(make([]byte, 1000))
				if _, err := w.Commit(); err != nil && err != ErrPurged {
					t.Error(err)
				}
			})
		}
		if round%2 == 0 {
			all.Go(s.Flush)
		}
		if _, err := s.Purge(&Purge{Namespace: "a", Tags: []string{"t"}}); err != nil {
			t.Fatal(err)
		}
		if s.Get(key, nil) != nil {
			t.Fatal("found after the purge")
		}
		all.Wait()
		if s.Get(key, nil) != nil {
			t.Fatal("stored after the purge")
		}
	}
}
