package store

import "time"

// TierStats is what a tier holds.
type TierStats struct {
	Bytes   int64 // of its budget: in memory all that objects cost, on disk all files
	Objects int
}

// ServiceStats is what the objects of one Service are, and were.
type ServiceStats struct {
	Objects int             // in either tier
	Evicted map[Cause]int64 // how many left a tier since Open
}

// NamespaceStats is what one namespace holds.
type NamespaceStats struct {
	Memory, Disk TierStats
	Objects      int // in either tier; one in both counts once
	Tags         int
	Evicted      map[Cause]int64 // as of its Services together
	Services     map[string]ServiceStats
}

// Stats is what a store holds, and what it let go of since Open.
type Stats struct {
	Memory, Disk  TierStats
	Objects       int   // in either tier; one in both counts once
	Writing       int   // objects being written
	WritingBytes  int64 // their bodies in memory; part of the memory budget
	TagEntries    int   // tags of all objects
	Tags          int   // different ones
	IndexBytes    int64 // of memory: entries of both tiers, tags and sites, used or free
	QueuedObjects int   // for the disk
	QueuedBytes   int64
	DiskFailing   bool                      // nothing is written to the disk for a while after a fault
	Loading       bool                      // what an earlier process left is being read
	Waiting       bool                      // another process has the folder still
	Evicted       map[Cause]int64           // how many objects left a tier since Open, for whatever cause
	Namespaces    map[string]NamespaceStats // with those that hold nothing any more
}

// Stats returns what the store holds. It takes time in proportion to hostnames.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := &s.memory
	st := Stats{
		Memory:       TierStats{m.used + m.fixed + m.growing, m.objects},
		WritingBytes: m.growing,
		TagEntries:   s.labels.used,
		Tags:         len(s.labels.first),
		IndexBytes:   s.indexBytes(),
		Evicted:      make(map[Cause]int64, causes),
		Namespaces:   make(map[string]NamespaceStats, len(s.namespaces)),
	}
	for name, n := range s.namespaces {
		of := NamespaceStats{
			Memory:   TierStats{n.memory.bytes, n.memory.objects},
			Disk:     TierStats{n.disk.bytes, n.disk.objects},
			Objects:  n.objects,
			Tags:     n.labels,
			Services: map[string]ServiceStats{},
		}
		for _, sites := range n.sites {
			for _, t := range sites {
				service := of.Services[t.service]
				service.Objects += t.objects
				of.Services[t.service] = service
			}
		}
		st.Objects += n.objects
		st.Writing += len(n.writers)
		st.Namespaces[name] = of
	}
	for of, left := range s.left { // also of those that hold nothing now
		n, ok := st.Namespaces[of.namespace]
		if !ok {
			n.Services = map[string]ServiceStats{}
		}
		if n.Evicted == nil {
			n.Evicted = make(map[Cause]int64, causes)
		}
		service := n.Services[of.service]
		service.Evicted = make(map[Cause]int64, causes)
		for c, count := range left {
			service.Evicted[Cause(c)] = count
			n.Evicted[Cause(c)] += count
			st.Evicted[Cause(c)] += count
		}
		n.Services[of.service] = service
		st.Namespaces[of.namespace] = n
	}
	if s.disk != nil {
		s.disk.stats(&st)
	}
	return st
}

// stats fills in what the disk tier is.
func (d *disk) stats(st *Stats) {
	st.Disk = TierStats{d.used + d.kills.bytes(), d.objects}
	st.QueuedObjects, st.QueuedBytes = len(d.queue), d.queueBytes
	st.DiskFailing, st.Waiting = time.Now().Before(d.failing), d.waiting.Load()
	select {
	case <-d.ready:
	default:
		st.Loading = !st.Waiting
	}
}

// indexBytes returns what entries, labels and sites take.
func (s *Store) indexBytes() int64 {
	per := int64(entryBytes)
	if s.disk != nil {
		per += locBytes
	}
	return int64(s.table.made)*per + int64(len(s.labels.pages))*labelPage*24 +
		int64(len(s.labels.first))*24 + s.memory.fixed
}

// Objects calls yield with every object of namespace, in no order, until it returns
// false. Objects on disk are read for it; it is for people who look, not for the data
// path. yield may call the store; what is stored meanwhile may or may not be met.
func (s *Store) Objects(namespace string, yield func(*Object) bool) {
	for from := uint32(1); ; from += pageEntries {
		found, more := s.page(namespace, from)
		for i := range found {
			o := found[i].object
			if o == nil {
				o = s.fetch(&found[i], nil)
			}
			if o != nil && !yield(o) {
				return
			}
		}
		if !more {
			return
		}
	}
}

// page returns the entries of a namespace among pageEntries numbers.
func (s *Store) page(namespace string, from uint32) (found []candidate, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	to := min(from+pageEntries, s.table.made)
	for id := from; id < to; id++ {
		e := s.table.entry(id)
		if t := s.siteByID[e.site]; t == nil || t.namespace.name != namespace {
			continue
		}
		c := candidate{object: *s.table.object(id), id: id, stale: e.stale}
		if l := s.table.loc(id); l != nil {
			c.loc = *l
		}
		found = append(found, c)
	}
	return found, to < s.table.made
}

// MemoryBytes returns Stats().Memory.Bytes. It takes no time.
func (s *Store) MemoryBytes() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.memory.used + s.memory.fixed + s.memory.growing
}
