package crypto_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"testing"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"

	"penstock.dev/penstock/hosts/capability"
	"penstock.dev/penstock/hosts/capability/crypto"
)

func argon(password, salt string, memory, times uint32, lanes uint8) string {
	text := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", memory, times, lanes, text([]byte(salt)), text(argon2.IDKey([]byte(password), []byte(salt), times, memory, lanes, 32)))
}

// check waits for the answer.
func check(t *testing.T, p *crypto.Passwords, hash, password string) (right, now bool) {
	t.Helper()
	answer := make(chan bool, 1)
	right, now, _, err := p.Check("ns", []byte(hash), []byte(password), func(right bool) { answer <- right })
	if err != nil {
		t.Fatal(err)
	}
	if !now {
		right = <-answer
	}
	return right, now
}

func TestPasswords(t *testing.T) {
	p := crypto.NewPasswords(nil)
	defer p.Close()
	hashes := map[string]string{
		"bcrypt":     string(must(bcrypt.GenerateFromPassword([]byte("right"), bcrypt.MinCost))),
		"argon2id":   argon("right", "somesalt", 64, 1, 2),
		"PHP bcrypt": "$2y" + string(must(bcrypt.GenerateFromPassword([]byte("right"), bcrypt.MinCost)))[3:],
	}
	for name, hash := range hashes {
		for _, wrong := range []string{"", "wrong", "right ", "Right"} {
			if right, _ := check(t, p, hash, wrong); right {
				t.Errorf("%s: %q is right", name, wrong)
			}
		}
		if right, now := check(t, p, hash, "right"); !right || now {
			t.Errorf("%s: %v, at once %v", name, right, now)
		}
		if right, now := check(t, p, hash, "right"); !right || !now {
			t.Errorf("%s, known: %v, at once %v", name, right, now)
		}
	}
	if right, now := check(t, p, hashes["bcrypt"], string(make([]byte, 5000))); right || !now {
		t.Errorf("a long one: %v, at once %v", right, now)
	}
}

func TestHashesThatAreRefused(t *testing.T) {
	p := crypto.NewPasswords(nil)
	good := argon("x", "somesalt", 64, 1, 1)
	for _, hash := range []string{"", "right", "$1$salt$x", "$2b$15$" + string(make([]byte, 53)), "$2b$04$short", "$argon2id$", good + "$", good[:len(good)-40],
		"$argon2id$v=19$m=99999999,t=1,p=1$c29tZXNhbHQ$" + base64.RawStdEncoding.EncodeToString(make([]byte, 32)),
		"$argon2id$v=19$m=64,t=99,p=1$c29tZXNhbHQ$" + base64.RawStdEncoding.EncodeToString(make([]byte, 32)),
		"$argon2id$v=19$m=64,t=0,p=1$c29tZXNhbHQ$" + base64.RawStdEncoding.EncodeToString(make([]byte, 32)),
		"$argon2id$v=19$m=64,t=1,p=0$c29tZXNhbHQ$" + base64.RawStdEncoding.EncodeToString(make([]byte, 32)),
		"$argon2id$v=16$m=64,t=1,p=1$c29tZXNhbHQ$" + base64.RawStdEncoding.EncodeToString(make([]byte, 32)),
		"$argon2id$v=19$m=+64,t=1,p=1$c29tZXNhbHQ$" + base64.RawStdEncoding.EncodeToString(make([]byte, 32)),
	} {
		if _, _, _, err := p.Check("ns", []byte(hash), []byte("x"), nil); err == nil || errors.Is(err, capability.ErrBusy) {
			t.Errorf("%q: %v", hash, err)
		}
	}
}

// TestPasswordsAreBounded: one namespace's flood is refused, and no other's request.
func TestPasswordsAreBounded(t *testing.T) {
	p := crypto.NewPasswords(nil)
	hash := must(bcrypt.GenerateFromPassword([]byte("right"), 8))
	busy, answers := 0, make(chan bool, 1000)
	var cancels []func()
	for range 200 {
		_, _, cancel, err := p.Check("greedy", hash, []byte("wrong"), func(right bool) { answers <- right })
		if errors.Is(err, capability.ErrBusy) {
			busy++
		} else if err != nil {
			t.Fatal(err)
		} else {
			cancels = append(cancels, cancel)
		}
	}
	if busy < 100 {
		t.Errorf("%d of 200 were refused", busy)
	}
	if _, _, _, err := p.Check("other", hash, []byte("right"), func(right bool) { answers <- right }); err != nil {
		t.Errorf("another namespace: %v", err)
	}
	for _, cancel := range cancels {
		cancel()
	}
	p.Close()
	close(answers)
	right := 0
	for answer := range answers {
		if answer {
			right++
		}
	}
	if right != 1 {
		t.Errorf("%d answers are right; want that of the other namespace", right)
	}
	if _, _, _, err := p.Check("other", hash, []byte("else"), nil); !errors.Is(err, capability.ErrBusy) {
		t.Errorf("after the end: %v", err)
	}
}
