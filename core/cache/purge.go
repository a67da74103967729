package cache

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"penstock.dev/penstock/core/cache/store"
	"penstock.dev/penstock/core/config"
)

// ErrPurge is wrapped by what Purge returns for a purge that names what no purge may.
var ErrPurge = errors.New("not a purge")

// Purge removes what is stored and matches any of p's lists, or makes it stale, and
// says how many responses that were. What is being fetched and matches is not stored.
// The error is ErrPurge, and names all that is wrong with p, which then did nothing; or it
// says that the disk did not take note of it: then a restart might bring it back; or that
// who is told of it (Tell) could not follow.
func (k *Cache) Purge(p *config.Purge) (removed int, err error) {
	if err := checkPurge(p); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrPurge, err)
	}
	return k.purged(storedPurge(p))
}

// purged is Purge for one that was checked.
func (k *Cache) purged(q *store.Purge) (removed int, err error) {
	removed, err = k.purge(q)
	if err == nil && k.tell != nil {
		err = k.tell(Removal{Purge: q})
	}
	return removed, err
}

// purge is Purge here alone.
func (k *Cache) purge(q *store.Purge) (removed int, err error) {
	k.purges.note(q) // first: who begins to store from now on sees it, who did before is seen
	return k.store.Purge(q)
}

// checkPurge refuses a purge of no namespace, and what config.PurgeFaults does.
func checkPurge(p *config.Purge) error {
	var errs []error
	if p.Namespace == "" {
		errs = append(errs, errors.New("namespace: it is missing: a purge is about one namespace"))
	}
	for _, f := range config.PurgeFaults(p) {
		if f.Field == "" {
			errs = append(errs, errors.New(f.Why))
		} else {
			errs = append(errs, fmt.Errorf("%s: %s", f.Field, f.Why))
		}
	}
	return errors.Join(errs...)
}

// storedPurge puts a purge, which was checked, into the store's words.
func storedPurge(p *config.Purge) *store.Purge {
	q := &store.Purge{Namespace: p.Namespace, Hostnames: p.Hostnames, Tags: p.Tags, Soft: p.Soft}
	for _, text := range p.URLs {
		q.URLs = append(q.URLs, purgedURL(text))
	}
	for _, text := range p.Prefixes {
		addPrefix(q, purgedURL(text))
	}
	return q
}

// purgedURL puts a URL, which was checked, into the form of stored responses'.
func purgedURL(text string) store.URL {
	u, err := url.Parse(text)
	if err != nil {
		panic("BUG: a purge's URL that was checked: " + err.Error())
	}
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	if u.RawQuery != "" || u.ForceQuery {
		path += "?" + u.RawQuery
	}
	return store.URL{Hostname: strings.TrimSuffix(strings.ToLower(u.Hostname()), "."), Path: path}
}

// addPrefix adds a prefix that ends with a segment of the path.
func addPrefix(q *store.Purge, u store.URL) {
	if strings.HasSuffix(u.Path, "/") {
		q.Prefixes = append(q.Prefixes, u)
		return
	}
	q.URLs = append(q.URLs, u)
	q.Prefixes = append(q.Prefixes, store.URL{Hostname: u.Hostname, Path: u.Path + "/"}, store.URL{Hostname: u.Hostname, Path: u.Path + "?"})
}
