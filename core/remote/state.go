package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	stateFile = "config"
	// stateFor is how old a state may be (annotations.md, section 7.9).
	stateFor  = 24 * time.Hour
	saveEvery = time.Second // at most
	// frameSize is how many bytes of resources go into one frame, or one resource more.
	frameSize = 256 << 10
	// smallState is how many bytes of changes may come after the whole, and as many as
	// the whole has, until it is written anew.
	smallState = 1 << 20
)

// Set is all resources that a proxy holds, by name.
type Set struct {
	Config    map[string]*Resource
	Endpoints map[string]*Resource
	Images    map[string]*Resource // by filter hash
}

func newSet() *Set {
	return &Set{Config: map[string]*Resource{}, Endpoints: map[string]*Resource{}, Images: map[string]*Resource{}}
}

func (s *Set) parts() [3]map[string]*Resource {
	return [3]map[string]*Resource{s.Config, s.Endpoints, s.Images}
}

// State keeps the last good config on disk, so that a proxy can start while
// control is away. It is encrypted (AES-256-GCM), since it holds Secrets, and so
// only kept where there is a key.
//
// The file holds the whole and, after it, what has changed since, so that a change
// writes what it touches. What a crash cuts off its end is left out: up to the last
// frame that ends a set of changes it is a state that there was.
type State struct {
	dir string
	key func() ([]byte, error)
	log *zap.Logger

	wake chan struct{}
	mu   sync.Mutex
	take func() *Set // nil: there is nothing new

	// Of the goroutine that writes.
	file    *sealedFile // nil: the whole is to be written
	wrote   *Set        // what it holds
	whole   int64       // bytes of it that are the whole
	usedKey []byte
}

// NewState returns a state in a folder, made with mode 0700 if it is missing. key
// returns the secret that it is encrypted with, 32 bytes at least; it is called
// for each reading and writing.
func NewState(dir string, key func() ([]byte, error), log *zap.Logger) *State {
	return &State{dir: dir, key: key, log: log, wake: make(chan struct{}, 1)}
}

// frame is a part of a set of changes.
type frame struct {
	Changed [3][]*Resource // as Set.parts
	Removed [3][]string
	// Written is when a set of changes was written that ends with this frame, in seconds
	// of Unix time; 0: more of it follows.
	Written int64
}

// apply takes a frame's changes over.
func (f *frame) apply(set *Set) error {
	for i, part := range set.parts() {
		for _, name := range f.Removed[i] {
			delete(part, name)
		}
		for _, r := range f.Changed[i] {
			if r == nil {
				return errForm
			}
			part[r.Name] = r
		}
	}
	return nil
}

// load returns what was kept; nil: nothing, or nothing that may be used.
func (s *State) load() (*Set, error) {
	f, err := os.Open(filepath.Join(s.dir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	key, err := s.key()
	if err != nil {
		return nil, err
	}
	read, err := openSealed(f, key)
	if err != nil {
		return nil, err
	}
	set, written := newSet(), int64(0)
	var pending []*frame
	for {
		text, err := read.next()
		if err != nil {
			if written == 0 {
				return nil, err
			}
			break // the end, or what a crash has left of one
		}
		one := new(frame)
		if err := stateMode.Unmarshal(text, one); err != nil {
			return nil, err
		}
		if pending = append(pending, one); one.Written == 0 {
			continue
		}
		for _, f := range pending {
			if err := f.apply(set); err != nil {
				return nil, err
			}
		}
		pending, written = nil, one.Written
	}
	if age := time.Since(time.Unix(written, 0)); age > stateFor || age < -time.Hour {
		return nil, fmt.Errorf("it is %s old: at most %s", age.Round(time.Second), stateFor)
	}
	return set, nil
}

// save has what take returns then written soon.
func (s *State) save(take func() *Set) {
	s.mu.Lock()
	s.take = take
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// renew has it noted that what was written last is still so.
func (s *State) renew() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run writes what is to be kept until ctx is done, the last of it then.
func (s *State) Run(ctx context.Context) {
	write := func() {
		s.mu.Lock()
		take := s.take
		s.mu.Unlock()
		if take == nil {
			return
		}
		if err := s.write(take()); err != nil {
			s.close()
			s.log.Warn("the state is not kept on disk", zap.Error(err))
		}
	}
	defer s.close()
	for {
		select {
		case <-ctx.Done():
			write()
			return
		case <-s.wake:
			write()
		}
		select {
		case <-ctx.Done():
		case <-time.After(saveEvery):
		}
	}
}

func (s *State) close() {
	if s.file != nil {
		_ = s.file.Close() // what matters was synced
	}
	s.file, s.wrote = nil, nil
}

// write adds to the file what has changed, or writes it anew.
func (s *State) write(set *Set) error {
	key, err := s.key()
	if err != nil {
		return err
	}
	if s.file != nil && (!bytes.Equal(key, s.usedKey) || s.file.size-s.whole > s.whole+smallState) {
		s.close()
	}
	if s.file != nil {
		if err := s.add(s.wrote, set); err != nil {
			return err
		}
		s.wrote = set
		return s.file.Sync()
	}
	f, err := newFile(s.dir, stateFile)
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // if it has still this name
	if s.file, err = newSealed(f, key); err != nil {
		f.Close()
		return err
	}
	if err := s.add(newSet(), set); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	s.wrote, s.whole, s.usedKey = set, s.file.size, bytes.Clone(key)
	return os.Rename(f.Name(), filepath.Join(s.dir, stateFile))
}

// newFile makes a file that is to be renamed to name, in a folder that is made if it is
// missing.
func newFile(dir, name string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return os.CreateTemp(dir, name+".*") // mode 0600
}

// add appends how one set differs from the one before.
func (s *State) add(before, now *Set) error {
	one, size := &frame{}, 0
	flush := func() error {
		text, err := encMode.Marshal(one)
		if err != nil {
			return err
		}
		one, size = &frame{}, 0
		return s.file.append(text)
	}
	old := before.parts()
	for i, part := range now.parts() {
		for name := range old[i] {
			if part[name] == nil {
				one.Removed[i] = append(one.Removed[i], name)
				size += len(name)
			}
		}
		for name, r := range part {
			if was := old[i][name]; was != nil && was.Version == r.Version {
				continue
			}
			one.Changed[i] = append(one.Changed[i], r)
			if size += len(r.Bytes) + len(name); size >= frameSize {
				if err := flush(); err != nil {
					return err
				}
			}
		}
	}
	one.Written = time.Now().Unix()
	return flush()
}
