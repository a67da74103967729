package store

// listKind says in which list of its namespace's memory tier an entry is.
type listKind uint8

const (
	inNone listKind = iota
	inWindow
	inProbation
	inProtected
)

// list holds entries of a namespace from the one used last to the one used first.
type list struct {
	head, tail uint32
	usage
}

// Cause says why an object left a tier.
type Cause uint8

// The causes.
const (
	CauseMemory   Cause = iota // the memory budget
	CauseDisk                  // the disk budget
	CauseQuota                 // it was above its share, and another namespace needed room
	CauseReplaced              // a newer one of its key and variant, or too many variants
	CausePurged                // by Purge
	CauseRemoved               // by Remove
	CauseDamaged               // its record on disk is not what was written
	CauseQueue                 // the disk was too slow or failed: not written there
	causes        = iota
)

var causeNames = [causes]string{"memory", "disk", "quota", "replaced", "purged", "removed", "damaged", "queue"}

func (c Cause) String() string { return causeNames[c] }

// entryBytes is what an entry of an object in memory takes beside the object: itself,
// a pointer, its places in the chains by key and by URL, and in the sketch.
const entryBytes = 56 + 8 + 8 + 8 + 8

// locBytes is what is added to every entry by a disk tier.
const locBytes = 32

// memoryTier is W-TinyLFU for each namespace: what is new enters a small window; what
// the window pushes out stays only if it was asked for more often than what it would
// displace. It is guarded by Store.mu.
type memoryTier struct {
	budget  int64
	limit   int   // of objects
	used    int64 // by objects in lists
	fixed   int64 // by sites
	growing int64 // by bodies that are being written
	objects int
	active  int // namespaces with objects in lists
	sketch  sketch
	// fattest is a namespace above its share, looked for again now and then.
	fattest *namespace
	looked  int
	seed    uint64
}

func (m *memoryTier) over() bool {
	return m.used+m.fixed+m.growing > m.budget || m.objects > m.limit
}

// above reports whether n holds more than its share of what there is too much of.
func (m *memoryTier) above(n *namespace) bool {
	if m.objects > m.limit && n.memory.objects*m.active > m.limit {
		return true
	}
	return n.memory.bytes*int64(m.active) > m.budget
}

func (n *namespace) list(k listKind) *list {
	switch k {
	case inWindow:
		return &n.window
	case inProbation:
		return &n.probation
	}
	return &n.protected
}

// push puts id at the head of a list.
func (s *Store) push(n *namespace, k listKind, id uint32) {
	l, e := n.list(k), s.table.entry(id)
	e.in, e.prev, e.succ = k, 0, l.head
	if l.head != 0 {
		s.table.entry(l.head).prev = id
	} else {
		l.tail = id
	}
	l.head = id
	l.bytes += int64(e.cost)
	l.objects++
}

// pull takes id out of its list.
func (s *Store) pull(n *namespace, id uint32) {
	e := s.table.entry(id)
	l := n.list(e.in)
	if e.prev != 0 {
		s.table.entry(e.prev).succ = e.succ
	} else {
		l.head = e.succ
	}
	if e.succ != 0 {
		s.table.entry(e.succ).prev = e.prev
	} else {
		l.tail = e.prev
	}
	l.bytes -= int64(e.cost)
	l.objects--
	e.in, e.prev, e.succ = inNone, 0, 0
}

// admit puts an entry whose object lies in memory into its namespace's window, and
// makes room. It may be gone from memory at once.
func (s *Store) admit(id uint32, cost int64) {
	m, e := &s.memory, s.table.entry(id)
	n := s.siteByID[e.site].namespace
	m.sketch.grow(m.objects + 1)
	m.sketch.add(e.hash)
	e.cost = uint32(cost)
	if n.memory.objects == 0 {
		m.active++
	}
	n.memory.bytes += cost
	n.memory.objects++
	m.used += cost
	m.objects++
	s.push(n, inWindow, id)
	s.makeRoom(n)
	for n.window.objects > 1 && n.window.bytes > n.memory.bytes/100 {
		oldest := n.window.tail
		s.pull(n, oldest)
		s.push(n, inProbation, oldest)
	}
}

// makeRoom evicts until the budgets hold; by is the namespace that needs the room. mu
// is held.
func (s *Store) makeRoom(by *namespace) {
	for m := &s.memory; m.over() && m.objects > 0; {
		n, cause := by, CauseMemory
		if by == nil || by.memory.objects == 0 || !m.above(by) {
			if n = s.loser(); n != by {
				cause = CauseQuota
			}
		}
		s.dropMemory(s.victim(n), cause)
	}
}

// loser returns the namespace that is furthest above its share, as far as was seen
// when it was last looked for.
func (s *Store) loser() *namespace {
	m := &s.memory
	m.looked++
	if f := m.fattest; f != nil && f.memory.objects > 0 && m.above(f) && m.looked%64 != 0 {
		return f
	}
	var most *namespace
	for _, n := range s.namespaces {
		switch {
		case n.memory.objects == 0:
		case most == nil, n.memory.bytes > most.memory.bytes && m.objects <= m.limit,
			n.memory.objects > most.memory.objects && m.objects > m.limit:
			most = n
		}
	}
	m.fattest = most
	return most
}

