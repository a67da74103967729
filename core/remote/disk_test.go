package remote

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

// TestStateOnDisk: what is on disk is read by whoever has the key, within a day, and
// unchanged; without a key nothing is written (annotations.md, section 7.9).
func TestStateOnDisk(t *testing.T) {
	secret := []byte(strings.Repeat("k", 32))
	set := &Set{Config: map[string]*Resource{"part/a": {Name: "part/a", Version: "1", Bytes: []byte("hush-hush")}}}
	newState := func(dir string, key []byte, err error) *State {
		return NewState(dir, func() ([]byte, error) { return key, err }, zap.NewNop())
	}
	write := func(s *State) {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		s.save(func() *Set { return set })
		s.Run(ended) // it writes what it has
	}
	// has reports whether the set is read; nothing else ever is.
	has := func(dir string, key []byte) bool {
		t.Helper()
		got, err := newState(dir, key, nil).load()
		if err != nil || got == nil || len(got.Config) == 0 {
			return false
		}
		if r := got.Config["part/a"]; len(got.Config) != 1 || r == nil || r.Version != "1" || string(r.Bytes) != "hush-hush" {
			t.Errorf("got %+v; want what was written, or nothing", got.Config)
		}
		return true
	}
	t.Run("with a key", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "config")
		write(newState(dir, secret, nil))
		files, err := os.ReadDir(dir)
		if err != nil || len(files) != 1 {
			t.Fatalf("got %v, %v; want one file", files, err)
		}
		info, err := files[0].Info()
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("got %v, %v; want mode 0600", info.Mode(), err)
		}
		if folder, err := os.Stat(dir); err != nil || folder.Mode().Perm() != 0o700 {
			t.Errorf("got %v, %v; want mode 0700", folder.Mode(), err)
		}
		text, err := os.ReadFile(filepath.Join(dir, files[0].Name()))
		if err != nil || strings.Contains(string(text), "hush") || strings.Contains(string(text), "part/a") {
			t.Errorf("got %q, %v; want nothing that can be read", text, err)
		}
		if !has(dir, secret) {
			t.Error("it is not read again")
		}
	})
	t.Run("without a key", func(t *testing.T) {
		for name, newState := range map[string]func(dir string) *State{
			"none":      func(dir string) *State { return newState(dir, nil, errors.New("no such file")) },
			"short one": func(dir string) *State { return newState(dir, secret[:31], nil) },
		} {
			dir := t.TempDir()
			write(newState(dir))
			files, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range files {
				if info, err := f.Info(); err != nil || info.Size() > 0 {
					t.Errorf("%s: %s is on disk, %v", name, f.Name(), err)
				}
			}
		}
	})
	t.Run("age", func(t *testing.T) {
		for age, ok := range map[time.Duration]bool{time.Second: true, 23 * time.Hour: true, 25 * time.Hour: false} {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				write(newState(dir, secret, nil))
				time.Sleep(age)
				if got := has(dir, secret); got != ok {
					t.Errorf("%v old: read %v; want %v", age, got, ok)
				}
			})
		}
	})
	t.Run("changed", func(t *testing.T) {
		dir := t.TempDir()
		write(newState(dir, secret, nil))
		file := filepath.Join(dir, stateFile)
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		refused := 0
		for at := range text {
			torn := append([]byte{}, text...)
			torn[at] ^= 1
			if err := os.WriteFile(file, torn, 0o600); err != nil {
				t.Fatal(err)
			}
			if !has(dir, secret) {
				refused++
			}
		}
		if refused < len(text)/2 { // the end of it may be a word of its own, without which it is read
			t.Errorf("%d of %d changed bytes had it refused", refused, len(text))
		}
	})
	t.Run("another key", func(t *testing.T) {
		dir := t.TempDir()
		write(newState(dir, secret, nil))
		if has(dir, []byte(strings.Repeat("x", 32))) {
			t.Error("it is read")
		}
	})
}
