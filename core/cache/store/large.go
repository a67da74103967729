package store

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sync"

	"penstock.dev/penstock/core/internal/bufpool"
)

// blockBytes is what one CRC-32C of a body's file is for.
const blockBytes = bufpool.Large

// large is a body in a file of its own: the bytes from offset 0, a CRC-32C of each
// block, and an end of 40 bytes that says what the file is. It is open while somebody
// uses it, and goes when nobody does and the index has let go of it.
type large struct {
	disk   *disk
	number uint64
	of     *namespace
	// entry, segment and bytes (what the file takes of the budget) are Store.mu's.
	entry   uint32
	segment *segment
	bytes   int64

	mu       sync.Mutex
	size     int64
	users    int
	indexed  bool
	gone     bool     // its file is, or is being, removed
	file     *os.File // nil: no users
	sums     []uint32 // nil: not read
	verified []uint64 // a bit for each block
	whole    bool     // all blocks were verified since the file was opened first
}

const largeEnd = 40

func sumsOf(size int64) int64 { return (size + blockBytes - 1) / blockBytes }

// largeBytes returns what the file of a body takes.
func largeBytes(size int64) int64 { return size + 4*sumsOf(size) + largeEnd }

// largeTail returns what follows a body in its file:
//
//	the sums; magic "PSCL", version, number 64 bits, size 64, CRC-32C of the sums, 8
//	zeros, CRC-32C of the end
func largeTail(number uint64, size int64, sums []uint32) []byte {
	le := binary.LittleEndian
	p := make([]byte, 0, 4*len(sums)+largeEnd)
	for _, s := range sums {
		p = le.AppendUint32(p, s)
	}
	end := len(p)
	sum := crc32.Checksum(p, castagnoli)
	p = append(p, "PSCL"...)
	p = le.AppendUint32(p, formatVersion)
	p = le.AppendUint64(p, number)
	p = le.AppendUint64(p, uint64(size))
	p = le.AppendUint32(p, sum)
	p = le.AppendUint64(p, 0)
	return le.AppendUint32(p, crc32.Checksum(p[end:], castagnoli))
}

func (l *large) path() string { return filepath.Join(l.disk.dir, fileName(l.number, largeSuffix)) }

// hold keeps the file until release; false if it is gone or cannot be opened.
func (l *large) hold() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone || !l.indexed && l.users == 0 {
		return false
	}
	if l.file == nil { // the lock is held over it, so that it is opened once
		f, err := os.Open(l.path())
		if err != nil {
			return false
		}
		l.file = f
	}
	l.users++
	return true
}

// release undoes one hold. Store.mu is not held.
func (l *large) release() {
	l.mu.Lock()
	if l.users--; l.users > 0 {
		l.mu.Unlock()
		return
	}
	l.file.Close()
	l.file, l.sums, l.verified = nil, nil, nil
	gone := !l.indexed && !l.gone
	l.gone = l.gone || gone
	l.mu.Unlock()
	if gone {
		l.disk.unlink(l)
	}
}

// condemn lets go of the file for the index, and returns whether it is to be unlinked
// now. Store.mu is held.
func (l *large) condemn() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.indexed = false
	if l.users > 0 || l.gone {
		return false
	}
	l.gone = true
	return true
}

// readSums reads the sums of a file that is held, and checks that it is what it should
// be. l.mu is held: the sums are read once.
func (l *large) readSums() error {
	if l.sums != nil {
		return nil
	}
	n := sumsOf(l.size)
	p := make([]byte, 4*n+largeEnd)
	if _, err := l.file.ReadAt(p, l.size); err != nil {
		return fmt.Errorf("%s: %w", l.path(), noEOF(err))
	}
	sums := make([]uint32, n)
	for i := range sums {
		sums[i] = binary.LittleEndian.Uint32(p[4*i:])
	}
	if string(largeTail(l.number, l.size, sums)) != string(p) {
		return fmt.Errorf("%s: %w", l.path(), errRecord)
	}
	l.sums, l.verified = sums, make([]uint64, (n+63)/64)
	return nil
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// sum returns what block i should be, and whether that was found to be so.
func (l *large) sum(i int64) (sum uint32, verified bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return 0, false, ErrClosed
	}
	if l.sums == nil {
		if err := l.readSums(); err != nil {
			return 0, false, err
		}
	}
	if i >= int64(len(l.sums)) {
		return 0, false, errRecord
	}
	verified = i/64 < int64(len(l.verified)) && l.verified[i/64]>>(i%64)&1 != 0
	return l.sums[i], verified, nil
}

