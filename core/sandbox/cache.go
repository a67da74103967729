package sandbox

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"syscall"
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

// codeCache is the folder of native code. An entry is the rewritten module's outline, the
// engine's files for it, and a listing of them. All are sealed: what others have
// written into the folder, or what is torn, is never run. The key lies beside
// the folder.
type codeCache struct {
	dir  string
	most int64 // bytes
	seal cipher.AEAD
	host string // what native code depends on beside the module
	log  *zap.Logger

	mu sync.Mutex // held while entries are read, added and dropped
}

// listing is an entry's file in the folder done.
type listing struct {
	Files []listedFile `json:"files"` // the first is the outline
	Seal  []byte       `json:"seal"`  // of the entry's id and files
}

type listedFile struct {
	Name string `json:"name"` // in the folder, with slashes
	Size int64  `json:"size"`
	Seal []byte `json:"seal"`
}

// keySuffix is what follows the folder's name in that of its key.
const keySuffix = ".key"

// openCodeCache makes the folder and its key, or checks that only its owner may
// write to it.
func openCodeCache(dir string, most int64, log *zap.Logger) (*codeCache, error) {
	if err := privateDir(dir); err != nil {
		return nil, err
	}
	key, err := cacheKey(dir + keySuffix)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	seal, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	c := &codeCache{dir: dir, most: most, seal: seal, host: hostOfCode(), log: log}
	c.sweep()
	return c, nil
}

// privateDir makes dir, or checks that only its owner may write to it. One of this
// user's that others could write to, as a volume that Kubernetes gives to a group
// is, is closed to them, and what it holds is no longer trusted.
func privateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o022 != 0 {
		if owner, ok := info.Sys().(*syscall.Stat_t); !ok || int(owner.Uid) != os.Geteuid() {
			return fmt.Errorf("%s may be written by others (mode %v): chmod 700 it", dir, info.Mode().Perm())
		}
		if err := os.Chmod(dir, 0o700); err != nil {
			return err
		}
		if err := os.RemoveAll(dir + keySuffix); err != nil {
			return err
		}
	}
	return os.MkdirAll(filepath.Join(dir, "done"), 0o700)
}

