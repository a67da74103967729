package translate

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/annotation"
	"penstock.dev/penstock/k8s/api"
)

// RollBack says that a filter was rolled back: with one entry and digest it is not
// to run, and on all proxies another one runs in its place (annotations.md, section
// 5). Its texts have the forms that Valid asks for.
type RollBack struct {
	Declaration string // config.Filter.Declaration of what was left
	Left        string // digest of what was left
	To          string // Declaration of what runs; the same: the tag named another digest before
	Digest      string // of what runs
	Since       int64  // Unix time, seconds
	// Namespace is that of the ChainStatus which says so: it speaks of filters that
	// its own namespace declares. Empty: proxies say so, and it is believed if it is
	// known here what they have gone back to.
	Namespace string
	// Entry has the Declaration To, as far as it was told; nil: it is known here or
	// nowhere.
	Entry *api.Entry
}

// declarationForm is that of a Declaration.
var declarationForm = regexp.MustCompile(`^[0-9a-f]{32}$`)

// Valid reports whether all texts have the right form: a ChainStatus and a report may
// hold anything.
func (b *RollBack) Valid() bool {
	return declarationForm.MatchString(b.Declaration) && declarationForm.MatchString(b.To) && digestForm.MatchString(b.Left) && digestForm.MatchString(b.Digest) && b.Left != b.Digest
}

// maxEntry bounds the text of one entry: an annotation may have 16 KiB, as JSON a bit
// more.
const maxEntry = 64 << 10

// ReadEntry reads the entry that declares a filter with a Declaration, as
// config.Filter.Entry has it; nil: it is not that one.
func ReadEntry(text []byte, owner config.Object, part, declared string) *api.Entry {
	var e api.Entry
	if len(text) > maxEntry || declaration(owner, part, text) != declared || json.Unmarshal(text, &e) != nil {
		return nil
	}
	checked, err := annotation.Check([]api.Entry{e}, owner.Kind)
	if err != nil || len(checked) != 1 || declaration(owner, part, entryText(&checked[0])) != declared {
		return nil
	}
	return &checked[0]
}

// DeclarationOf returns the Declaration of a filter that an object declares by an entry.
func DeclarationOf(owner config.Object, part string, e *api.Entry) string {
	return declaration(owner, part, entryText(e))
}

// entryText is an entry as JSON; equal entries have equal texts.
func entryText(e *api.Entry) []byte {
	text, err := json.Marshal(e)
	if err != nil {
		panic("BUG: an entry that was read is not JSON: " + err.Error())
	}
	return text
}

// declaration is the Declaration of the entry with this text.
func declaration(owner config.Object, part string, entry []byte) string {
	return digest([]any{owner.String(), part, string(entry)})
}

// goBack has the filters of p that were rolled back say so, and puts what is to run in
// their place into Previous, judged again. It reports whether there are any.
func (r *run) goBack(at *place, p *config.Part) bool {
	marked := map[string]bool{}
	var list []*config.Filter
	filters := p.Filters
	for i, f := range filters {
		b := r.o.RollBacks[f.Declaration]
		if b == nil || f.Guard || f.Cache != nil || b.Namespace != "" && b.Namespace != f.Owner.Namespace {
			continue
		}
		old, err := r.before(at, f, b)
		if old == nil && err == nil && b.Namespace == "" {
			continue // nobody but proxies knows it
		}
		if len(marked) == 0 {
			p.Filters = slices.Clone(filters)
		}
		c := *f
		c.RolledBack = b.Left
		p.Filters[i], marked[f.Name] = &c, true
		if old != nil {
			list = append(list, old)
		}
		if err != nil && p.PreviousFault == nil {
			p.PreviousFault = &config.Fault{Reason: reasonOf(err), Message: fmt.Sprintf("%s: (%s) was rolled back, and what ran before may not: %v", at.object, f.Name, err)}
		}
	}
	if len(marked) == 0 {
		return false
	}
	if h := r.t.history[at.id()]; h != nil { // nobody is to go back to it
		if h.ran.hash == h.current.hash {
			h.ran = h.previous
		}
		h.current.hash = ""
	}
	if p.Previous != nil { // the others may go back themselves
		for _, f := range p.Previous.Filters {
			if !marked[f.Name] {
				list = append(list, f)
			}
		}
	}
	p.Previous = nil
	if len(list) > 0 {
		p.Previous = r.intern(at, partHash(at, list, nil), &config.Part{Filters: list})
	}
	return true
}

