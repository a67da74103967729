package cache

import (
	"bytes"
	"time"

	"penstock.dev/penstock/core/cache/store"
)

// Stored is what is told of a stored response. Neither its fields nor its body are.
type Stored struct {
	Service  string    `json:"service"`
	Hostname string    `json:"hostname"`
	Path     string    `json:"path"`
	Status   int       `json:"status"`
	Bytes    int64     `json:"bytes"`
	Tier     string    `json:"tier"`
	Stored   time.Time `json:"stored"`
	// Age and TTL are in seconds; a negative TTL is since when it is stale.
	Age  float64  `json:"age"`
	TTL  float64  `json:"ttl"`
	Soft bool     `json:"purgedSoftly,omitempty"`
	Hits int      `json:"hits"`
	Vary []string `json:"vary,omitempty"`
	Tags []string `json:"tags,omitempty"`
}

// Stored lists stored responses of a namespace, at most that many, and whether there
// are more: those of the hostname, unless it is empty, whose path begins so.
func (k *Cache) Stored(namespace, hostname, path string, most int) (list []Stored, more bool) {
	list = []Stored{}
	now := time.Now()
	k.store.Objects(namespace, func(o *store.Object) bool {
		if hostname != "" && o.Hostname() != hostname || !bytes.HasPrefix(o.Path(), []byte(path)) {
			return true
		}
		if len(list) == most {
			more = true
			return false
		}
		var h head
		if !h.read(o.Head()) {
			return true
		}
		s := Stored{
			Service: o.Service(), Hostname: o.Hostname(), Path: string(o.Path()), Status: h.facts.Status, Bytes: o.Size(),
			Tier: o.Tier().String(), Stored: o.Stored(), Age: h.facts.Age(now).Seconds(), TTL: h.facts.TTL(now).Seconds(),
			Soft: o.Stale(), Hits: o.Hits(), Vary: namesOf(o.Variant()),
		}
		o.Tags(func(tag []byte) bool {
			s.Tags = append(s.Tags, string(tag))
			return true
		})
		list = append(list, s)
		return true
	})
	return list, more
}

// Stats is how full the cache is and what left it.
type Stats struct {
	Memory  TierStats `json:"memory"`
	Disk    TierStats `json:"disk"`
	Objects int       `json:"objects"` // in either tier
	// Writing are responses that are being fetched, WritingBytes what of them is held.
	Writing      int   `json:"writing"`
	WritingBytes int64 `json:"writingBytes"`
	Tags         int   `json:"tags"` // different ones
	TagEntries   int   `json:"tagEntries"`
	IndexBytes   int64 `json:"indexBytes"`
	QueuedBytes  int64 `json:"queuedBytes"` // that are not on disk yet
	// DiskFailing: the disk is left alone for a while. Loading: what an earlier process
	// left is being read. Waiting: another process has the folder still.
	DiskFailing bool                      `json:"diskFailing,omitempty"`
	Loading     bool                      `json:"loading,omitempty"`
	Waiting     bool                      `json:"waiting,omitempty"`
	Evicted     map[string]int64          `json:"evicted"` // by cause
	Namespaces  map[string]NamespaceStats `json:"namespaces"`
}

// TierStats is how full a tier is.
type TierStats struct {
	Bytes   int64 `json:"bytes"`
	Objects int   `json:"objects"`
}

// NamespaceStats is what one namespace holds, and what it lost.
type NamespaceStats struct {
	Memory  TierStats        `json:"memory"`
	Disk    TierStats        `json:"disk"`
	Objects int              `json:"objects"`
	Tags    int              `json:"tags"`
	Evicted map[string]int64 `json:"evicted"`
}

// Stats returns the numbers of now.
func (k *Cache) Stats() Stats {
	s := k.store.Stats()
	out := Stats{
		Memory: tierStats(s.Memory), Disk: tierStats(s.Disk), Objects: s.Objects, Writing: s.Writing, WritingBytes: s.WritingBytes,
		Tags: s.Tags, TagEntries: s.TagEntries, IndexBytes: s.IndexBytes, QueuedBytes: s.QueuedBytes,
		DiskFailing: s.DiskFailing, Loading: s.Loading, Waiting: s.Waiting, Evicted: byName(s.Evicted), Namespaces: map[string]NamespaceStats{},
	}
	for name, n := range s.Namespaces {
		out.Namespaces[name] = NamespaceStats{tierStats(n.Memory), tierStats(n.Disk), n.Objects, n.Tags, byName(n.Evicted)}
	}
	return out
}

func tierStats(t store.TierStats) TierStats { return TierStats{t.Bytes, t.Objects} }

func byName(by map[store.Cause]int64) map[string]int64 {
	out := map[string]int64{}
	for cause, n := range by {
		out[cause.String()] = n
	}
	return out
}

// MemoryBytes returns what stored responses take of the process's memory.
func (k *Cache) MemoryBytes() int64 {
	return k.store.MemoryBytes()
}

// Waiting returns how many clients wait for the origin, the ones included whose
// requests it was sent.
func (k *Cache) Waiting() (n int) {
	k.flights.each(func(f *flight) { n += f.clients })
	return n
}
