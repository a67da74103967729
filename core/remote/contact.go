package remote

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	contactFile  = "contact"
	contactMagic = "penstock contact 1"
	// contactEvery is how often it is written while control is there. A time that is less
	// than that ahead is taken for now: clocks are corrected by so much.
	contactEvery = time.Minute
)

// Forever is how long control was away if nobody knows.
const Forever time.Duration = math.MaxInt64

// Contact remembers when this proxy was last in touch with control, also beyond its end: on
// disk, beside the state. In touch is who has got a config over a connection that is still
// there.
type Contact struct {
	dir, folder string
	lasting     func() bool
	now         func() moment
	log         *zap.Logger

	mu    sync.Mutex
	touch bool      // in touch now
	last  moment    // in touch last
	never bool      // not known
	noted time.Time // in touch last, with all done that control had asked for

	// Of the goroutine that writes.
	written time.Time     // of noted, on disk
	due     time.Duration // of the process's clock: no earlier than that
}

// moment is a time by the clock of the wall, which may be set, and by the one that a
// process has since it began.
type moment struct {
	wall time.Time
	up   time.Duration
}

// since is how long o was before m, by the clock that says more.
func (m moment) since(o moment) time.Duration { return max(m.up-o.up, m.wall.Sub(o.wall)) }

// NewContact returns what was remembered in the folder dir, which is made when something is
// written. The time is about what lies in the folder of the cache: one that was written for
// another folder is not heeded, and for none, "", nothing is written. lasting reports
// whether all that control has asked for by now is done and lasts beyond the end of the
// process: until then nothing is noted.
func NewContact(dir, folder string, lasting func() bool, log *zap.Logger) *Contact {
	began := time.Now()
	return newContact(dir, folder, lasting, func() moment { return moment{time.Now().Round(0), time.Since(began)} }, log)
}

func newContact(dir, folder string, lasting func() bool, now func() moment, log *zap.Logger) *Contact {
	c := &Contact{dir: dir, folder: folder, lasting: lasting, now: now, log: log, never: true}
	if folder == "" {
		return c
	}
	text, err := os.ReadFile(filepath.Join(dir, contactFile))
	if errors.Is(err, fs.ErrNotExist) {
		return c
	}
	var at time.Time
	if err == nil {
		at, err = parseContact(string(text), folder)
	}
	if err != nil {
		log.Warn("when control was there last is not known", zap.Error(err))
		return c
	}
	here := now()
	ago := here.wall.Sub(at)
	if ago <= -contactEvery {
		log.Warn("when control was there last is not known: the time on disk is yet to come", zap.Time("time", at))
		return c
	}
	c.never, c.last = false, moment{at, here.up - max(ago, 0)}
	return c
}

// away returns how long control was away by now; 0: it is there.
func (c *Contact) away() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.touch:
		return 0
	case c.never:
		return Forever
	}
	return max(c.now().since(c.last), 0)
}

// begin says that a connection has brought a config.
func (c *Contact) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.touch = true
}

// end says that a connection is over.
func (c *Contact) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.touch {
		return
	}
	c.note()
	c.touch, c.never, c.last = false, false, c.now()
}

// back says that control is there, before the first config is applied.
func (t *talk) back() {
	contact := t.source.o.Contact
	if t.found || contact == nil {
		return
	}
	t.found = true
	if t.apply.Back != nil {
		t.apply.Back(contact.away())
	}
	contact.begin()
}

// note takes the time, if control is there and nothing is still to be done. mu is held.
func (c *Contact) note() {
	if c.touch && c.lasting() {
		c.noted = c.now().wall
	}
}

// Run writes the time to disk, soon after the first one, then now and then, and once ctx is
// done.
func (c *Contact) Run(ctx context.Context) {
	if c.folder == "" {
		return
	}
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
		case <-t.C:
			if c.now().up < c.due {
				continue
			}
		}
		if err := c.keep(); err != nil {
			c.due = c.now().up + contactEvery
			c.log.Warn("when control was there is not kept on disk: what is cached there may be dropped after a start", zap.Error(err))
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// keep writes the time, if it is another one.
func (c *Contact) keep() error {
	c.mu.Lock()
	c.note()
	at := c.noted
	c.mu.Unlock()
	if at.Equal(c.written) {
		return nil
	}
	f, err := newFile(c.dir, contactFile)
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // if it has still this name
	if _, err = f.WriteString(contactText(at, c.folder)); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	c.written, c.due = at, c.now().up+contactEvery
	return os.Rename(f.Name(), filepath.Join(c.dir, contactFile))
}

// contactText is what the file says: a line each for the time in seconds since 1970, the
// folder of the cache, and a CRC-32C of what comes before.
func contactText(at time.Time, folder string) string {
	text := fmt.Sprintf("%s\n%d\n%q\n", contactMagic, at.Unix(), folder)
	return fmt.Sprintf("%s%08x\n", text, crc32.Checksum([]byte(text), crc32.MakeTable(crc32.Castagnoli)))
}

// parseContact reads what contactText wrote for this folder.
func parseContact(text, folder string) (at time.Time, err error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 5 || lines[0] != contactMagic {
		return at, errors.New("it is cut short, or another version wrote it")
	}
	seconds, err := strconv.ParseInt(lines[1], 10, 64)
	of, quoted := strconv.Unquote(lines[2])
	at = time.Unix(seconds, 0)
	switch {
	case err != nil || quoted != nil || contactText(at, of) != text:
		return time.Time{}, errors.New("it was changed")
	case of != folder:
		return time.Time{}, fmt.Errorf("it is about the cache folder %s", of)
	}
	return at, nil
}
