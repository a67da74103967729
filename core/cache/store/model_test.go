package store

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
)

// long reports whether the tests are to take their time.
var long = os.Getenv("PENSTOCK_LONG") == "1"

// modelled is what the model knows of one stored object.
type modelled struct {
	key, variant, head string
	body               []byte
	a                  Attributes
	stale              bool
	at                 int // commits and updates are counted
}

func (m *modelled) tagged(tags []string) bool {
	for _, t := range m.a.Tags {
		for _, tag := range tags {
			if string(t) == tag {
				return true
			}
		}
	}
	return false
}

func (m *modelled) named(p *Purge) bool {
	if m.a.Namespace != p.Namespace {
		return false
	}
	for _, h := range p.Hostnames {
		if h == string(m.a.Hostname) {
			return true
		}
	}
	for _, u := range p.URLs {
		if u.Hostname == string(m.a.Hostname) && u.Path == string(m.a.Path) {
			return true
		}
	}
	for _, u := range p.Prefixes {
		if u.Hostname == string(m.a.Hostname) && strings.HasPrefix(string(m.a.Path), u.Path) {
			return true
		}
	}
	return m.tagged(p.Tags)
}

// model does the same to a store and to a plain map.
type model struct {
	t       *testing.T
	r       *rand.Rand
	options Options
	s       *Store
	all     map[string]*modelled // by key and variant
	writing []*pending
	step    int
	lossy   bool // the store may evict
	found   int
}

type pending struct {
	w      *Writer
	m      *modelled
	hard   bool
	soft   bool
	reader *Reader
	read   chan read
}

// read is what a reader of a body got.
type read struct {
	body []byte
	err  error
}

func (m *model) pick(of string, n int) string { return fmt.Sprintf("%s%d", of, m.r.IntN(n)) }

func (m *model) create() {
	key := m.pick("key", 40)
	n := int(key[len(key)-1])
	o := &modelled{key: key, variant: m.pick("v", 3), head: fmt.Sprintf("head %d", m.step)}
	o.a = Attributes{
		Namespace: fmt.Sprint("ns", n%2), Service: fmt.Sprint("svc", n%3),
		Hostname: fmt.Append(nil, "host", n%3), Path: fmt.Append(nil, "/", n%4, "/", key[3:]),
	}
	for i := range m.r.IntN(4) {
		o.a.Tags = append(o.a.Tags, fmt.Append(nil, "tag", (n+i*7)%10))
	}
	o.body = pattern(m.step, []int{0, 10, 1000, 40_000, 300_000, 1_500_000}[min(m.r.IntN(14)/2, m.r.IntN(7), 5)]*(1+m.r.IntN(3))/2)
	size := int64(-1)
	if m.r.IntN(2) == 0 {
		size = int64(len(o.body))
	}
	w := m.s.Create([]byte(o.key), []byte(o.variant), []byte(o.head), o.a, size)
	p := &pending{w: w, m: o, reader: w.Reader(), read: make(chan read, 1)}
	go func() {
		b, err := io.ReadAll(p.reader)
		p.read <- read{b, err}
	}()
	for rest := o.body; len(rest) > 0; {
		n := min(1+m.r.IntN(100_000), len(rest))
		if _, err := w.Write(rest[:n]); err != nil {
			m.t.Fatalf("step %d: write: %v", m.step, err)
		}
		rest = rest[n:]
	}
	m.writing = append(m.writing, p)
}

func (m *model) finish() {
	if len(m.writing) == 0 {
		return
	}
	i := m.r.IntN(len(m.writing))
	p := m.writing[i]
	m.writing = append(m.writing[:i], m.writing[i+1:]...)
	defer p.reader.Close()
	if m.r.IntN(8) == 0 {
		p.w.Abort(nil)
		if got := <-p.read; got.err != io.ErrUnexpectedEOF || !bytes.Equal(got.body, p.m.body) {
			m.t.Fatalf("step %d: a reader of an aborted body got %d bytes, %v", m.step, len(got.body), got.err)
		}
		return
	}
	_, err := p.w.Commit()
	if got := <-p.read; got.err != nil || !bytes.Equal(got.body, p.m.body) {
		m.t.Fatalf("step %d: a reader of the writer got %d bytes of %d, %v", m.step, len(got.body), len(p.m.body), got.err)
	}
	switch {
	case p.hard:
		if err != ErrPurged && (err == nil || !m.lossy) {
			m.t.Fatalf("step %d: commit after a purge: %v", m.step, err)
		}
		return
	case err != nil && m.lossy:
		return
	case err != nil:
		m.t.Fatalf("step %d: commit: %v", m.step, err)
	}
	p.m.stale, p.m.at = p.soft, m.step
	m.all[p.m.key+" "+p.m.variant] = p.m
}

