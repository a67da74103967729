package store

// namespace is what the store knows of one Kubernetes namespace that holds something.
// Everything in it is Store.mu's.
type namespace struct {
	name    string
	sites   map[string][]*site // by hostname; one for each Service
	writers map[*Writer]struct{}

	window, probation, protected list // of the memory tier

	memory, disk usage
	labels       int
	objects      int // in either tier

	segments []*segment // of the disk tier, oldest first; the last may be open
	pins     int        // it is being written for
}

// usage is what something takes of a tier.
type usage struct {
	bytes   int64
	objects int
}

// site is one hostname of one Service: what its objects have in common.
type site struct {
	namespace *namespace
	service   string
	hostname  string
	id        uint32
	newest    uint32 // of the list of its entries
	oldest    uint32
	objects   int
	holders   int // entries, and writers that are not done
	left      *[causes]int64
}

// serviceKey is a Service. Who has stored anything is remembered with what it lost, so that
// counts never fall; Services come from the configuration, and are not many.
type serviceKey struct{ namespace, service string }

type siteKey struct {
	namespace         *namespace
	service, hostname string
}

// siteBytes is about what a site takes beside its names: itself, its places in maps.
const siteBytes = 320

func (t *site) cost() int64 { return siteBytes + int64(2*len(t.hostname)+len(t.service)) }

// namespace returns the namespace of this name. mu is held.
func (s *Store) namespace(name string) *namespace {
	n := s.namespaces[name]
	if n == nil {
		n = &namespace{name: name, sites: map[string][]*site{}, writers: map[*Writer]struct{}{}}
		s.namespaces[name] = n
	}
	return n
}

// hold returns the site of these names, and counts one more holder. mu is held.
func (s *Store) hold(name, service string, hostname []byte) *site {
	n := s.namespace(name)
	t := s.sites[siteKey{n, service, string(hostname)}]
	if t == nil {
		t = &site{namespace: n, service: service, hostname: string(hostname)}
		of := serviceKey{name, service}
		if t.left = s.left[of]; t.left == nil {
			t.left = new([causes]int64)
			s.left[of] = t.left
		}
		s.sites[siteKey{n, t.service, t.hostname}] = t
		n.sites[t.hostname] = append(n.sites[t.hostname], t)
		if last := len(s.freeSites); last > 0 {
			t.id, s.freeSites = s.freeSites[last-1], s.freeSites[:last-1]
			s.siteByID[t.id] = t
		} else {
			t.id = uint32(len(s.siteByID))
			s.siteByID = append(s.siteByID, t)
		}
		s.memory.fixed += t.cost()
	}
	t.holders++
	return t
}

// release counts one holder less; the last one takes the site with it, and its
// namespace if that holds nothing else. mu is held.
func (s *Store) release(t *site) {
	if t.holders--; t.holders > 0 {
		return
	}
	n := t.namespace
	delete(s.sites, siteKey{n, t.service, t.hostname})
	s.siteByID[t.id] = nil
	s.freeSites = append(s.freeSites, t.id)
	s.memory.fixed -= t.cost()
	of := n.sites[t.hostname]
	for i := range of {
		if of[i] == t {
			of[i] = of[len(of)-1]
			of[len(of)-1] = nil
			of = of[:len(of)-1]
			break
		}
	}
	if n.sites[t.hostname] = of; len(of) == 0 {
		delete(n.sites, t.hostname)
	}
	s.forsake(n)
}

// forsake takes a namespace away that holds nothing. mu is held.
func (s *Store) forsake(n *namespace) {
	if len(n.sites) == 0 && len(n.segments) == 0 && n.pins == 0 && s.namespaces[n.name] == n {
		delete(s.namespaces, n.name)
	}
}

// join puts id into its site's list as the newest. mu is held.
func (s *Store) join(t *site, id uint32) {
	e := s.table.entry(id)
	e.site, e.sitePrev, e.siteNext = t.id, 0, t.newest
	if t.newest != 0 {
		s.table.entry(t.newest).sitePrev = id
	} else {
		t.oldest = id
	}
	t.newest = id
	t.objects++
	t.holders++
	t.namespace.objects++
}

// leave takes id out of its site's list. mu is held.
func (s *Store) leave(id uint32) {
	e := s.table.entry(id)
	t := s.siteByID[e.site]
	if e.sitePrev != 0 {
		s.table.entry(e.sitePrev).siteNext = e.siteNext
	} else {
		t.newest = e.siteNext
	}
	if e.siteNext != 0 {
		s.table.entry(e.siteNext).sitePrev = e.sitePrev
	} else {
		t.oldest = e.sitePrev
	}
	t.objects--
	t.namespace.objects--
	s.release(t)
}
