package store

import (
	"bytes"
	"errors"
	"slices"
)

// URL is a hostname, lower case, and a path with its query as in the URL.
type URL struct{ Hostname, Path string }

// Purge says which objects of one namespace are removed: those that have any of the
// tags, are of any of the hostnames, have any of the URLs, or a URL that begins with
// any of the prefixes (equal hostname, path that begins so).
type Purge struct {
	Namespace string
	Tags      []string
	Hostnames []string
	URLs      []URL
	Prefixes  []URL
	Soft      bool // mark them stale instead
}

// ErrNothingNamed is what Purge returns for a purge without tags, hostnames, URLs and
// prefixes.
var ErrNothingNamed = errors.New("purge names no tag, hostname, URL or prefix")

// Purge removes what p names, or marks it stale, and returns how many objects that
// were: an object in both tiers, or that was named twice, counts once. Objects that
// are being written now and match are not counted; their Commit does not make them
// visible, or after a soft purge stores them stale. Nothing purged comes back after a
// crash once Purge has returned.
//
// An error other than ErrNothingNamed means that the disk could not take note of it:
// the objects are gone now, and the store has thrown away what it could of the files
// they were in.
func (s *Store) Purge(p *Purge) (n int, err error) {
	if len(p.Tags)+len(p.Hostnames)+len(p.URLs)+len(p.Prefixes) == 0 {
		return 0, ErrNothingNamed
	}
	var kills []kill
	if d := s.disk; d != nil {
		if d.enter() {
			defer d.noting.RUnlock()
			return s.purgeWaiting(p)
		}
		defer d.noting.RUnlock()
	}
	paths := map[int64]bool{}
	for round := 0; ; round++ {
		s.mu.Lock()
		ids, unread := s.named(p, paths)
		if len(unread) == 0 || round == purgeRounds {
			n = s.strike(p, ids, &kills)
			for _, c := range unread { // rather one too many
				n += s.strike(p, []uint32{c.id}, &kills)
			}
			s.mu.Unlock()
			return n, s.bury(kills, true)
		}
		for _, id := range ids {
			s.table.entry(id).bits &^= bitMarked
		}
		s.mu.Unlock()
		for i := range unread {
			paths[unread[i].loc.stored] = s.pathNamed(p, &unread[i])
		}
	}
}

// purgeWaiting purges what is in memory, and notes p for what is on disk.
func (s *Store) purgeWaiting(p *Purge) (n int, err error) {
	text := appendMissedPurge(nil, p)
	var kills []kill
	s.mu.Lock()
	ids, _ := s.named(p, nil)
	for _, id := range ids { // what these have replaced need not be named by p
		e := s.table.entry(id)
		text = appendMissedObject(text, identity{e.hash, e.variant})
	}
	n = s.strike(p, ids, &kills)
	s.mu.Unlock()
	return n, s.disk.missed.add(text, true)
}

// purgeRounds is how often a purge by prefix reads paths from disk that it does not
// know yet. What is still unknown then, as others move objects all the time, is purged.
const purgeRounds = 8

// named returns the entries that p names, marked, so that none is there twice; unread
// are those on disk of which paths does not say whether a prefix names them.
func (s *Store) named(p *Purge, paths map[int64]bool) (ids []uint32, unread []candidate) {
	name := s.namespaces[p.Namespace]
	if name == nil {
		return nil, nil
	}
	take := func(id uint32) {
		if e := s.table.entry(id); e.bits&bitMarked == 0 {
			e.bits |= bitMarked
			ids = append(ids, id)
		}
	}
	for _, tag := range p.Tags {
		s.labels.each(s.hash.tag(p.Namespace, []byte(tag)), take)
	}
	for _, u := range p.URLs {
		s.eachURL(s.hash.url(p.Namespace, u.Hostname, []byte(u.Path)), take)
	}
	for _, hostname := range p.Hostnames {
		for _, t := range name.sites[hostname] {
			for id := t.newest; id != 0; id = s.table.entry(id).siteNext {
				take(id)
			}
		}
	}
	for hostname := range hostnames(p.Prefixes) {
		for _, t := range name.sites[hostname] {
			for id := t.newest; id != 0; id = s.table.entry(id).siteNext {
				if o := *s.table.object(id); o != nil {
					if p.prefixed(hostname, o.Path()) {
						take(id)
					}
					continue
				}
				c := candidate{id: id, loc: *s.table.loc(id)}
				if is, known := paths[c.loc.stored]; !known && s.table.entry(id).bits&bitMarked == 0 {
					unread = append(unread, c)
				} else if is {
					take(id)
				}
			}
		}
	}
	return ids, unread
}

func hostnames(urls []URL) map[string]bool {
	m := make(map[string]bool, len(urls))
	for _, u := range urls {
		m[u.Hostname] = true
	}
	return m
}

// prefixed reports whether a prefix of this hostname names the path.
func (p *Purge) prefixed(hostname string, path []byte) bool {
	for _, u := range p.Prefixes {
		if u.Hostname == hostname && bytes.HasPrefix(path, []byte(u.Path)) {
			return true
		}
	}
	return false
}

// pathNamed reads the path of an object on disk. One that cannot be read is named: it
// may be.
func (s *Store) pathNamed(p *Purge, c *candidate) bool {
	o := s.disk.head(c)
	return o == nil || p.prefixed(o.site.hostname, o.Path())
}

// strike removes the entries, or marks them stale, and does the same to what is being
// written. mu is held.
func (s *Store) strike(p *Purge, ids []uint32, kills *[]kill) int {
	for _, id := range ids {
		e := s.table.entry(id)
		e.bits &^= bitMarked
		if !p.Soft {
			s.count(id, CausePurged)
			s.remove(id, kills)
			continue
		}
		if l := s.table.loc(id); l != nil && l.segment != 0 && !e.stale {
			*kills = append(*kills, kill{kind: killStale, segment: l.segment, offset: l.offset})
		}
		h := s.shard(e.hash)
		h.mu.Lock()
		e.stale = true
		if o := *s.table.object(id); o != nil {
			o.flags.Or(flagStale)
		}
		h.mu.Unlock()
	}
	if name := s.namespaces[p.Namespace]; name != nil {
		for w := range name.writers {
			if !p.names(w.object) {
				continue
			}
			if p.Soft {
				w.purged.Or(purgedSoft)
			} else {
				w.purged.Or(purgedHard)
			}
		}
	}
	return len(ids)
}

// names reports whether p names o, which is of its namespace.
func (p *Purge) names(o *Object) bool {
	if slices.Contains(p.Hostnames, o.site.hostname) || p.prefixed(o.site.hostname, o.Path()) ||
		slices.Contains(p.URLs, URL{o.site.hostname, string(o.Path())}) {
		return true
	}
	if len(p.Tags) > 0 {
		for tag := range o.Tags {
			if slices.Contains(p.Tags, string(tag)) {
				return true
			}
		}
	}
	return false
}
