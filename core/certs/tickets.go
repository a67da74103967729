package certs

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"time"
)

// rotate is how long a secret makes new session tickets. It opens old ones for
// as long again.
const rotate = 24 * time.Hour

// Tickets makes the keys of session tickets: random, of this process alone. The
// zero value is ready. Its methods are safe for use by several goroutines.
type Tickets struct {
	mu sync.Mutex
	// secrets are the one that makes tickets and the one before; an older one is
	// forgotten, so that what it protected cannot be read any more.
	secrets [2][]byte
	made    time.Time // when the first was
	epoch   uint64    // how many were made
}

// current returns the number of the secret that makes tickets now.
func (t *Tickets) current() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.turn()
}

// turn makes a new secret if it is time. t.mu is held.
func (t *Tickets) turn() uint64 {
	now := time.Now()
	age := now.Sub(t.made)
	if t.epoch > 0 && age < rotate {
		return t.epoch
	}
	t.secrets[1] = nil
	if age < 2*rotate {
		t.secrets[1] = t.secrets[0]
	}
	t.secrets[0] = make([]byte, sha256.Size)
	_, _ = rand.Read(t.secrets[0]) // never fails
	t.made = now
	t.epoch++
	return t.epoch
}

// keys returns the keys of those who are called by that label, the one that
// makes tickets first, and the number of its secret.
func (t *Tickets) keys(label string) ([][32]byte, uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	epoch := t.turn()
	var secrets [][]byte
	for _, secret := range t.secrets {
		if secret != nil {
			secrets = append(secrets, secret)
		}
	}
	return ticketKeys(secrets, label), epoch
}

// ticketKeys makes keys of secrets, other ones for each label.
func ticketKeys(secrets [][]byte, label string) [][32]byte {
	var keys [][32]byte
	for _, secret := range secrets {
		key, err := hkdf.Key(sha256.New, secret, nil, "penstock session tickets\x00"+label, sha256.Size)
		if err != nil {
			panic("BUG: " + err.Error())
		}
		keys = append(keys, [32]byte(key))
	}
	return keys
}
