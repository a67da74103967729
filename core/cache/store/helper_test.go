package store

import (
	"encoding/binary"
	"hash/crc32"
	"os"
	"testing"
)

// withSum puts the right sum behind a format.
func withSum(b []byte) []byte {
	binary.LittleEndian.PutUint32(b[52:], crc32.Checksum(b[:52], castagnoli))
	return b
}

// checkAccounts compares the accounts of a store with what they are the sum of.
func checkAccounts(t testing.TB, s *Store) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var used, fixed int64
	memory, onDisk, entries := 0, 0, 0
	for id := uint32(1); id < s.table.made; id++ {
		e := s.table.entry(id)
		if e.site == 0 {
			continue
		}
		entries++
		if e.in != inNone {
			used += int64(e.cost)
			memory++
		}
		if e.bits&bitOwed != 0 {
			fixed += int64(e.cost)
		}
		if s.table.onDisk(id) {
			onDisk++
		}
		if o := *s.table.object(id); o == nil && !s.table.onDisk(id) || e.bits&(bitMarked|bitCleared) != 0 || o != nil && e.in == inNone && !e.pending {
			t.Errorf("entry %d: %+v", id, e)
		}
	}
	for _, site := range s.sites {
		fixed += site.cost()
	}
	m := &s.memory
	if m.used != used || m.fixed != fixed || m.objects != memory || m.growing < 0 {
		t.Errorf("memory holds %d and %d bytes, %d objects; sums are %d, %d, %d", m.used, m.fixed, m.objects, used, fixed, memory)
	}
	var bytes, objects int64
	for _, n := range s.namespaces {
		bytes += n.memory.bytes
		objects += int64(n.objects)
		if b := n.window.bytes + n.probation.bytes + n.protected.bytes; b != n.memory.bytes {
			t.Errorf("%s: lists hold %d bytes; want %d", n.name, b, n.memory.bytes)
		}
	}
	if bytes != used || objects != int64(entries) {
		t.Errorf("namespaces hold %d bytes, %d objects; want %d, %d", bytes, objects, used, entries)
	}
	if m.used+m.fixed+m.growing > m.budget && m.objects > 0 {
		t.Errorf("%d bytes in memory; budget %d", m.used+m.fixed+m.growing, m.budget)
	}
	if d := s.disk; d != nil {
		var files int64 = 64
		for _, n := range s.namespaces {
			files += n.disk.bytes
		}
		if d.objects != onDisk || d.used != files {
			t.Errorf("disk holds %d objects, %d bytes; sums are %d, %d", d.objects, d.used, onDisk, files)
		}
	}
}

// folderBytes returns what the files of a folder take.
func folderBytes(t testing.TB, dir string) (n int64) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			n += info.Size()
		}
	}
	return n
}

// restart closes a store once all that is queued was written, and opens it anew; on return
// all that is in its folder is known.
func restart(t *testing.T, s *Store, o Options) *Store {
	t.Helper()
	s.Flush()
	checkAccounts(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, o)
	s.disk.loaded()
	return s
}
