package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// A process that waits for its folder cannot note in it what it purges and removes: the
// kills are those of the process that has the lock. It writes it behind the end of a file
// of its own kind, and whoever locks the folder next heeds that before anything in it can
// be found. Entries are
//
//	0 length of all, 4 CRC-32C of what follows, 8 kind
//
// and then, by kind, numbers of 64 bits and texts with their length, 32 bits.
const missedName = "missed"

type missedKind byte

const (
	missedKey    missedKind = 1 + iota // hash of the key: all of its variants are dead
	missedObject                       // hash of the key, hash of the variant
	missedPurge                        // soft, namespace, and how many texts of each list, and these
	missedAll                          // more than is kept: all that the folder holds is dead
)

// missedMost bounds the file, in bytes.
const missedMost = 4 << 20

// missed is what the file says.
type missed struct {
	all        bool
	keys       map[uint64]bool
	objects    map[identity]bool
	hard, soft purged
	end        int64 // of what was read
}

// purged is what purges name.
type purged struct {
	hashes    map[uint64]bool        // of tags and URLs
	hostnames map[[2]string]bool     // namespace and hostname
	prefixes  map[[2]string][]string // of paths, by namespace and hostname
}

// any reports whether there is something in it.
func (m *missed) any() bool { return m.end > 0 }

func appendMissedKind(dst []byte, k missedKind) []byte {
	return append(dst, 0, 0, 0, 0, 0, 0, 0, 0, byte(k))
}

func appendMissedAll(dst []byte) []byte {
	return sealEntry(appendMissedKind(dst, missedAll), len(dst))
}

func appendMissedKey(dst []byte, hash uint64) []byte {
	start := len(dst)
	return sealEntry(binary.LittleEndian.AppendUint64(appendMissedKind(dst, missedKey), hash), start)
}

func appendMissedObject(dst []byte, i identity) []byte {
	start := len(dst)
	dst = binary.LittleEndian.AppendUint64(appendMissedKind(dst, missedObject), i.hash)
	return sealEntry(binary.LittleEndian.AppendUint64(dst, uint64(i.variant)), start)
}

func appendMissedPurge(dst []byte, p *Purge) []byte {
	start := len(dst)
	dst = appendMissedKind(dst, missedPurge)
	soft := byte(0)
	if p.Soft {
		soft = 1
	}
	dst = appendText(append(dst, soft), p.Namespace)
	for _, list := range p.texts() {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(list)))
		for _, text := range list {
			dst = appendText(dst, text)
		}
	}
	return sealEntry(dst, start)
}

func appendText(dst []byte, text string) []byte {
	return append(binary.LittleEndian.AppendUint32(dst, uint32(len(text))), text...)
}

// texts returns tags, hostnames, and hostnames and paths of URLs and of prefixes.
func (p *Purge) texts() (lists [4][]string) {
	lists[0], lists[1] = p.Tags, p.Hostnames
	for i, urls := range [][]URL{p.URLs, p.Prefixes} {
		for _, u := range urls {
			lists[2+i] = append(lists[2+i], u.Hostname, u.Path)
		}
	}
	return lists
}

// parseMissed reads the file. What is damaged might have been anything: then all is
// missed.
func parseMissed(p []byte, h *hasher) (m missed) {
	m.keys, m.objects, m.end = map[uint64]bool{}, map[identity]bool{}, int64(len(p))
	for _, to := range []*purged{&m.hard, &m.soft} {
		*to = purged{map[uint64]bool{}, map[[2]string]bool{}, map[[2]string][]string{}}
	}
	le := binary.LittleEndian
	for len(p) > 0 && !m.all {
		if len(p) < 9 {
			m.all = true
			break
		}
		n := int(le.Uint32(p))
		if n < 9 || n > len(p) || crc32.Checksum(p[8:n], castagnoli) != le.Uint32(p[4:]) {
			m.all = true
			break
		}
		of := p[9:n]
		switch kind := missedKind(p[8]); {
		case kind == missedKey && len(of) == 8:
			m.keys[le.Uint64(of)] = true
		case kind == missedObject && len(of) == 16:
			m.objects[identity{le.Uint64(of), uint32(le.Uint64(of[8:]))}] = true
		default:
			purge, ok := parsePurge(of)
			if m.all = kind != missedPurge || !ok; ok {
				m.add(purge, h)
			}
		}
		p = p[n:]
	}
	return m
}