// victim returns the entry that n loses next: the window's oldest, or the main
// lists' least recently used if the former was asked for more often.
func (s *Store) victim(n *namespace) uint32 {
	m := &s.memory
	main := n.probation.tail
	if main == 0 {
		main = n.protected.tail
	}
	if main == 0 {
		return n.window.tail
	}
	if n.window.objects <= 1 || n.window.bytes <= n.memory.bytes/100 {
		return main
	}
	candidate := n.window.tail
	a, b := m.sketch.count(s.table.entry(candidate).hash), m.sketch.count(s.table.entry(main).hash)
	if a > b || a > 5 && s.chance() {
		s.pull(n, candidate)
		s.push(n, inProbation, candidate)
		return main
	}
	return candidate
}

// chance is true once in 128: who can make a victim look wanted must not be able to
// keep everything else out.
func (s *Store) chance() bool {
	m := &s.memory
	m.seed = fold(m.seed^s.hash.secret[1], s.hash.secret[2])
	return m.seed>>57 == 0
}

// touch notes a use of id. mu is held.
func (s *Store) touch(id uint32) {
	e := s.table.entry(id)
	if l := s.table.loc(id); l != nil && l.segment != 0 && !l.used {
		s.setUsed(id)
	}
	if e.in == inNone {
		return
	}
	s.memory.sketch.add(e.hash)
	n := s.siteByID[e.site].namespace
	to := inProtected
	if e.in == inWindow {
		to = inWindow
	}
	if n.list(to).head == id {
		return
	}
	s.pull(n, id)
	s.push(n, to, id)
	for n.protected.objects > 1 && n.protected.bytes > (n.memory.bytes-n.window.bytes)/5*4 {
		oldest := n.protected.tail
		s.pull(n, oldest)
		s.push(n, inProbation, oldest)
	}
}

// dropMemory takes id out of the memory tier; if it is nowhere else, it is gone. mu is
// held.
func (s *Store) dropMemory(id uint32, cause Cause) {
	e := s.table.entry(id)
	n := s.siteByID[e.site].namespace
	s.leaveMemory(n, id)
	s.count(id, cause)
	if e.pending {
		e.bits |= bitOwed // the object stays to be found until it is written
		s.memory.fixed += int64(e.cost)
		return
	}
	if s.table.onDisk(id) {
		h := s.shard(e.hash)
		h.mu.Lock()
		*s.table.object(id) = nil
		h.mu.Unlock()
		return
	}
	s.remove(id, nil)
}

// leaveMemory takes id out of its list and the accounts.
func (s *Store) leaveMemory(n *namespace, id uint32) {
	e, m := s.table.entry(id), &s.memory
	s.pull(n, id)
	n.memory.bytes -= int64(e.cost)
	n.memory.objects--
	m.used -= int64(e.cost)
	m.objects--
	if n.memory.objects == 0 {
		m.active--
		if m.fattest == n {
			m.fattest = nil
		}
	}
}

// remove takes id out of everything, and adds to kills what is left of it on disk; nil
// if there is nothing. mu is held.
func (s *Store) remove(id uint32, kills *[]kill) {
	e := s.table.entry(id)
	t := s.siteByID[e.site]
	if e.in != inNone {
		s.leaveMemory(t.namespace, id)
	}
	t.namespace.labels -= s.labels.drop(e)
	s.dropURL(id, s.urlOf(id))
	if s.disk != nil {
		s.disk.forget(id, kills)
	}
	h := s.shard(e.hash)
	h.mu.Lock()
	s.unlink(h, id)
	*s.table.object(id) = nil
	e.stale = false
	if l := s.table.loc(id); l != nil {
		*l = loc{}
	}
	h.mu.Unlock()
	s.leave(id)
	s.table.put(id)
}

// reserve counts n more bytes of bodies that are being written by n's writer, and makes
// room for them. It returns false, and counts nothing, if such bodies hold too much
// already.
func (s *Store) reserve(by *namespace, n int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := &s.memory
	if m.growing+n > m.budget/4 && n > 0 {
		return false
	}
	m.growing += n
	s.makeRoom(by)
	return true
}

// unreserve gives back what reserve counted.
func (s *Store) unreserve(n int64) {
	s.mu.Lock()
	s.memory.growing -= n
	s.mu.Unlock()
}

// drain notes the uses that were gathered.
func (s *Store) drain(r *recent) {
	var ids [recentHits]uint32
	for i := range ids {
		ids[i] = r.hits[i].Load()
	}
	r.noted.Store(0)
	if !s.mu.TryLock() {
		return // who holds it would make the reader wait: these uses are lost
	}
	defer s.mu.Unlock()
	for _, id := range ids {
		if id != 0 && id < s.table.made {
			s.touch(id)
		}
	}
}
