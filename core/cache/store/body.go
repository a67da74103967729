package store

import (
	"fmt"
	"hash/crc32"
	"os"
	"time"
)

// writeBody writes a body from memory into a file, which is held for the caller.
func (d *disk) writeBody(of *namespace, m *more) (*large, error) {
	l, err := d.create(of)
	if err != nil {
		return nil, err
	}
	if err = l.reserve(largeBytes(m.size)); err == nil {
		for _, c := range m.chunks {
			if err = l.write(c); err != nil {
				break
			}
		}
	}
	if err == nil {
		err = l.seal()
	}
	if err != nil {
		l.release()
		return nil, err
	}
	return l, nil
}

// create returns a new file for a body, which is held.
func (d *disk) create(of *namespace) (*large, error) {
	select {
	case <-d.ready:
	default:
		return nil, errNoRoom // what is there is not counted yet
	}
	d.turn.Lock() // no file is made in a folder that is let go of
	defer d.turn.Unlock()
	s := d.store
	s.mu.Lock()
	number, out := d.nextBody, d.shut.Load() || time.Now().Before(d.failing)
	d.nextBody++
	s.mu.Unlock()
	if out {
		return nil, errNoRoom
	}
	l := &large{disk: d, number: number, of: of, users: 1, sums: []uint32{}}
	f, err := os.OpenFile(l.path(), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make a file for a body: %w", err)
	}
	l.file = f
	return l, nil
}

// reserve makes room for n bytes more of the file.
func (l *large) reserve(n int64) error {
	d := l.disk
	d.turn.Lock()
	defer d.turn.Unlock()
	if err := d.roomFor(l.of, n, 0); err != nil {
		return err
	}
	d.store.mu.Lock()
	l.bytes += n
	d.store.mu.Unlock()
	return nil
}

// write puts p behind what was written, for which there is room.
func (l *large) write(p []byte) error {
	if _, err := l.file.WriteAt(p, l.size); err != nil {
		return fmt.Errorf("write a body: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(p) > 0 {
		used := l.size % blockBytes
		n := min(int64(len(p)), blockBytes-used)
		if used == 0 {
			l.sums = append(l.sums, 0)
		}
		last := len(l.sums) - 1
		l.sums[last] = crc32.Update(l.sums[last], castagnoli, p[:n])
		l.size += n
		p = p[n:]
	}
	return nil
}

// seal writes what follows a whole body.
func (l *large) seal() error {
	if _, err := l.file.WriteAt(largeTail(l.number, l.size, l.sums), l.size); err != nil {
		return fmt.Errorf("write a body: %w", err)
	}
	l.mu.Lock()
	l.verified = make([]uint64, (len(l.sums)+63)/64)
	l.mu.Unlock()
	return nil
}
