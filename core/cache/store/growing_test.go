package store

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestManyReadersFollowAGrowingBody(t *testing.T) {
	for name, o := range map[string]Options{
		"in memory":   {MemoryBytes: 64 << 20},
		"in a file":   {MemoryBytes: 1 << 20, Dir: t.TempDir(), DiskBytes: 1 << 30},
		"passed only": {MemoryBytes: 1 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, o)
			if s.disk != nil {
				s.disk.loaded()
			}
			want := pattern(1, 3_500_001)
			w := s.Create([]byte("k"), nil, nil, attributes("a", "h", "/"), -1)
			const readers = 20
			got := make([][]byte, readers)
			errs := make([]error, readers)
			var all sync.WaitGroup
			for i := range readers {
				r := w.Reader()
				all.Go(func() {
					defer r.Close()
					buffer := make([]byte, 1+i*9973)
					for {
						if i%2 == 0 {
							p, err := r.Next()
							got[i] = append(got[i], p...)
							if errs[i] = err; err != nil {
								return
							}
						}
						n, err := r.Read(buffer)
						got[i] = append(got[i], buffer[:n]...)
						if errs[i] = err; err != nil {
							return
						}
					}
				})
			}
			if w.Readers() != readers {
				t.Errorf("%d readers; want %d", w.Readers(), readers)
			}
			for rest := want; len(rest) > 0; {
				n := min(50_001, len(rest))
				if _, err := w.Write(rest[:n]); err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
			}
			if n := w.Written(); n != int64(len(want)) {
				t.Errorf("%d written", n)
			}
			_, err := w.Commit()
			if name == "passed only" {
				if !errors.Is(err, ErrTooLarge) {
					t.Errorf("got %v; want ErrTooLarge", err)
				}
			} else if err != nil {
				t.Error(err)
			}
			all.Wait()
			for i := range readers {
				if errs[i] != io.EOF || !bytes.Equal(got[i], want) {
					t.Errorf("reader %d got %d bytes, %v", i, len(got[i]), errs[i])
				}
			}
			if n := s.Stats().WritingBytes; n != 0 {
				t.Errorf("%d bytes are still being written", n)
			}
			if name != "passed only" {
				if s.disk != nil {
					s.Flush()
				}
				if o := s.Get([]byte("k"), nil); o == nil || !bytes.Equal(body(t, o), want) {
					t.Error("not found whole")
				}
			}
		})
	}
}

func TestATooLargeBodyHoldsNoMoreThanAWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := Open(Options{MemoryBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		w := s.Create([]byte("k"), nil, nil, attributes("a", "h", "/"), 10<<20)
		fast, slow := w.Reader(), w.Reader()
		finished := make(chan error, 1)
		content := pattern(3, 2<<20)
		go func() {
			_, err := w.Write(content)
			finished <- err
		}()
		var got []byte
		synctest.Wait() // it has filled the window
		if n := w.Written(); n != passWindow {
			t.Errorf("%d bytes ahead of the slowest reader; want %d", n, passWindow)
		}
		for len(got) < passWindow {
			p, err := fast.Next()
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, p...)
		}
		synctest.Wait()
		if n := w.Written(); n != passWindow {
			t.Errorf("%d bytes written; a slow reader has read nothing", n)
		}
		slow.Close()
		for len(got) < len(content) {
			p, err := fast.Next()
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, p...)
			if n := s.Stats().WritingBytes; n > 2*passWindow+4096 {
				t.Fatalf("%d bytes are held", n)
			}
		}
		if err := <-finished; err != nil || !bytes.Equal(got, content) {
			t.Errorf("got %d bytes, %v", len(got), err)
		}
		if w.Reader() != nil {
			t.Error("a new reader from the start, which is gone")
		}
		fast.Close()
		if _, err := w.Write([]byte("more")); !errors.Is(err, ErrTooLarge) {
			t.Errorf("write without readers: %v", err)
		}
		if _, err := w.Commit(); !errors.Is(err, ErrSize) && !errors.Is(err, ErrTooLarge) {
			t.Errorf("commit: %v", err)
		}
		if st := s.Stats(); st.WritingBytes != 0 || st.Memory.Bytes != 0 || st.Writing != 0 {
			t.Errorf("left: %+v", st)
		}
	})
}

