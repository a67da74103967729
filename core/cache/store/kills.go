package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
)

// kill says that a record is dead, that its object is stale, or that older records of
// an object are dead wherever they are. A segment's number is not given twice while
// kills of it are kept.
type kill struct {
	kind    killKind
	segment uint32
	offset  uint32 // killOlder: hash of the variant
	hash    uint64 // killOlder: of the key
	stamp   int64  // killOlder: of the record that is not older
}

type killKind uint32

const (
	killDead  killKind = 1 + iota
	killStale          // soft purged
	killOlder          // all of key and variant with an earlier stamp
	killNone           // of a log without kills: it is there, and whole
)

// killLog is two files of the same kills, so that the loss of a page of one forgets
// none. Entries have 32 bytes: kind, segment, offset, hash, stamp, CRC-32C of them.
type killLog struct {
	mu    sync.Mutex
	files [2]*os.File
	size  atomic.Int64 // of each; changed under mu
	after int64        // size when it was last rewritten
}

const killBytes = 32

var killNames = [2]string{"kills-a", "kills-b"}

func appendKills(dst []byte, kills ...kill) []byte {
	for _, k := range kills {
		start := len(dst)
		for _, v := range []uint32{uint32(k.kind), k.segment, k.offset} {
			dst = binary.LittleEndian.AppendUint32(dst, v)
		}
		dst = binary.LittleEndian.AppendUint64(dst, k.hash)
		dst = binary.LittleEndian.AppendUint64(dst, uint64(k.stamp))
		dst = binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
	}
	return dst
}

// killAt returns the entry that p begins with.
func killAt(p []byte) (k kill, ok bool) {
	if len(p) < killBytes {
		return kill{}, false
	}
	le := binary.LittleEndian
	k = kill{killKind(le.Uint32(p)), le.Uint32(p[4:]), le.Uint32(p[8:]), le.Uint64(p[12:]), int64(le.Uint64(p[20:]))}
	return k, crc32.Checksum(p[:28], castagnoli) == le.Uint32(p[28:]) && k.kind >= killDead && k.kind <= killNone
}

// place is where a record is.
type place struct{ segment, offset uint32 }

// identity is what two records of one object have in common.
type identity struct {
	hash    uint64
	variant uint32
}

// dead says of records whether they were killed.
type dead struct {
	records map[place]kill
	older   map[identity]int64
}

// add notes a kill; death outlives staleness.
func (d *dead) add(k kill) {
	switch k.kind {
	case killOlder:
		i := identity{k.hash, k.offset}
		d.older[i] = max(d.older[i], k.stamp)
	case killDead, killStale:
		at := place{k.segment, k.offset}
		if d.records[at].kind != killDead {
			d.records[at] = k
		}
	}
}

// of returns what was done to a record: 0 for nothing.
func (d *dead) of(segment uint32, x *indexed) killKind {
	if x.stored < d.older[identity{x.hash, x.variant}] {
		return killDead
	}
	return d.records[place{segment, x.offset}].kind
}

// kills returns those that may matter if there are these segments.
func (d *dead) kills(there func(segment uint32) bool) (kept []kill) {
	for _, k := range d.records {
		if there(k.segment) {
			kept = append(kept, k)
		}
	}
	for i, stamp := range d.older {
		kept = append(kept, kill{kind: killOlder, offset: i.variant, hash: i.hash, stamp: stamp})
	}
	return kept
}

// parseKills reads both copies. whole is false if an entry is in neither: then
// something dead might be taken for alive.
func parseKills(a, b []byte) (all dead, whole bool) {
	all = dead{map[place]kill{}, map[identity]int64{}}
	n := max(len(a), len(b)) / killBytes
	for i := range n {
		k, ok := kill{}, false
		for _, p := range [][]byte{a, b} {
			if !ok && len(p) >= (i+1)*killBytes {
				k, ok = killAt(p[i*killBytes:])
			}
		}
		if !ok {
			return all, false
		}
		all.add(k)
	}
	return all, n > 0
}

// readKills reads the log of a folder.
func readKills(dir string) (all dead, whole bool) {
	var p [2][]byte
	for i, name := range killNames {
		p[i], _ = os.ReadFile(filepath.Join(dir, name)) // one that is missing has no entry
	}
	return parseKills(p[0], p[1])
}

// rewrite replaces the log by one of these kills, and opens it.
func (l *killLog) rewrite(dir string, kills []kill) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.replace(dir, kills)
}

func (l *killLog) replace(dir string, kills []kill) error {
	text := appendKills(appendKills(nil, kill{kind: killNone}), kills...)
	for i, name := range killNames {
		f, err := replaceFile(filepath.Join(dir, name), text)
		if err != nil {
			return err
		}
		if l.files[i] != nil {
			l.files[i].Close()
		}
		l.files[i] = f
	}
	l.size.Store(int64(len(text)))
	l.after = l.size.Load()
	return nil
}

// add writes kills to both files, with sync through to the disk.
func (l *killLog) add(kills []kill, sync bool) error {
	files, err := l.append(appendKills(make([]byte, 0, killBytes*len(kills)), kills...))
	for i := 0; err == nil && sync && i < len(files); i++ {
		// The lock is not held: others need not wait for the disk. A file that was
		// closed meanwhile was synced, or its place taken by one that was.
		if err = files[i].Sync(); errors.Is(err, os.ErrClosed) {
			err = nil
		}
	}
	if err != nil && err != ErrClosed {
		return fmt.Errorf("note what was removed: %w", err)
	}
	return err
}

// append writes text behind what is in both files.
func (l *killLog) append(text []byte) (files [2]*os.File, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.files {
		if f == nil {
			return files, ErrClosed
		}
		if _, err := f.WriteAt(text, l.size.Load()); err != nil {
			return files, err
		}
	}
	l.size.Add(int64(len(text)))
	return l.files, nil
}

// shrink rewrites a log that has grown without the kills of segments that are gone.
// What was killed as older was found and killed itself by now: everything is loaded.
func (l *killLog) shrink(dir string, there func(segment uint32) bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := l.size.Load(); n < 64<<10 || n < 2*l.after {
		return nil
	}
	all, whole := readKills(dir)
	if !whole {
		return fmt.Errorf("%s: both copies are damaged", killNames[0])
	}
	all.older = nil
	return l.replace(dir, all.kills(there))
}

// close syncs and closes both files.
func (l *killLog) close() (err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, f := range l.files {
		if f != nil {
			err = errors.Join(err, f.Sync(), f.Close())
		}
		l.files[i] = nil
	}
	return err
}

// bytes returns what the log takes of the disk, also while it is rewritten.
func (l *killLog) bytes() int64 { return 3 * l.size.Load() }

// syncFolder makes sure that what was renamed in a folder stays so when the machine
// stops: else what is synced to the new file later might be lost with it.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// replaceFile puts a file of this text in the place of path, at once, and returns it
// open.
func replaceFile(path string, text []byte) (*os.File, error) {
	f, err := os.OpenFile(path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	if _, err = f.Write(text); err == nil {
		if err = f.Sync(); err == nil {
			err = os.Rename(path+".new", path)
		}
	}
	if err == nil {
		err = syncFolder(filepath.Dir(path))
	}
	if err != nil {
		f.Close()
		os.Remove(path + ".new")
		return nil, err
	}
	return f, nil
}
