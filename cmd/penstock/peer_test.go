package main

import (
	"encoding/gob"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/cache"
	"penstock.dev/penstock/core/cache/store"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/telemetry"
)

// peered is a cache with peers, and what it stores.
type peered struct {
	*peers
	store *store.Store
}

func newPeered(t *testing.T) peered {
	t.Helper()
	s, err := store.Open(store.Options{MemoryBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	k := cache.New(s, 1<<20, telemetry.New())
	p := &peers{cache: k, log: zap.NewNop()}
	k.Tell(p.tell)
	t.Cleanup(func() {
		p.close()
		k.Close()
		s.Close()
	})
	return peered{p, s}
}

func (p peered) put(t *testing.T, key, tag string) {
	t.Helper()
	w := p.store.Create([]byte(key), nil, nil, store.Attributes{Namespace: "n", Tags: [][]byte{[]byte(tag)}}, 0)
	if _, err := w.Commit(); err != nil {
		t.Fatal(err)
	}
}

func (p peered) has(key string) bool { return p.store.Has([]byte(key)) > 0 }

// join connects two of them, and waits until each knows that the other listens.
func join(t *testing.T, a, b peered) {
	t.Helper()
	ours, theirs, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	other, err := net.FileConn(theirs)
	if err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	before := [2]int{a.count(), b.count()}
	a.talk(ours)
	b.talk(other)
	eventually(t, func() bool { return a.count() > before[0] && b.count() > before[1] })
}

func (p *peers) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.all)
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not happen")
		}
	}
}

// TestPeersRemoveWhatOneRemoves: of three processes one behind the other, whichever
// removes something.
func TestPeersRemoveWhatOneRemoves(t *testing.T) {
	all := []peered{newPeered(t), newPeered(t), newPeered(t)}
	join(t, all[0], all[1])
	join(t, all[1], all[2])
	odd := string([]byte{'t', 0xff}) // no UTF-8: a plugin purges it
	for _, by := range all {
		for _, p := range all {
			p.put(t, "purged", odd)
			p.put(t, "forgotten", "x")
			p.put(t, "kept", "y")
		}
		if n, err := by.cache.PurgeTags("n", [][]byte{[]byte(odd)}, false); n != 1 || err != nil {
			t.Errorf("removed %d, %v", n, err)
		}
		for i, p := range all { // once Purge has returned
			if p.has("purged") || !p.has("forgotten") || !p.has("kept") {
				t.Errorf("process %d after the purge: %v %v %v", i, p.has("purged"), p.has("forgotten"), p.has("kept"))
			}
		}
		by.store.Forget([]byte("forgotten"))
		if err := by.tell(cache.Removal{Key: []byte("forgotten")}); err != nil {
			t.Error(err)
		}
		for _, p := range all {
			eventually(t, func() bool { return !p.has("forgotten") })
		}
	}
	all[2].close() // one ends
	eventually(t, func() bool { return all[1].count() == 1 })
	all[0].put(t, "purged", "t")
	if n, err := all[1].cache.Purge(&config.Purge{Namespace: "n", Tags: []string{"t"}}); n != 0 || err != nil || all[0].has("purged") {
		t.Errorf("with one process less: %d, %v", n, err)
	}
	all[0].store.Close()
	all[1].put(t, "more", "t")
	if n, err := all[1].cache.Purge(&config.Purge{Namespace: "n", Tags: []string{"t"}}); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

// TestPeerThatDoesNotFollow: a purge says so, in time.
func TestPeerThatDoesNotFollow(t *testing.T) {
	purge := &config.Purge{Namespace: "n", Tags: []string{"t"}}
	tests := map[string]struct {
		say  []peerMessage
		want string
		time time.Duration
	}{
		"it has not said that it listens": {},
		"it does not answer":              {say: []peerMessage{{Listens: true}}, want: errPeer.Error(), time: peerWait},
		"it answers something else":       {say: []peerMessage{{Listens: true}, {Answer: true, ID: 99}}, want: errPeer.Error(), time: peerWait},
		"it could not":                    {say: []peerMessage{{Listens: true}, {Answer: true, ID: 1, Error: "disk is full"}}, want: "disk is full"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeered(t)
				here, there := net.Pipe()
				p.talk(here)
				in, out := gob.NewDecoder(there), gob.NewEncoder(there)
				heard := make(chan error, 1)
				go func() {
					for _, m := range tt.say {
						if m.Answer { // once it was asked
							for asked := (peerMessage{}); asked.ID == 0; {
								if err := in.Decode(&asked); err != nil {
									heard <- err
									return
								}
							}
						}
						if err := out.Encode(m); err != nil {
							heard <- err
							return
						}
					}
					var m peerMessage
					for in.Decode(&m) == nil {
					}
					heard <- nil
				}()
				synctest.Wait()
				began := time.Now()
				_, err := p.cache.Purge(purge)
				if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) || time.Since(began) != tt.time {
					t.Errorf("%v after %v; want %q after %v", err, time.Since(began), tt.want, tt.time)
				}
				if tt.time > 0 && !errors.Is(err, errPeer) {
					t.Errorf("%v is not errPeer", err)
				}
				there.Close()
				if err := <-heard; err != nil {
					t.Error(err)
				}
				p.close()
			})
		})
	}
}
