package remote

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

func yes() bool { return true }

// TestContact: how long control was away, for this process and for one that comes later.
func TestContact(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "config")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c := NewContact(dir, "/cache", yes, zap.NewNop())
		ended := make(chan struct{})
		go func() { c.Run(ctx); close(ended) }()
		is := func(c *Contact, when string, want time.Duration) {
			t.Helper()
			if got := c.away(); got != want {
				t.Errorf("%s: away for %v; want %v", when, got, want)
			}
		}
		later := func() *Contact { return NewContact(dir, "/cache", yes, zap.NewNop()) }
		time.Sleep(time.Hour)
		is(c, "never met", Forever)
		c.end() // of a connection that brought nothing
		is(c, "a connection without a config", Forever)
		is(later(), "another process, before", Forever)
		c.begin()
		time.Sleep(2 * time.Second)
		is(c, "control is there", 0)
		if got := later().away(); got > 2*time.Second {
			t.Errorf("a process that comes after a crash: away for %v", got)
		}
		time.Sleep(time.Hour)
		if got := later().away(); got > contactEvery {
			t.Errorf("after an hour with it and a crash: away for %v", got)
		}
		c.end()
		time.Sleep(20 * time.Minute)
		is(c, "control has gone", 20*time.Minute)
		c.end() // of a try that failed
		is(c, "a try that failed", 20*time.Minute)
		c.begin()
		is(c, "it is back", 0)
		time.Sleep(contactEvery + time.Second)
		time.Sleep(time.Second / 2) // between two looks
		c.end()
		cancel()
		<-ended
		time.Sleep(3 * time.Hour)
		if got := later().away(); got < 3*time.Hour || got > 3*time.Hour+time.Second {
			t.Errorf("after a graceful end: away for %v", got)
		}
		l := later()
		time.Sleep(time.Minute)
		if got := l.away(); got < 3*time.Hour+time.Minute {
			t.Errorf("a minute after the next start: away for %v", got)
		}
		is(NewContact(dir, "/other", yes, zap.NewNop()), "with another cache folder", Forever)
		is(NewContact(dir, "", yes, zap.NewNop()), "without a cache folder", Forever)
	})
}

// TestContactOfWhatIsNotDone: while something of what control asked for is still to be
// done, and could be lost, no later time is noted.
func TestContactOfWhatIsNotDone(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		lasting := true
		c := NewContact(dir, "/cache", func() bool { return lasting }, zap.NewNop())
		ended := make(chan struct{})
		go func() { c.Run(ctx); close(ended) }()
		c.begin()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		c.mu.Lock()
		lasting = false
		c.mu.Unlock()
		time.Sleep(time.Hour)
		c.end()
		cancel()
		<-ended
		if got := NewContact(dir, "/cache", yes, zap.NewNop()).away(); got < time.Hour {
			t.Errorf("away for %v; want an hour", got)
		}
	})
}

// TestContactIsRefused: what cannot be read, or is yet to come, says nothing.
func TestContactIsRefused(t *testing.T) {
	now := time.Now()
	right := contactText(now.Add(-time.Minute), "/cache")
	tests := map[string]struct {
		text  string
		known bool
	}{
		"a minute ago":                 {right, true},
		"a few seconds ahead":          {contactText(now.Add(30*time.Second), "/cache"), true},
		"an hour ahead":                {contactText(now.Add(time.Hour), "/cache"), false},
		"of 1969":                      {contactText(time.Unix(-1, 0), "/cache"), true},
		"empty":                        {"", false},
		"another file":                 {"something\n", false},
		"another version":              {strings.Replace(right, "contact 1", "contact 2", 1), false},
		"something behind it":          {right + "\n", false},
		"another folder":               {contactText(now, "/other"), false},
		"a folder with a line end":     {contactText(now, "/cache\n/cache"), false},
		"a time that is none":          {strings.Replace(right, "\n", "\nx", 1), false},
		"a time that was written anew": {strings.Replace(right, "\n1", "\n2", 1), false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, contactFile), []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if got := NewContact(dir, "/cache", yes, zap.NewNop()).away(); got != Forever != tt.known {
				t.Errorf("away for %v; known: %v", got, tt.known)
			}
		})
	}
	t.Run("torn or changed", func(t *testing.T) {
		for i := range right {
			if _, err := parseContact(right[:i], "/cache"); err == nil {
				t.Errorf("cut at %d it is read", i)
			}
			changed := []byte(right)
			changed[i] ^= 1
			if _, err := parseContact(string(changed), "/cache"); err == nil {
				t.Errorf("with byte %d changed it is read", i)
			}
		}
	})
	t.Run("a folder in its place", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, contactFile), 0o700); err != nil {
			t.Fatal(err)
		}
		if got := NewContact(dir, "/cache", yes, zap.NewNop()).away(); got != Forever {
			t.Errorf("away for %v", got)
		}
	})
}

// TestContactByClocks: a clock that was set makes no time shorter.
func TestContactByClocks(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	tests := map[string]struct {
		wall, up time.Duration // since the contact
		want     time.Duration
	}{
		"neither was set":         {40 * time.Minute, 40 * time.Minute, 40 * time.Minute},
		"set back":                {-time.Hour, 40 * time.Minute, 40 * time.Minute},
		"set ahead":               {3 * time.Hour, 40 * time.Minute, 3 * time.Hour},
		"the machine was stopped": {3 * time.Hour, time.Minute, 3 * time.Hour},
		"back to before, at once": {-time.Hour, 0, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			now := moment{at, time.Hour}
			c := newContact(dir, "/cache", yes, func() moment { return now }, zap.NewNop())
			c.begin()
			c.end()
			if err := c.keep(); err != nil {
				t.Fatal(err)
			}
			read := newContact(dir, "/cache", yes, func() moment { return now }, zap.NewNop())
			now = moment{at.Add(tt.wall), time.Hour + tt.up}
			for who, c := range map[string]*Contact{"this process": c, "the next one": read} {
				if got := c.away(); got != tt.want {
					t.Errorf("%s: away for %v; want %v", who, got, tt.want)
				}
			}
		})
	}
}

// FuzzContact: what is read is what was written, for that folder.
func FuzzContact(f *testing.F) {
	f.Add(contactText(time.Unix(1_700_000_000, 0), "/cache"), "/cache")
	f.Add(contactText(time.Unix(-5, 0), "a\n\"b\xff"), "a\n\"b\xff")
	f.Add("penstock contact 1\n\n\n\n", "")
	f.Fuzz(func(t *testing.T, text, folder string) {
		if at, err := parseContact(text, folder); err == nil && contactText(at, folder) != text {
			t.Errorf("%q is read as %v", text, at)
		}
		at := time.Unix(int64(len(text)), 0)
		if got, err := parseContact(contactText(at, folder), folder); err != nil || !got.Equal(at) {
			t.Errorf("of %q: %v, %v", folder, got, err)
		}
	})
}
