package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

const (
	formatMagic = "penstock cache\n\x00" // 16 bytes
	formatName  = "format"
	lockName    = "lock"
	// Names of files: a number in 16 hexadecimal digits, and one of these.
	segmentSuffix = ".seg"
	indexSuffix   = ".idx"
	largeSuffix   = ".body"
)

// openFolder makes sure that dir is a folder of this version and of no other process,
// and returns the lock and the hasher whose hashes it holds. fresh: there is nothing in
// it, or nothing that can be used.
func openFolder(dir string) (lock *os.File, h hasher, fresh bool, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, h, false, err
	}
	lock, err = os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, h, false, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return nil, h, false, fmt.Errorf("%s: %w: give each its own folder", dir, ErrInUse)
	}
	h, fresh, err = readFormat(dir)
	if err != nil {
		lock.Close()
	}
	return lock, h, fresh, err
}

// readFormat reads the file that says whose folder this is, or writes it into an empty
// one. It has 56 bytes: magic, version, secret of the hashes, CRC-32C of them.
func readFormat(dir string) (h hasher, fresh bool, err error) {
	h, there, err := lookFormat(dir)
	if err != nil || there {
		return h, false, err
	}
	if _, err := os.Stat(filepath.Join(dir, formatName)); err != nil {
		if foreign, err := foreignFile(dir); err != nil {
			return h, false, err
		} else if foreign != "" {
			return h, false, fmt.Errorf("%s is no cache folder: it holds %s; name an empty or a new folder", dir, foreign)
		}
	}
	h = newHasher() // without the secret nothing that is there can be found
	return h, true, writeFormat(dir, h)
}

// lookFormat is readFormat that changes nothing; there is false if there is no file, or
// a damaged one.
func lookFormat(dir string) (h hasher, there bool, err error) {
	path := filepath.Join(dir, formatName)
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return h, false, nil
	case err != nil:
		return h, false, err
	case len(text) < len(formatMagic) || string(text[:len(formatMagic)]) != formatMagic:
		return h, false, fmt.Errorf("%s is no cache folder: %s is another program's; name an empty or a new folder", dir, path)
	case len(text) != 56 || crc32.Checksum(text[:52], castagnoli) != binary.LittleEndian.Uint32(text[52:]):
		return h, false, nil
	case binary.LittleEndian.Uint32(text[16:]) != formatVersion:
		return h, false, fmt.Errorf("%s is a cache folder of version %d, this is version %d: empty it, or name another folder",
			dir, binary.LittleEndian.Uint32(text[16:]), formatVersion)
	}
	return hasherOf(text[20:52]), true, nil
}

// writeFormat makes dir a folder with this hasher.
func writeFormat(dir string, h hasher) error {
	text := append([]byte(formatMagic), formatVersion, 0, 0, 0)
	text = h.appendSecret(text)
	text = binary.LittleEndian.AppendUint32(text, crc32.Checksum(text, castagnoli))
	f, err := replaceFile(filepath.Join(dir, formatName), text)
	if err != nil {
		return err
	}
	return f.Close()
}

// foreignFile returns the name of a file that is none of ours, "" if there is none.
func foreignFile(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		if !ours(e.Name()) && e.Name() != "lost+found" {
			return e.Name(), nil
		}
	}
	return "", nil
}

func ours(name string) bool {
	name = strings.TrimSuffix(name, ".new")
	_, _, ok := numbered(name)
	return ok || fixed(name) || name == killNames[0] || name == killNames[1]
}

// fixed reports whether a file of ours stays when the folder is emptied.
func fixed(name string) bool { return name == lockName || name == formatName || name == missedName }

// numbered returns the number and the suffix of a segment, an index or a body.
func numbered(name string) (number uint64, suffix string, ok bool) {
	if len(name) < 17 {
		return 0, "", false
	}
	suffix = name[16:]
	number, err := strconv.ParseUint(name[:16], 16, 64)
	return number, suffix, err == nil && fileName(number, suffix) == name &&
		(suffix == segmentSuffix || suffix == indexSuffix || suffix == largeSuffix)
}

func fileName(number uint64, suffix string) string { return fmt.Sprintf("%016x%s", number, suffix) }

// clearFolder removes all objects and kills.
func clearFolder(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if name := e.Name(); ours(name) && !fixed(name) {
			err = errors.Join(err, os.Remove(filepath.Join(dir, name)))
		}
	}
	return err
}
