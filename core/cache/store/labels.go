package store

// label is one tag of one entry: a member of the list of all entries with the tag, and
// of the list of all tags of the entry.
type label struct {
	hash  uint64 // of namespace and tag
	entry uint32
	prev  uint32 // with the same tag
	next  uint32
	more  uint32 // of the same entry; of free labels: the next free one
}

const (
	// labelBytes is what a label takes, with its share of the map if it is the only
	// one of its tag.
	labelBytes = 24 + 24
	labelPage  = 1 << 10
)

// labels is the tag index: exact but for tags of one namespace whose keyed hashes of
// 64 bits meet. It is guarded by Store.mu.
type labels struct {
	first map[uint64]uint32
	pages []*[labelPage]label
	made  uint32
	free  uint32
	used  int
	limit int
}

func (l *labels) at(i uint32) *label { return &l.pages[i/labelPage][i%labelPage] }

// add gives the entry another label. The caller has seen to the limit.
func (l *labels) add(e *entry, id uint32, hash uint64) {
	i := l.free
	if i != 0 {
		l.free = l.at(i).more
	} else {
		l.made++
		i = l.made
		if int(i/labelPage) >= len(l.pages) {
			l.pages = append(l.pages, new([labelPage]label))
		}
	}
	first := l.first[hash]
	*l.at(i) = label{hash: hash, entry: id, next: first, more: e.labels}
	if first != 0 {
		l.at(first).prev = i
	}
	l.first[hash], e.labels = i, i
	l.used++
}

// drop takes all labels of the entry away and returns how many there were.
func (l *labels) drop(e *entry) (n int) {
	for i := e.labels; i != 0; {
		b := l.at(i)
		switch {
		case b.prev != 0:
			l.at(b.prev).next = b.next
		case b.next != 0:
			l.first[b.hash] = b.next
		default:
			delete(l.first, b.hash)
		}
		if b.next != 0 {
			l.at(b.next).prev = b.prev
		}
		next := b.more
		*b = label{more: l.free}
		l.free = i
		i = next
		n++
	}
	e.labels = 0
	l.used -= n
	return n
}

// count returns how many labels the entry has.
func (l *labels) count(e *entry) (n int) {
	for i := e.labels; i != 0; i = l.at(i).more {
		n++
	}
	return n
}

// each calls do with every entry that has the tag.
func (l *labels) each(hash uint64, do func(id uint32)) {
	for i := l.first[hash]; i != 0; i = l.at(i).next {
		do(l.at(i).entry)
	}
}

// urls finds entries by URL. It is many small tables, each of which grows alone, so
// that no growth takes long. It is guarded by Store.mu.
type urls struct {
	parts [256]struct {
		heads []uint32
		count int
	}
}

// urlOf returns the hash of the URL of id. mu is held.
func (s *Store) urlOf(id uint32) uint64 {
	if l := s.table.loc(id); l != nil {
		return l.url
	}
	o := *s.table.object(id)
	return s.hash.url(o.site.namespace.name, o.site.hostname, o.Path())
}

// addURL puts id under its URL. mu is held.
func (s *Store) addURL(id uint32, hash uint64) {
	p := &s.urls.parts[hash>>56]
	if p.count >= len(p.heads) {
		old := p.heads
		p.heads = make([]uint32, max(16, 2*len(old)))
		for _, other := range old {
			for other != 0 {
				next := s.table.entry(other).urlNext
				s.pushURL(p.heads, other, s.urlOf(other))
				other = next
			}
		}
	}
	s.pushURL(p.heads, id, hash)
	p.count++
}

func (s *Store) pushURL(heads []uint32, id uint32, hash uint64) {
	head := &heads[hash&uint64(len(heads)-1)]
	e := s.table.entry(id)
	e.urlPrev, e.urlNext = 0, *head
	if *head != 0 {
		s.table.entry(*head).urlPrev = id
	}
	*head = id
}

// dropURL takes id away from under its URL. mu is held.
func (s *Store) dropURL(id uint32, hash uint64) {
	p := &s.urls.parts[hash>>56]
	e := s.table.entry(id)
	if e.urlPrev != 0 {
		s.table.entry(e.urlPrev).urlNext = e.urlNext
	} else {
		p.heads[hash&uint64(len(p.heads)-1)] = e.urlNext
	}
	if e.urlNext != 0 {
		s.table.entry(e.urlNext).urlPrev = e.urlPrev
	}
	e.urlPrev, e.urlNext = 0, 0
	p.count--
}

// eachURL calls do with every entry whose URL has the hash.
func (s *Store) eachURL(hash uint64, do func(id uint32)) {
	p := &s.urls.parts[hash>>56]
	if len(p.heads) == 0 {
		return
	}
	for id := p.heads[hash&uint64(len(p.heads)-1)]; id != 0; id = s.table.entry(id).urlNext {
		if s.urlOf(id) == hash {
			do(id)
		}
	}
}
