package remote

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
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
	maxState  = 1 << 30     // bytes
)

// Set is all resources that a proxy holds, by name.
type Set struct {
	Config    map[string]*Resource
	Endpoints map[string]*Resource
	Images    map[string]*Resource // by filter hash
}

// State keeps the last good config on disk, so that a proxy can start while
// control is away. It is encrypted (AES-256-GCM), since it holds Secrets, and so
// only kept where there is a key.
type State struct {
	dir string
	key func() ([]byte, error)
	log *zap.Logger

	wake chan struct{}
	mu   sync.Mutex
	take func() *Set // nil: there is nothing new
}

// NewState returns a state in a folder, made with mode 0700 if it is missing. key
// returns the secret that it is encrypted with, 32 bytes at least; it is called
// for each reading and writing.
func NewState(dir string, key func() ([]byte, error), log *zap.Logger) *State {
	return &State{dir: dir, key: key, log: log, wake: make(chan struct{}, 1)}
}

// stored is what the file holds.
type stored struct {
	Written int64 // Unix time, seconds
	Set     Set
}

func (s *State) seal() (cipher.AEAD, error) {
	key, err := s.key()
	if err != nil {
		return nil, err
	}
	if len(key) < 32 {
		return nil, fmt.Errorf("the key has %d bytes: want 32 at least", len(key))
	}
	sum := sha256.Sum256(append([]byte("penstock state\n"), key...))
	block, err := aes.NewCipher(sum[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
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
	text, err := io.ReadAll(io.LimitReader(f, maxState))
	if err != nil {
		return nil, err
	}
	seal, err := s.seal()
	if err != nil {
		return nil, err
	}
	if len(text) < seal.NonceSize() {
		return nil, errors.New("it is cut short")
	}
	plain, err := seal.Open(nil, text[:seal.NonceSize()], text[seal.NonceSize():], nil)
	if err != nil {
		return nil, errors.New("another key wrote it, or it was changed")
	}
	var kept stored
	if err := stateMode.Unmarshal(plain, &kept); err != nil {
		return nil, err
	}
	if age := time.Since(time.Unix(kept.Written, 0)); age > stateFor || age < -time.Hour {
		return nil, fmt.Errorf("it is %s old: at most %s", age.Round(time.Second), stateFor)
	}
	for name, r := range kept.Set.Config {
		if r == nil || r.Name != name {
			return nil, errForm
		}
	}
	for name, r := range kept.Set.Endpoints {
		if r == nil || r.Name != name {
			return nil, errForm
		}
	}
	return &kept.Set, nil
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

// renew has what was written last written again.
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
			s.log.Warn("the state is not kept on disk", zap.Error(err))
		}
	}
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

func (s *State) write(set *Set) error {
	plain, err := encMode.Marshal(stored{Written: time.Now().Unix(), Set: *set})
	if err != nil {
		return err
	}
	seal, err := s.seal()
	if err != nil {
		return err
	}
	nonce := make([]byte, seal.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return err
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(s.dir, stateFile+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(seal.Seal(nonce, nonce, plain, nil))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(s.dir, stateFile))
}