// before returns what a filter was rolled back to, judged again; nil: it is not known.
func (r *run) before(at *place, f *config.Filter, b *RollBack) (*config.Filter, error) {
	if b.To == b.Declaration {
		name, pinned, _ := strings.Cut(f.Image, "@")
		if pinned != "" || b.Namespace == "" && !r.t.o.Resolved(f.Hash, b.Digest) {
			return nil, nil
		}
		if slices.Contains(f.DeniedDigests, b.Digest) {
			return nil, refuse("RefusedByPolicy", "digest %s is denied by policy", b.Digest)
		}
		c := *f
		c.Image, c.Hash, c.Canary = name+"@"+b.Digest, digest([]any{f.Hash, b.Digest}), nil
		return &c, nil
	}
	var known []api.Entry
	if h := r.t.history[at.id()]; h != nil {
		known = slices.Concat(h.previous.entries, h.ran.entries)
	}
	if b.Entry != nil {
		known = append(known, *b.Entry)
	}
	r.telling = true
	defer func() { r.telling = false }()
	for i := range known {
		e := &known[i]
		if e.Name == f.Name && e.Chain == "" && declaration(f.Owner, at.part, entryText(e)) == b.To {
			old, err := r.filter(at, f.Owner, e)
			if err != nil {
				return nil, err
			}
			if slices.Contains(old.DeniedDigests, b.Digest) {
				return nil, refuse("RefusedByPolicy", "digest %s is denied by policy", b.Digest)
			}
			if old.Cache != nil {
				return nil, nil // no proxy says so of it
			}
			old.Canary = nil
			return old, nil
		}
	}
	return nil, nil
}

// rolledBack reports whether a filter of a part was.
func rolledBack(p *config.Part) bool {
	return slices.ContainsFunc(p.Filters, func(f *config.Filter) bool { return f.RolledBack != "" })
}

// tell says it of a filter of a ChainStatus, from where ReadRollBacks has it again.
func (b *RollBack) tell(f *api.ChainFilter) {
	since := metav1.NewTime(time.Unix(b.Since, 0))
	f.State, f.Reason, f.Digest, f.Since = "RolledBack", "RolledBack", b.Digest, &since
	f.Message = "at least half of its calls failed within a minute of running: what ran before it runs in its place, until the filter changes"
	f.RolledBack = &api.ChainRollBack{Digest: b.Left, To: b.To}
}

// ReadRollBacks returns what a ChainStatus says in the name of a controller, and who
// declares each of these filters. What is malformed is left out.
func ReadRollBacks(c *api.ChainStatus, controller string) (list []*RollBack, owners []config.Object, parts []string) {
	for i := range c.Status.Controllers {
		if c.Status.Controllers[i].ControllerName != controller {
			continue
		}
		for _, f := range c.Status.Controllers[i].Filters {
			if f.State != "RolledBack" || f.RolledBack == nil || f.Origin.Namespace != c.Namespace || c.Namespace == "" {
				continue
			}
			part, _, _ := strings.Cut(f.Name, "/")
			b := &RollBack{Declaration: f.Hash, Left: f.RolledBack.Digest, To: f.RolledBack.To, Digest: f.Digest, Namespace: c.Namespace}
			if f.Since != nil {
				b.Since = f.Since.Unix()
			}
			if b.Valid() {
				list, parts = append(list, b), append(parts, part)
				owners = append(owners, config.Object{Kind: f.Origin.Kind, Namespace: f.Origin.Namespace, Name: f.Origin.Name})
			}
		}
	}
	return list, owners, parts
}
