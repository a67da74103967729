package crypto

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"

	"penstock.dev/penstock/hosts/capability"
)

// Bounds on a password's hash: what checking one may take.
const (
	maxPassword   = 1 << 10
	maxBcryptCost = 14
	maxArgonKiB   = 64 << 10
	maxArgonTime  = 8
	maxArgonLanes = 8
	// maxKnown passwords are remembered as right, for rememberedFor.
	maxKnown      = 16 << 10
	rememberedFor = 10 * time.Minute
	// maxChecks wait in all, and maxOwnChecks of one namespace.
	maxChecks    = 256
	maxOwnChecks = 64
)

var errHash = errors.New("the hash is neither bcrypt ($2a$, $2b$, $2y$) nor argon2id ($argon2id$v=19$m=...,t=...,p=...$salt$hash), or beyond its bounds: bcrypt cost 14; argon2id m=65536, t=8, p=8")

// Passwords checks passwords against their hashes, which is dear by design: by few
// workers, with a bound on what waits, and once only for one that is right.
type Passwords struct {
	workers chan struct{}
	secret  [32]byte
	group   sync.WaitGroup
	now     func() time.Time

	mu      sync.Mutex
	closed  bool
	known   map[[sha256.Size]byte]time.Time // until
	waiting map[string]int                  // by namespace
	all     int
}

// NewPasswords returns one that takes half of the processors at most; now is the time,
// nil: the machine's.
func NewPasswords(now func() time.Time) *Passwords {
	if now == nil {
		now = time.Now
	}
	p := &Passwords{workers: make(chan struct{}, max(runtime.GOMAXPROCS(0)/2, 1)), now: now, known: map[[sha256.Size]byte]time.Time{}, waiting: map[string]int{}}
	_, _ = rand.Read(p.secret[:]) // never fails
	return p
}

// Close waits for the checks under way; none begins after it.
func (p *Passwords) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.group.Wait()
}

// Check implements capability.PasswordChecker.
func (p *Passwords) Check(namespace string, hash, password []byte, done func(right bool)) (right, now bool, cancel func(), err error) {
	check, err := parseHash(string(hash))
	if err != nil {
		return false, false, nil, err
	}
	if len(password) > maxPassword {
		return false, true, nil, nil
	}
	name := p.name(hash, password)
	p.mu.Lock()
	defer p.mu.Unlock()
	if until, ok := p.known[name]; ok && p.now().Before(until) {
		return true, true, nil, nil
	}
	if p.closed || p.all >= maxChecks || p.waiting[namespace] >= maxOwnChecks {
		return false, false, nil, fmt.Errorf("%w: %d passwords wait to be checked", capability.ErrBusy, p.all)
	}
	p.all++
	p.waiting[namespace]++
	password = append([]byte(nil), password...)
	stop := make(chan struct{})
	p.group.Go(func() {
		right, asked := false, true
		select {
		case p.workers <- struct{}{}:
			right = check(password)
			<-p.workers
		case <-stop:
			asked = false
		}
		p.mu.Lock()
		p.all--
		if p.waiting[namespace]--; p.waiting[namespace] == 0 {
			delete(p.waiting, namespace)
		}
		if right {
			p.remember(name)
		}
		p.mu.Unlock()
		if asked {
			done(right)
		}
	})
	return false, false, sync.OnceFunc(func() { close(stop) }), nil
}

// CheckPassword compares a password with its hash at once, however long that takes. Errors
// say why the hash cannot be read.
func CheckPassword(hash, password []byte) (right bool, err error) {
	check, err := parseHash(string(hash))
	if err != nil || len(password) > maxPassword {
		return false, err
	}
	return check(password), nil
}

// name is what a right password is remembered by: nobody can tell it from that.
func (p *Passwords) name(hash, password []byte) (name [sha256.Size]byte) {
	h := hmac.New(sha256.New, p.secret[:])
	h.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(hash))))
	h.Write(hash)
	h.Write(password)
	h.Sum(name[:0])
	return name
}

// remember notes a right password. mu is held.
func (p *Passwords) remember(name [sha256.Size]byte) {
	now := p.now()
	if len(p.known) >= maxKnown {
		for k, until := range p.known {
			if !now.Before(until) || len(p.known) >= maxKnown {
				delete(p.known, k)
			}
		}
	}
	p.known[name] = now.Add(rememberedFor)
}

// parseHash returns what checks a password against a hash.
func parseHash(hash string) (func(password []byte) bool, error) {
	switch {
	case strings.HasPrefix(hash, "$2a$"), strings.HasPrefix(hash, "$2b$"), strings.HasPrefix(hash, "$2y$"):
		cost, err := bcrypt.Cost([]byte(hash))
		if err != nil || cost > maxBcryptCost || len(hash) != 60 {
			return nil, errHash
		}
		return func(password []byte) bool { return bcrypt.CompareHashAndPassword([]byte(hash), password) == nil }, nil
	case strings.HasPrefix(hash, "$argon2id$"):
		return parseArgon(hash)
	}
	return nil, errHash
}

// parseArgon reads the PHC string format.
func parseArgon(hash string) (func(password []byte) bool, error) {
	parts := strings.Split(hash, "$")
	var memory, times, lanes uint32
	if len(parts) != 6 || parts[2] != "v=19" {
		return nil, errHash
	}
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &times, &lanes); n != 3 || err != nil || parts[3] != fmt.Sprintf("m=%d,t=%d,p=%d", memory, times, lanes) {
		return nil, errHash
	}
	salt, err := base64.RawStdEncoding.Strict().DecodeString(parts[4])
	sum, err2 := base64.RawStdEncoding.Strict().DecodeString(parts[5])
	switch {
	case err != nil, err2 != nil, len(salt) < 8 || len(salt) > 64, len(sum) < 16 || len(sum) > 64:
		return nil, errHash
	case memory < 8*lanes, memory > maxArgonKiB, times < 1, times > maxArgonTime, lanes < 1, lanes > maxArgonLanes:
		return nil, errHash
	}
	return func(password []byte) bool {
		return subtle.ConstantTimeCompare(sum, argon2.IDKey(password, salt, times, memory, uint8(lanes), uint32(len(sum)))) == 1
	}, nil
}
