package store

import (
	"bytes"
	"io"
	"path/filepath"
	"testing"
)

func TestFileOfALargeBody(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{MemoryBytes: 4 << 20, Dir: dir, DiskBytes: 1 << 30})
	s.disk.loaded()
	want := pattern(5, 9_000_000)
	w := s.Create([]byte("k"), nil, []byte("head"), attributes("a", "h", "/"), int64(len(want)))
	if _, err := w.Write(want); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	s.Flush()
	o := s.Get([]byte("k"), nil)
	if o == nil || o.Tier() != Disk {
		t.Fatalf("found %v", o)
	}
	for _, part := range [][2]int64{{0, -1}, {70_001, 100}, {8_999_000, -1}, {0, 0}} {
		r := o.Reader(part[0], part[1])
		var got []byte
		for {
			f, offset, n, ok := r.File()
			if !ok {
				break
			}
			p := make([]byte, min(n, 3_000_000))
			if _, err := f.ReadAt(p, offset); err != nil {
				t.Fatal(err)
			}
			got = append(got, p...)
			r.Skip(int64(len(p)))
			if len(got) > 1_000_000 { // and the rest by other means
				p, err := r.Next()
				if err != nil && err != io.EOF {
					t.Fatal(err)
				}
				got = append(got, p...)
			}
		}
		r.Close()
		end := int64(len(want))
		if part[1] >= 0 {
			end = part[0] + part[1]
		}
		if !bytes.Equal(got, want[part[0]:end]) {
			t.Errorf("part %v: %d bytes; want %d", part, len(got), end-part[0])
		}
	}
	// Now that all was checked, File gives it whole.
	r := o.Reader(0, -1)
	if _, _, n, ok := r.File(); !ok || n != int64(len(want)) {
		t.Errorf("%d bytes, %v; want all %d", n, ok, len(want))
	}
	if m := testing.AllocsPerRun(100, func() { r.File() }); m != 0 {
		t.Errorf("File: %v allocations; want 0", m)
	}
	// Removed while it is read: it is read to the end, then the file is gone.
	s.Remove(o)
	if o.Reader(0, -1) == nil {
		t.Error("no reader while another one holds the file")
	} else if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want) {
		t.Errorf("read %d bytes after Remove, %v", len(got), err)
	}
	r.Close()
}

func TestFilesGoWithTheirLastReader(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{MemoryBytes: 1 << 20, Dir: dir, DiskBytes: 1 << 30})
	s.disk.loaded()
	files := func() int {
		all, _ := filepath.Glob(filepath.Join(dir, "*"+largeSuffix))
		return len(all)
	}
	write := func() *Writer {
		w := s.Create([]byte("k"), nil, nil, attributes("a", "h", "/"), -1)
		if _, err := w.Write(pattern(1, 2_000_000)); err != nil {
			t.Fatal(err)
		}
		return w
	}
	w := write()
	r := w.Reader()
	w.Abort(nil)
	if files() != 1 {
		t.Errorf("%d files while an aborted body is read; want 1", files())
	}
	if got, err := io.ReadAll(r); err != io.ErrUnexpectedEOF || !bytes.Equal(got, pattern(1, 2_000_000)) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	r.Close()
	if files() != 0 {
		t.Errorf("%d files after the last reader; want 0", files())
	}
	w = write()
	o, err := w.Commit()
	if err != nil {
		t.Fatal(err)
	}
	r = o.Reader(0, -1)
	s.Flush()
	if n, err := s.Purge(&Purge{Namespace: "a", Hostnames: []string{"h"}}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if files() != 1 || s.Stats().Disk.Bytes < 2_000_000 {
		t.Errorf("%d files, %d bytes while a purged body is read", files(), s.Stats().Disk.Bytes)
	}
	r.Close()
	if files() != 0 || s.Stats().Disk.Bytes > 100_000 || o.Reader(0, -1) != nil {
		t.Errorf("%d files, %d bytes after the last reader", files(), s.Stats().Disk.Bytes)
	}
}

func TestAnUpdatedLargeBodyKeepsItsFile(t *testing.T) {
	o := Options{MemoryBytes: 1 << 20, Dir: t.TempDir(), DiskBytes: 1 << 30}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	s.disk.loaded()
	want := pattern(1, 1_000_000)
	first := put(t, s, "k", "", want, attributes("a", "h", "/"))
	s.Flush()
	if s.Update(first, []byte("second")) == nil {
		t.Fatal("not updated")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if entries, _ := filepath.Glob(filepath.Join(o.Dir, "*"+largeSuffix)); len(entries) != 1 {
		t.Errorf("%d files; want 1", len(entries))
	}
	s = open(t, o)
	s.disk.loaded()
	if got := s.Get([]byte("k"), nil); got == nil || string(got.Head()) != "second" || !bytes.Equal(body(t, got), want) {
		t.Errorf("found %v", got)
	}
}