// found notes that block i is what it should be.
func (l *large) found(i int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i/64 < int64(len(l.verified)) {
		l.verified[i/64] |= 1 << (i % 64)
	}
}

// readBlock reads block i into p, which is a whole block, and checks it.
func (l *large) readBlock(i int64, p []byte) (n int, err error) {
	sum, _, err := l.sum(i)
	if err != nil {
		return 0, l.broken(err)
	}
	l.mu.Lock()
	f, size := l.file, l.size
	l.mu.Unlock()
	n = int(min(blockBytes, size-i*blockBytes))
	if f == nil || n <= 0 {
		return 0, ErrClosed
	}
	if _, err := f.ReadAt(p[:n], i*blockBytes); err != nil {
		return 0, l.broken(fmt.Errorf("%s: %w", l.path(), noEOF(err)))
	}
	if crc32.Checksum(p[:n], castagnoli) != sum {
		return 0, l.broken(fmt.Errorf("%s: block %d: %w", l.path(), i, errRecord))
	}
	l.found(i)
	return n, nil
}

// broken takes the object out of the store, and returns err.
func (l *large) broken(err error) error {
	if err != ErrClosed {
		l.disk.damaged(l, err)
	}
	return err
}

// checkAhead is how much File checks at a time.
const checkAhead = 4 << 20

// check returns how many bytes from off on are checked, at most up to end. It reads
// what was not checked before: so it is in the page cache when it is sent.
func (l *large) check(off, end int64) (int64, error) {
	l.mu.Lock()
	whole := l.whole
	l.mu.Unlock()
	if whole {
		return end - off, nil
	}
	var b *bufpool.Buffer
	defer func() { blocks.Put(b) }()
	to := min(end, off+checkAhead)
	for i := off / blockBytes; i*blockBytes < to; i++ {
		_, verified, err := l.sum(i)
		if err != nil {
			return 0, l.broken(err)
		}
		if verified {
			continue
		}
		if b == nil {
			b = blocks.Get(blockBytes)
		}
		if _, err := l.readBlock(i, b.Bytes[:blockBytes]); err != nil {
			return 0, err
		}
	}
	if l.note() {
		to = end
	}
	return to - off, nil
}

// note sees whether all blocks are verified by now.
func (l *large) note() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if 64*len(l.verified) < len(l.sums) {
		return false
	}
	for i := range int64(len(l.sums)) {
		if l.verified[i/64]>>(i%64)&1 == 0 {
			return false
		}
	}
	l.whole = len(l.sums) > 0
	return l.whole
}

// blocks lends the buffers of readers.
var blocks bufpool.Pool

// block is a block of a file that a Reader has read.
type block struct {
	buffer *bufpool.Buffer
	number int64
	n      int
}

// at returns what of l follows off in its block.
func (b *block) at(l *large, off int64) ([]byte, error) {
	i := off / blockBytes
	if b.buffer == nil || b.number != i || b.n == 0 {
		if b.buffer == nil {
			b.buffer = blocks.Get(blockBytes)
		}
		b.n = 0
		n, err := l.readBlock(i, b.buffer.Bytes[:blockBytes])
		if err != nil {
			return nil, err
		}
		b.number, b.n = i, n
	}
	return b.buffer.Bytes[off-i*blockBytes : b.n], nil
}

// drop gives the buffer back. Only the reading goroutine may, once it has given up what
// Next returned: a Close from elsewhere leaves it to the garbage collector.
func (b *block) drop() {
	blocks.Put(b.buffer)
	*b = block{}
}
