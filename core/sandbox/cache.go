package sandbox

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/cpu"

	"penstock.dev/penstock/core/sandbox/meter"
)

const (
	// defaultCacheBytes bounds the compile cache.
	defaultCacheBytes = 2 << 30
	// maxCodeBytes bounds the native code of one module.
	maxCodeBytes = 1 << 30
	keyBytes     = 32
	// leftOver is the age at which a folder of a compile is known to be of one that
	// was killed.
	leftOver = 10 * time.Minute
)

// codeCache is the folder of native code. An entry is the engine's files for
// one module, and a listing of them with a MAC: what others have written into
// the folder, or what is torn, is never run. The key lies beside the folder.
type codeCache struct {
	dir  string
	most int64 // bytes
	key  []byte
	host string // what native code depends on beside the module
	log  *zap.Logger

	mu sync.Mutex // held while entries are added and dropped
}

// listing is an entry's file in the folder done.
type listing struct {
	Files []listedFile `json:"files"`
	MAC   []byte       `json:"mac"` // over the entry's id and files
}

type listedFile struct {
	Name string `json:"name"` // in the folder, with slashes
	Size int64  `json:"size"`
	MAC  []byte `json:"mac"`
}

// openCodeCache makes the folder and its key, or checks that only its owner may
// write to it.
func openCodeCache(dir string, most int64, log *zap.Logger) (*codeCache, error) {
	if err := privateDir(dir); err != nil {
		return nil, err
	}
	key, err := cacheKey(dir + ".key")
	if err != nil {
		return nil, err
	}
	c := &codeCache{dir: dir, most: most, key: key, host: hostOfCode(), log: log}
	c.sweep()
	return c, nil
}

// privateDir makes dir, or checks that only its owner may write to it.
func privateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s may be written by others (mode %v): chmod 700 it", dir, info.Mode().Perm())
	}
	return os.MkdirAll(filepath.Join(dir, "done"), 0o700)
}

// cacheKey reads the key, or makes one: then no older entry is valid any more.
func cacheKey(path string) ([]byte, error) {
	for range 2 {
		info, err := os.Lstat(path)
		switch {
		case err == nil && info.Mode().Perm()&0o077 != 0:
			return nil, fmt.Errorf("%s may be read by others (mode %v): delete it", path, info.Mode().Perm())
		case err == nil:
			key, err := os.ReadFile(path)
			if err == nil && len(key) == keyBytes {
				return key, nil
			}
			if err == nil { // a crash in its middle
				err = os.Remove(path)
			}
			if err != nil {
				return nil, err
			}
		case !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
		key := make([]byte, keyBytes)
		_, _ = rand.Read(key) // never fails
		if err := writeNew(path, key); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%s cannot be kept", path)
}

// writeNew makes a file, whole or not at all.
func writeNew(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// hostOfCode names the engine, the metering and the processor: with others the
// engine would not find an entry, and compile the module in this process.
func hostOfCode() string {
	engine := "devel"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == "github.com/tetratelabs/wazero" {
				engine = m.Version
			}
		}
	}
	return fmt.Sprint(engine, meter.Version, runtime.GOOS, runtime.GOARCH, cpu.X86, cpu.ARM64)
}

// id names the entry of a module.
func (c *codeCache) id(metered []byte) string {
	h := sha256.New()
	_, _ = io.WriteString(h, c.host) // a hash never fails
	_, _ = h.Write(metered)
	return hex.EncodeToString(h.Sum(nil))
}

func (c *codeCache) listingPath(id string) string { return filepath.Join(c.dir, "done", id) }

func (c *codeCache) mac(parts ...[]byte) []byte {
	h := hmac.New(sha256.New, c.key)
	for _, p := range parts {
		_, _ = h.Write(p) // a hash never fails
	}
	return h.Sum(nil)
}

// has reports whether the entry is there as it was added. One that is not is dropped.
func (c *codeCache) has(id string) bool {
	l, err := c.list(id)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	for _, f := range l.Files {
		if err == nil {
			err = c.check(id, f)
		}
	}
	if err != nil {
		c.log.Warn("an entry of the compile cache is not as it was written: it is compiled again", zap.String("entry", id), zap.Error(err))
		c.drop(id, l)
		return false
	}
	now := time.Now()
	_ = os.Chtimes(c.listingPath(id), now, now) // only how long it stays depends on it
	return true
}

var errMAC = errors.New("wrong MAC")

// list reads an entry's listing.
func (c *codeCache) list(id string) (listing, error) {
	var l listing
	text, err := os.ReadFile(c.listingPath(id))
	if err != nil {
		return l, err
	}
	if err := json.Unmarshal(text, &l); err != nil {
		return listing{}, err
	}
	if !hmac.Equal(l.MAC, c.listMAC(id, l.Files)) {
		return listing{}, errMAC // its names are not to be trusted either
	}
	return l, nil
}

func (c *codeCache) listMAC(id string, files []listedFile) []byte {
	text, err := json.Marshal(files)
	if err != nil {
		panic("BUG: " + err.Error()) // names, numbers and bytes
	}
	return c.mac([]byte("listing "), []byte(id), text)
}

func (c *codeCache) check(id string, f listedFile) error {
	file, err := os.Open(filepath.Join(c.dir, filepath.FromSlash(f.Name)))
	if err != nil {
		return err
	}
	defer file.Close()
	mac, size, err := c.fileMAC(id, f.Name, file)
	if err != nil {
		return err
	}
	if size != f.Size || !hmac.Equal(mac, f.MAC) {
		return fmt.Errorf("%s: %w", f.Name, errMAC)
	}
	return nil
}

func (c *codeCache) fileMAC(id, name string, from io.Reader) (mac []byte, size int64, err error) {
	h := hmac.New(sha256.New, c.key)
	_, _ = io.WriteString(h, "file "+id+" "+name+"\x00") // a hash never fails
	size, err = io.Copy(h, io.LimitReader(from, maxCodeBytes+1))
	return h.Sum(nil), size, err
}

// add takes over what a compiler process left in the folder from.
func (c *codeCache) add(id, from string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var l listing
	err := filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if !entry.Type().IsRegular() {
			return fmt.Errorf("the compiler left %s, which is no file", entry.Name())
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		f, err := c.move(id, filepath.ToSlash(name), path)
		l.Files = append(l.Files, f)
		return err
	})
	if err != nil {
		return err
	}
	if len(l.Files) == 0 {
		return errors.New("the compiler left nothing")
	}
	l.MAC = c.listMAC(id, l.Files)
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	return writeNew(c.listingPath(id), text)
}

