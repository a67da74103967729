package snapshot

import "strings"

// names finds values by hostname. The zero value is empty.
type names[V any] struct {
	exact    map[string]*V
	wildcard map[string]*V // by ".example"
	any      *V
}

// add puts v under a hostname: "", "a.example" or "*.example". The first one keeps it.
func (n *names[V]) add(hostname string, v *V) {
	if hostname == "" {
		if n.any == nil {
			n.any = v
		}
		return
	}
	into := &n.exact
	if suffix, ok := strings.CutPrefix(hostname, "*"); ok {
		into, hostname = &n.wildcard, suffix
	}
	if *into == nil {
		*into = map[string]*V{}
	}
	if (*into)[hostname] == nil {
		(*into)[hostname] = v
	}
}

// lookup returns the value with the most specific hostname for a name in lower
// case; nil: there is none.
func lookup[V any, T string | []byte](n *names[V], name T) *V {
	if v := n.exact[string(name)]; v != nil {
		return v
	}
	for i := 0; len(n.wildcard) > 0 && i < len(name); i++ {
		if name[i] != '.' {
			continue
		}
		if v := n.wildcard[string(name[i:])]; v != nil {
			return v
		}
	}
	return n.any
}