// parsePurge reads what appendMissedPurge wrote.
func parsePurge(p []byte) (*Purge, bool) {
	if len(p) == 0 || p[0] > 1 {
		return nil, false
	}
	q := &Purge{Soft: p[0] == 1}
	p = p[1:]
	number := func() (n int, ok bool) {
		if len(p) < 4 || int(binary.LittleEndian.Uint32(p)) > len(p)-4 { // each text takes 4 bytes at least
			return 0, false
		}
		n, p = int(binary.LittleEndian.Uint32(p)), p[4:]
		return n, true
	}
	text := func() (t string, ok bool) {
		n, ok := number()
		if ok {
			t, p = string(p[:n]), p[n:]
		}
		return t, ok
	}
	var ok bool
	if q.Namespace, ok = text(); !ok {
		return nil, false
	}
	var lists [4][]string
	for i := range lists {
		n, ok := number()
		if !ok || i >= 2 && n%2 != 0 {
			return nil, false
		}
		for range n {
			t, ok := text()
			if !ok {
				return nil, false
			}
			lists[i] = append(lists[i], t)
		}
	}
	q.Tags, q.Hostnames = lists[0], lists[1]
	for i, urls := range []*[]URL{&q.URLs, &q.Prefixes} {
		for of := lists[2+i]; len(of) > 0; of = of[2:] {
			*urls = append(*urls, URL{of[0], of[1]})
		}
	}
	return q, len(p) == 0
}

// add takes a purge in.
func (m *missed) add(p *Purge, h *hasher) {
	to := &m.hard
	if p.Soft {
		to = &m.soft
	}
	for _, tag := range p.Tags {
		to.hashes[h.tag(p.Namespace, []byte(tag))] = true
	}
	for _, u := range p.URLs {
		to.hashes[h.url(p.Namespace, u.Hostname, []byte(u.Path))] = true
	}
	for _, hostname := range p.Hostnames {
		to.hostnames[[2]string{p.Namespace, hostname}] = true
	}
	for _, u := range p.Prefixes {
		at := [2]string{p.Namespace, u.Hostname}
		to.prefixes[at] = append(to.prefixes[at], u.Path)
	}
}

// of returns what was done to a record of a namespace: 0 for nothing. path reads the
// path of its URL; ok is false if it cannot be read: then it is what was purged.
func (m *missed) of(x *found, namespace string, path func() (p string, ok bool)) killKind {
	if m.keys[x.hash] || m.objects[identity{x.hash, x.variant}] {
		return killDead
	}
	at := [2]string{namespace, x.site.hostname}
	known, read, ok := "", false, false
	for i, names := range []*purged{&m.hard, &m.soft} {
		met := names.hostnames[at] || names.hashes[x.url]
		for tags := x.tags; len(tags) >= 8 && !met; tags = tags[8:] {
			met = names.hashes[binary.LittleEndian.Uint64(tags)]
		}
		for _, prefix := range names.prefixes[at] {
			if met {
				break
			}
			if !read {
				known, ok = path()
				read = true
			}
			met = !ok || strings.HasPrefix(known, prefix)
		}
		if met && i == 0 {
			return killDead
		} else if met {
			return killStale
		}
	}
	return 0
}

// missedLog writes the file.
type missedLog struct {
	mu   sync.Mutex
	path string
	most int64
	lost bool // there was more than it takes, or it could not be written
}

// add appends entries; with sync they are there also after the machine itself stops. When
// the file is full all is missed. An error: the next process may not know of it.
func (l *missedLog) add(text []byte, sync bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.change(func(f *os.File, size int64) error {
		if l.lost = l.lost || size+int64(len(text)) > l.most; l.lost {
			text, sync = appendMissedAll(nil), true
			if size > l.most {
				return nil // it says so
			}
		}
		if _, err := f.WriteAt(text, size); err != nil {
			return err
		}
		if !sync {
			return nil
		}
		if err := f.Sync(); err != nil || size > 0 {
			return err
		}
		return syncFolder(filepath.Dir(l.path))
	})
	if err != nil {
		l.lost, err = true, fmt.Errorf("note what was removed: %w", err)
	}
	return err
}

// change calls do while no other process changes the file: several may wait for the
// folder, one behind the other.
func (l *missedLog) change(do func(f *os.File, size int64) error) error {
	f, err := os.OpenFile(l.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return do(f, info.Size())
}

// read returns what the file says.
func (l *missedLog) read(h *hasher) missed {
	l.mu.Lock()
	defer l.mu.Unlock()
	var text []byte
	_, err := os.Stat(l.path)
	if err == nil {
		err = l.change(func(f *os.File, _ int64) (err error) {
			text, err = io.ReadAll(f)
			return err
		})
	} else if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	m := parseMissed(text, h)
	m.all = m.all || err != nil || l.lost
	return m
}

// done drops what was read up to end, which holds by now without it. What another
// process has added since stays.
func (l *missedLog) done(end int64) error {
	if end == 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost = false
	return l.change(func(f *os.File, size int64) error {
		rest := make([]byte, max(0, size-end))
		if _, err := f.ReadAt(rest, end); err != nil && len(rest) > 0 {
			return err
		}
		if _, err := f.WriteAt(rest, 0); err != nil {
			return err
		}
		return errors.Join(f.Truncate(int64(len(rest))), f.Sync())
	})
}