// move puts a file into the cache.
func (c *codeCache) move(id, name, path string) (listedFile, error) {
	file, err := os.Open(path)
	if err != nil {
		return listedFile{}, err
	}
	defer file.Close()
	mac, size, err := c.fileMAC(id, name, file)
	if err == nil && size > maxCodeBytes {
		err = fmt.Errorf("its native code has more than %d MiB", int64(maxCodeBytes)>>20)
	}
	if err = errors.Join(err, file.Sync()); err != nil {
		return listedFile{}, err
	}
	to := filepath.Join(c.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return listedFile{}, err
	}
	return listedFile{name, size, mac}, os.Rename(path, to)
}

// drop removes an entry.
func (c *codeCache) drop(id string, l listing) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = os.Remove(c.listingPath(id)) // if it stays, it is found broken again
	for _, f := range l.Files {
		_ = os.Remove(filepath.Join(c.dir, filepath.FromSlash(f.Name)))
	}
}

// evict drops entries, the one that was used last as the last, until the cache
// is within its bound. Those in use stay.
func (c *codeCache) evict(used map[string]bool) {
	entries, err := os.ReadDir(filepath.Join(c.dir, "done"))
	if err != nil {
		return
	}
	type entry struct {
		id   string
		l    listing
		used time.Time
		size int64
	}
	var all []entry
	total := int64(0)
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue
		}
		one := entry{id: e.Name(), used: info.ModTime()}
		if one.l, err = c.list(one.id); err != nil {
			one.used = time.Time{} // broken: it goes first
		}
		for _, f := range one.l.Files {
			one.size += f.Size
		}
		total += one.size
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b entry) int { return a.used.Compare(b.used) })
	for _, e := range all {
		if total <= c.most {
			return
		}
		if !used[e.id] {
			c.drop(e.id, e.l)
			total -= e.size
		}
	}
}

// newFolder makes the folder that a compiler process fills.
func (c *codeCache) newFolder() (string, error) { return os.MkdirTemp(c.dir, "new-") }

// sweep removes what compiles that were killed have left, and files that no
// listing names.
func (c *codeCache) sweep() {
	folders, _ := filepath.Glob(filepath.Join(c.dir, "new-*")) // the pattern is well formed
	for _, path := range folders {
		if info, err := os.Lstat(path); err == nil && time.Since(info.ModTime()) > leftOver {
			_ = os.RemoveAll(path) // it only takes room
		}
	}
	listed := map[string]bool{}
	entries, err := os.ReadDir(filepath.Join(c.dir, "done"))
	if err != nil {
		return
	}
	for _, e := range entries {
		text, err := os.ReadFile(c.listingPath(e.Name()))
		if err != nil {
			continue
		}
		var l listing
		_ = json.NewDecoder(bytes.NewReader(text)).Decode(&l) // a broken one names nothing
		for _, f := range l.Files {
			listed[f.Name] = true
		}
	}
	files, _ := filepath.Glob(filepath.Join(c.dir, "wazero-*", "*"))
	for _, path := range files {
		name, err := filepath.Rel(c.dir, path)
		info, err2 := os.Lstat(path)
		if err == nil && err2 == nil && !listed[filepath.ToSlash(name)] && time.Since(info.ModTime()) > leftOver {
			_ = os.Remove(path)
		}
	}
}