// same fails unless o is what the model says.
func (m *model) same(o *Object, want *modelled) {
	var tags, wantTags []string
	for tag := range o.Tags {
		tags = append(tags, string(tag))
	}
	for _, tag := range want.a.Tags {
		wantTags = append(wantTags, string(tag))
	}
	if string(o.Key()) != want.key || string(o.Variant()) != want.variant || string(o.Head()) != want.head || o.Stale() != want.stale ||
		o.Namespace() != want.a.Namespace || o.Service() != want.a.Service || o.Hostname() != string(want.a.Hostname) ||
		string(o.Path()) != string(want.a.Path) || fmt.Sprint(tags) != fmt.Sprint(wantTags) || o.Size() != int64(len(want.body)) {
		m.t.Fatalf("step %d: found %q %q %q stale %v %q %q %v; want %+v", m.step, o.Key(), o.Variant(), o.Head(), o.Stale(), o.Path(), o.Hostname(), tags, want)
	}
	r := o.Reader(0, -1)
	if r == nil {
		if m.lossy {
			return
		}
		m.t.Fatalf("step %d: body is gone", m.step)
	}
	defer r.Close()
	if b, err := io.ReadAll(r); err != nil || !bytes.Equal(b, want.body) {
		m.t.Fatalf("step %d: body of %d bytes, %v; want %d", m.step, len(b), err, len(want.body))
	}
	m.found++
}

func (m *model) get(key, variant string) *Object {
	var want *modelled
	for _, o := range m.all {
		if o.key == key && (variant == "" || o.variant == variant) && (want == nil || o.at > want.at) {
			want = o
		}
	}
	var match func([]byte) bool
	if variant != "" {
		match = exact(variant)
	}
	o := m.s.Get([]byte(key), match)
	switch {
	case o == nil && want != nil && !m.lossy:
		m.t.Fatalf("step %d: %s %s was not found", m.step, key, variant)
	case o != nil && want == nil:
		m.t.Fatalf("step %d: %s %s was found", m.step, key, variant)
	case o != nil && m.lossy: // an older variant may have outlived the newest
		if w := m.all[key+" "+string(o.Variant())]; w != nil {
			m.same(o, w)
		} else {
			m.t.Fatalf("step %d: %s %s came back", m.step, key, o.Variant())
		}
	case o != nil:
		m.same(o, want)
	}
	return o
}

func (m *model) purge() {
	p := &Purge{Namespace: m.pick("ns", 2), Soft: m.r.IntN(2) == 0}
	for range 1 + m.r.IntN(2) {
		switch m.r.IntN(6) {
		case 0:
			if m.r.IntN(3) == 0 {
				p.Hostnames = append(p.Hostnames, m.pick("host", 3))
				continue
			}
			fallthrough
		case 1:
			p.URLs = append(p.URLs, URL{m.pick("host", 3), fmt.Sprint("/", m.r.IntN(4), "/", m.r.IntN(40))})
		case 2:
			p.Prefixes = append(p.Prefixes, URL{m.pick("host", 3), fmt.Sprint("/", m.r.IntN(4), "/", m.r.IntN(4))})
		default:
			p.Tags = append(p.Tags, m.pick("tag", 10))
		}
	}
	want := 0
	for at, o := range m.all {
		if o.named(p) {
			want++
			if o.stale = true; !p.Soft {
				delete(m.all, at)
			}
		}
	}
	for _, w := range m.writing {
		if w.m.named(p) {
			w.hard = w.hard || !p.Soft
			w.soft = w.soft || p.Soft
		}
	}
	if n, err := m.s.Purge(p); err != nil || n != want && !m.lossy || n > want {
		m.t.Fatalf("step %d: purged %d, %v; want %d: %+v", m.step, n, err, want, p)
	}
}

func (m *model) update() {
	o := m.get(m.pick("key", 40), m.pick("v", 3))
	if o == nil {
		return
	}
	at := string(o.Key()) + " " + string(o.Variant())
	if m.r.IntN(4) == 0 {
		m.s.Remove(o)
		delete(m.all, at)
		return
	}
	head := fmt.Sprintf("updated in %d, and longer", m.step)
	u := m.s.Update(o, []byte(head))
	if u == nil {
		if !m.lossy {
			m.t.Fatalf("step %d: %s was not updated", m.step, at)
		}
		delete(m.all, at)
		return
	}
	was := *m.all[at]
	was.head, was.stale, was.at = head, false, m.step
	m.all[at] = &was
	m.same(u, &was)
	if m.s.Update(o, []byte("old")) != nil {
		m.t.Fatalf("step %d: an old form was updated", m.step)
	}
}