// cacheKey reads the key, or makes one: then no older entry is valid any more.
func cacheKey(path string) ([]byte, error) {
	for range 2 {
		info, err := os.Lstat(path)
		switch {
		case err == nil && info.Mode().Perm()&0o077 != 0: // others may know it
			if err := os.Remove(path); err != nil {
				return nil, fmt.Errorf("%s may be read by others (mode %v): delete it", path, info.Mode().Perm())
			}
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
		if err := writeFile(path, key, placeOnce); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%s cannot be kept", path)
}

// writeNew makes a file, or replaces it, whole or not at all.
func writeNew(path string, data []byte) error { return writeFile(path, data, os.Rename) }

// writeFile writes a file elsewhere and has place put it at path.
func writeFile(path string, data []byte, place func(from, to string) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return place(f.Name(), path)
}

// placeOnce renames a file unless there is one: of processes that begin at once, all take the
// key that the first has made.
func placeOnce(from, to string) error {
	if err := os.Link(from, to); err == nil || errors.Is(err, fs.ErrExist) {
		return nil
	}
	return os.Rename(from, to) // not every disk has links
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

// id names the entry of a module of that digest.
func (c *codeCache) id(digest string) string {
	sum := sha256.Sum256([]byte(c.host + " " + digest))
	return hex.EncodeToString(sum[:])
}

func (c *codeCache) listingPath(id string) string { return filepath.Join(c.dir, "done", id) }

// sealed returns what proves that data belongs to name: the name encrypted, with
// the data authenticated beside it (AES-GCM; a SHA-256 takes several times as
// long for code of many megabytes).
func (c *codeCache) sealed(name string, data []byte) []byte {
	return c.seal.Seal(nil, nil, []byte(name), data)
}

var errSeal = errors.New("it is not what was written")

func (c *codeCache) unseal(name string, data, proof []byte) error {
	if got, err := c.seal.Open(nil, nil, proof, data); err != nil || string(got) != name {
		return fmt.Errorf("%s: %w", name, errSeal)
	}
	return nil
}

// get returns the outline of the rewritten module if the entry is there as it was added; nil:
// it is not. An entry that is not as it was is dropped.
func (c *codeCache) get(id string) (outline []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l, err := c.list(id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for i, f := range l.Files {
		var data []byte
		if err == nil {
			data, err = c.file(id, f)
		}
		if i == 0 {
			outline = data
		}
	}
	if err != nil {
		c.log.Warn("an entry of the compile cache is not as it was written: it is compiled again", zap.String("entry", id), zap.Error(err))
		c.remove(id, l)
		return nil
	}
	now := time.Now()
	_ = os.Chtimes(c.listingPath(id), now, now) // only how long it stays depends on it
	return outline
}

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
	if err := c.unseal("listing "+id, listed(l.Files), l.Seal); err != nil {
		return listing{}, err // its names are not to be trusted either
	}
	return l, nil
}

// listed is what a listing's seal is of.
func listed(files []listedFile) []byte {
	text, err := json.Marshal(files)
	if err != nil {
		panic("BUG: " + err.Error()) // names, numbers and bytes
	}
	return text
}

// file reads a file of an entry.
func (c *codeCache) file(id string, f listedFile) ([]byte, error) {
	path := filepath.Join(c.dir, filepath.FromSlash(f.Name))
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() != f.Size || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w", f.Name, errSeal)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return data, c.unseal(sealName(id, f.Name), data, f.Seal)
}

func sealName(id, name string) string { return "file " + id + " " + name }

// add makes an entry of the outline and what a compiler process left
// in the folder from.
func (c *codeCache) add(id string, outline []byte, from string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	module := "outline/" + id
	if err := os.MkdirAll(filepath.Join(c.dir, "outline"), 0o700); err != nil {
		return err
	}
	if err := writeNew(filepath.Join(c.dir, filepath.FromSlash(module)), outline); err != nil {
		return err
	}
	l := listing{Files: []listedFile{{module, int64(len(outline)), c.sealed(sealName(id, module), outline)}}}
	err := filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		switch {
		case err != nil:
			return err
		case !entry.Type().IsRegular():
			return fmt.Errorf("the compiler left %s, which is no file", entry.Name())
		case info.Size() > maxCodeBytes:
			return fmt.Errorf("its native code has more than %d MiB", int64(maxCodeBytes)>>20)
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		f, err := c.move(id, filepath.ToSlash(name), path)
		l.Files = append(l.Files, f)
		return err
	})
	if err == nil && len(l.Files) == 1 {
		err = errors.New("the compiler left nothing")
	}
	if err != nil {
		return err
	}
	l.Seal = c.sealed("listing "+id, listed(l.Files))
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	return writeNew(c.listingPath(id), text)
}

// move puts a file into the cache.
func (c *codeCache) move(id, name, path string) (listedFile, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return listedFile{}, err
	}
	to := filepath.Join(c.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return listedFile{}, err
	}
	return listedFile{name, int64(len(data)), c.sealed(sealName(id, name), data)}, os.Rename(path, to)
}

// dropUnless removes an entry that is not used. Whoever uses one says so before
// get, which waits for mu: it finds the entry whole, or not at all, and the
// engine never compiles in this process.
func (c *codeCache) dropUnless(used func(id string) bool, id string, l listing) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if used(id) {
		return false
	}
	c.remove(id, l)
	return true
}

// remove removes an entry; mu is held.
func (c *codeCache) remove(id string, l listing) {
	_ = os.Remove(c.listingPath(id)) // if it stays, it is found broken again
	for _, f := range l.Files {
		_ = os.Remove(filepath.Join(c.dir, filepath.FromSlash(f.Name)))
	}
}

// evict drops entries, the one that was used last as the last, until the cache
// is within its bound. Those in use stay.
func (c *codeCache) evict(used func(id string) bool) {
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
		if c.dropUnless(used, e.id, e.l) {
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
	code, _ := filepath.Glob(filepath.Join(c.dir, "wazero-*", "*"))
	modules, _ := filepath.Glob(filepath.Join(c.dir, "outline", "*"))
	for _, path := range append(code, modules...) {
		name, err := filepath.Rel(c.dir, path)
		info, err2 := os.Lstat(path)
		if err == nil && err2 == nil && !listed[filepath.ToSlash(name)] && time.Since(info.ModTime()) > leftOver {
			_ = os.Remove(path)
		}
	}
}
