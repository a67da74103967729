package control_test

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/remote"
	"penstock.dev/penstock/core/telemetry"
)

// TestBack: a proxy is told how long control was away before each first config of a
// connection, also when nothing has changed meanwhile; not of the one on disk.
func TestBack(t *testing.T) {
	f := newFleet(t)
	f.update(someConfig(3))
	dir, modules := t.TempDir(), t.TempDir()
	var mu sync.Mutex
	var told []string
	is := func(what string, want ...string) {
		t.Helper()
		eventually(t, what, func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(told) >= len(want)
		})
		mu.Lock()
		defer mu.Unlock()
		if !slices.Equal(told, want) {
			t.Errorf("%s: told %v; want %v", what, told, want)
		}
		told = nil
	}
	tell := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, what)
	}
	start := func() (s *remote.Source, stop func()) {
		contact := remote.NewContact(dir, "/cache", func() bool { return true }, zap.NewNop())
		state := remote.NewState(dir, func() ([]byte, error) { return []byte(strings.Repeat("k", 32)), nil }, zap.NewNop())
		s = remote.New(remote.Options{
			Address: f.address, TLS: remote.FromFolder(f.dir), Name: "one", Log: zap.NewNop(), Metrics: telemetry.New(),
			Modules: modules, Quota: 1 << 30, State: state, Contact: contact,
		})
		ctx, cancel := context.WithCancel(context.Background())
		kept, keepNoMore := context.WithCancel(context.Background())
		var source, files sync.WaitGroup
		files.Go(func() { state.Run(kept) })
		files.Go(func() { contact.Run(kept) })
		source.Go(func() {
			_ = s.Run(ctx, remote.Apply{
				Back: func(away time.Duration) {
					switch {
					case away == remote.Forever:
						tell("away for ever")
					case away < time.Minute:
						tell("away")
					default:
						tell("away for " + away.String())
					}
				},
				Config:    func(*config.Config) error { tell("config"); return nil },
				Endpoints: func(map[string]*config.EndpointSet) {},
			})
		})
		return s, func() { cancel(); source.Wait(); keepNoMore(); files.Wait() }
	}
	met := func(s *remote.Source) {
		t.Helper()
		select {
		case <-s.Met():
		case <-time.After(20 * time.Second):
			t.Error("nobody says whether control was there")
		}
	}
	s, stop := start()
	is("a first start", "away for ever", "config")
	met(s)
	f.update(someConfig(4))
	is("a change", "config")
	f.restart()
	f.update(someConfig(4))
	is("another control, the same config", "away", "config")
	stop()
	f.stop()
	s, stop = start()
	met(s)
	is("a start without control", "config")
	l, err := net.Listen("tcp", f.address)
	if err != nil {
		t.Fatal(err)
	}
	f.start(l)
	f.update(someConfig(4))
	is("control comes", "away", "config")
	stop()
}