func (m *model) reopen() {
	for _, p := range m.writing {
		p.w.Abort(nil)
		p.reader.Close()
	}
	m.writing = nil
	if err := m.s.Close(); err != nil {
		m.t.Fatalf("step %d: close: %v", m.step, err)
	}
	s, err := Open(m.options)
	if err != nil {
		m.t.Fatalf("step %d: open: %v", m.step, err)
	}
	m.s = s
	if m.r.IntN(2) == 0 {
		m.s.disk.loaded()
		m.everything()
		return
	}
	m.s.disk.loaded()
}

// everything compares all that there is.
func (m *model) everything() {
	for _, o := range m.all {
		m.get(o.key, o.variant)
	}
	st := m.s.Stats()
	if st.Objects > len(m.all) || st.Objects != len(m.all) && !m.lossy {
		m.t.Fatalf("step %d: %d objects; want %d", m.step, st.Objects, len(m.all))
	}
	tags := 0
	for _, o := range m.all {
		tags += len(o.a.Tags)
	}
	if !m.lossy && st.TagEntries != tags {
		m.t.Fatalf("step %d: %d tag entries; want %d", m.step, st.TagEntries, tags)
	}
	seen := 0
	for _, ns := range []string{"ns0", "ns1"} {
		m.s.Objects(ns, func(o *Object) bool {
			w := m.all[string(o.Key())+" "+string(o.Variant())]
			if w == nil {
				m.t.Fatalf("step %d: Objects gave %s %s", m.step, o.Key(), o.Variant())
			}
			m.same(o, w)
			seen++
			return true
		})
	}
	if seen != len(m.all) && !m.lossy {
		m.t.Fatalf("step %d: Objects gave %d; want %d", m.step, seen, len(m.all))
	}
	checkAccounts(m.t, m.s)
}

func TestModel(t *testing.T) {
	tests := map[string]struct {
		options Options
		disk    bool
		lossy   bool
		steps   int
	}{
		"in memory, room for all":           {Options{MemoryBytes: 1 << 30}, false, false, 6000},
		"in memory, little room":            {Options{MemoryBytes: 2 << 20}, false, true, 6000},
		"on disk, room for all":             {Options{MemoryBytes: 1 << 30, DiskBytes: 4 << 30}, true, false, 3000},
		"on disk, hardly any memory":        {Options{MemoryBytes: 1 << 20, DiskBytes: 4 << 30}, true, true, 3000},
		"on disk, little room on either":    {Options{MemoryBytes: 1 << 20, DiskBytes: 32 << 20}, true, true, 3000},
		"on disk, few objects and few tags": {Options{MemoryBytes: 64 << 20, MemoryObjects: 10, DiskBytes: 1 << 30, DiskObjects: 30, TagEntries: 40}, true, true, 3000},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			m := &model{t: t, r: rand.New(rand.NewPCG(seed, 1)), options: test.options, lossy: test.lossy, all: map[string]*modelled{}}
			if test.disk {
				m.options.Dir = t.TempDir()
				m.options.Error = func(err error) { t.Errorf("step %d: told of %v", m.step, err) }
			}
			var err error
			if m.s, err = Open(m.options); err != nil {
				t.Fatal(err)
			}
			defer func() { m.s.Close() }()
			steps := test.steps
			switch {
			case long:
				steps *= 20
			case raceEnabled:
				steps /= 6
			}
			for m.step = 1; m.step <= steps; m.step++ {
				switch n := m.r.IntN(100); {
				case n < 20 && len(m.writing) < 8:
					m.create()
				case n < 45:
					m.finish()
				case n < 80:
					m.get(m.pick("key", 40), []string{"", "v0", "v1", "v2"}[m.r.IntN(4)])
				case n < 84:
					m.purge()
				case n < 94:
					m.update()
				case n < 96 && test.disk:
					m.s.Flush()
				case n == 96 && test.disk && m.r.IntN(10) == 0:
					m.s.Flush()
					m.reopen()
				case n == 97 && m.r.IntN(4) == 0:
					m.everything()
				}
				if test.disk && m.step%50 == 0 {
					if n := folderBytes(t, m.options.Dir); n > m.options.DiskBytes {
						t.Fatalf("step %d: %d bytes on disk; budget %d", m.step, n, m.options.DiskBytes)
					}
				}
			}
			if m.found < steps/20 {
				t.Errorf("%d objects were found in %d steps", m.found, steps)
			}
		})
	}
}