func TestEndsOfABody(t *testing.T) {
	boom := errors.New("origin went away")
	tests := map[string]struct {
		size  int64
		limit int64
		write int
		end   func(w *Writer) error
		want  error // of Commit
		read  error // of readers
	}{
		"aborted":              {-1, 0, 100, func(w *Writer) error { w.Abort(boom); return nil }, nil, boom},
		"aborted without why":  {-1, 0, 100, func(w *Writer) error { w.Abort(nil); return nil }, nil, io.ErrUnexpectedEOF},
		"shorter than said":    {101, 0, 100, nil, ErrSize, io.ErrUnexpectedEOF},
		"longer than said":     {99, 0, 100, nil, ErrSize, io.ErrUnexpectedEOF},
		"beyond Limit":         {-1, 99, 100, nil, ErrTooLarge, io.EOF},
		"at Limit":             {-1, 100, 100, nil, nil, io.EOF},
		"said to be beyond it": {200, 150, 200, nil, ErrTooLarge, io.EOF},
		"nothing":              {-1, 0, 0, nil, nil, io.EOF},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := open(t, Options{})
			w := s.Create([]byte("k"), nil, nil, attributes("a", "h", "/"), test.size)
			w.Limit = test.limit
			r := w.Reader()
			defer r.Close()
			want := pattern(1, test.write)
			if _, err := w.Write(want); err != nil {
				t.Fatal(err)
			}
			var err error
			if test.end != nil {
				err = test.end(w)
			} else {
				_, err = w.Commit()
			}
			if !errors.Is(err, test.want) {
				t.Errorf("commit: %v; want %v", err, test.want)
			}
			got, err := io.ReadAll(r)
			if err == nil {
				err = io.EOF
			}
			if err != test.read || !bytes.Equal(got, want) {
				t.Errorf("a reader got %d bytes, %v; want %d, %v", len(got), err, len(want), test.read)
			}
			if _, err := w.Write([]byte("x")); err == nil {
				t.Error("written after the end")
			}
			if _, err := w.Commit(); err == nil {
				t.Error("committed twice")
			}
			w.Abort(boom) // does nothing
			if found := s.Get([]byte("k"), nil) != nil; found != (test.end == nil && test.want == nil) {
				t.Errorf("found: %v", found)
			}
			if st := s.Stats(); st.WritingBytes != 0 || st.Writing != 0 {
				t.Errorf("left: %+v", st)
			}
		})
	}
}

func TestCloseAndAbortEndAWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := Open(Options{MemoryBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		w := s.Create([]byte("k"), nil, nil, attributes("a", "h", "/"), -1)
		closed, aborted := w.Reader(), w.Reader()
		ends := make(chan error, 2)
		wait := func(r *Reader) {
			_, err := r.Next()
			ends <- err
		}
		go wait(closed)
		synctest.Wait()
		closed.Close()
		closed.Close()
		if err := <-ends; err != ErrClosed {
			t.Errorf("after Close: %v", err)
		}
		go wait(aborted)
		synctest.Wait()
		boom := errors.New("boom")
		w.Abort(boom)
		if err := <-ends; err != boom {
			t.Errorf("after Abort: %v", err)
		}
		if n, err := closed.Read(make([]byte, 1)); n != 0 || err != ErrClosed {
			t.Errorf("read after Close: %d, %v", n, err)
		}
		// A writer that waits for a reader ends, too.
		w = s.Create([]byte("k"), nil, nil, attributes("a", "h", "/"), -1)
		w.Limit = 1
		slow := w.Reader()
		go func() {
			_, err := w.Write(make([]byte, 1<<20))
			ends <- err
		}()
		synctest.Wait()
		slow.Close()
		if err := <-ends; !errors.Is(err, ErrTooLarge) {
			t.Errorf("a write whose last reader went: %v", err)
		}
		w.Abort(nil)
	})
}

func TestBuffered(t *testing.T) {
	s := open(t, Options{})
	w := s.Create([]byte("k"), nil, nil, attributes("a", "h", "/"), -1)
	r := w.Reader()
	defer r.Close()
	want := func(n int) {
		t.Helper()
		if got := r.Buffered(); got != n {
			t.Errorf("%d buffered; want %d", got, n)
		}
	}
	want(0)
	w.Write(make([]byte, 10_000))
	want(10_000)
	r.Read(make([]byte, 100))
	want(9_900)
	for r.Buffered() > 0 {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}
	w.Write(make([]byte, 5))
	want(5)
}

func TestFollowersDoNotWaitForEachOther(t *testing.T) {
	s := open(t, Options{MemoryBytes: 1 << 20, Dir: t.TempDir(), DiskBytes: 1 << 30})
	s.disk.loaded()
	w := s.Create([]byte("k"), nil, nil, attributes("a", "h", "/"), -1)
	slow := w.Reader()
	defer slow.Close()
	content := pattern(2, 4_000_000)
	done := make(chan error, 1)
	go func() {
		_, err := w.Write(content)
		if err == nil {
			_, err = w.Commit()
		}
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("a reader that does not read holds the body up")
	}
	if got, err := io.ReadAll(slow); err != nil || !bytes.Equal(got, content) {
		t.Errorf("the slow reader got %d bytes, %v", len(got), err)
	}
}
