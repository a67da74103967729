package translate

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/api"
)

// Unread is an object that is there and cannot be read, and of which there is no
// last good form. What it may guard is closed: a mistake in it must not be the same
// as its absence.
type Unread struct {
	// Object is what is known of it: without Name it may be any one of its
	// namespace, without Namespace of any, without Kind anything at all.
	Object config.Object
	// Services are the names that a BackendTLSPolicy is for; empty: not known.
	Services []string
	// Selector is a PluginPolicy's namespaceSelector; nil: not known.
	Selector *metav1.LabelSelector
	File     string // where it is, with its line
}

// String names it for people.
func (u *Unread) String() string {
	switch {
	case u.Object.Kind == "":
		return u.File
	case u.Object.Name == "":
		return fmt.Sprintf("a %s in %s", u.Object.Kind, u.File)
	}
	return u.Object.String()
}

// may reports whether u may be that object.
func (u *Unread) may(o config.Object) bool {
	return (u.Object.Kind == "" || u.Object.Kind == o.Kind) &&
		(u.Object.Namespace == "" || u.Object.Namespace == o.Namespace) &&
		(u.Object.Name == "" || u.Object.Name == o.Name)
}

// unread returns what may be that object and cannot be read; nil: nothing.
func (r *run) unread(o config.Object) *Unread {
	for i := range r.o.Unread {
		if u := &r.o.Unread[i]; u.may(o) {
			return u
		}
	}
	return nil
}

// unreadPolicies are the PluginPolicies that cannot be read: they close the
// namespaces that they select.
func (r *run) unreadPolicies() []*policy {
	var all []*policy
	for i := range r.o.Unread {
		u := &r.o.Unread[i]
		if u.Object.Kind != "" && u.Object.Kind != "PluginPolicy" {
			continue
		}
		selector := labels.Everything()
		if u.Selector != nil {
			var err error
			if selector, err = metav1.LabelSelectorAsSelector(u.Selector); err != nil {
				selector = labels.Everything()
			}
		}
		o := config.Object{Kind: "PluginPolicy", Name: u.Object.Name}
		all = append(all, closed(o, selector, "%s cannot be read, so that what it may guard is closed until it is right", u))
	}
	return all
}

// closed is a policy that lets nothing through.
func closed(o config.Object, selector labels.Selector, format string, args ...any) *policy {
	p := &policy{PluginPolicy: &api.PluginPolicy{}, object: o, selector: selector}
	p.Name = o.Name
	p.fault = &config.Fault{Reason: "RefusedByPolicy", Message: fmt.Sprintf(format, args...)}
	return p
}

// unknownLabels returns what closes a namespace whose object cannot be read, if it
// depends on its labels whether a policy selects it; nil: nothing.
func (r *run) unknownLabels(namespace string, selected []*policy, all []*policy) *policy {
	o := config.Object{Kind: "Namespace", Name: namespace}
	if _, ok := r.labels[namespace]; ok {
		return nil
	}
	u := r.unread(o)
	if u == nil {
		return nil
	}
	for _, p := range all {
		if !slices.Contains(selected, p) {
			return closed(o, nil, "%s cannot be read: whether %s selects the namespace is not known, so that it is closed until that is right", u, p.object)
		}
	}
	return nil
}

// unreadBackend returns the BackendTLSPolicy that cannot be read and may be for a
// Service; nil: there is none. named says that it is for this one, whatever else is.
func (r *run) unreadBackend(namespace, service string) (u *Unread, named bool) {
	for i := range r.o.Unread {
		one := &r.o.Unread[i]
		if one.Object.Kind != "" && one.Object.Kind != "BackendTLSPolicy" || one.Object.Namespace != "" && one.Object.Namespace != namespace {
			continue
		}
		switch {
		case slices.Contains(one.Services, service):
			return one, true
		case len(one.Services) == 0 && u == nil:
			u = one
		}
	}
	return u, false
}
