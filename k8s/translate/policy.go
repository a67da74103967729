package translate

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/annotation"
	"penstock.dev/penstock/k8s/api"
)

// policy is a PluginPolicy, checked once in a run.
type policy struct {
	*api.PluginPolicy
	object   config.Object
	selector labels.Selector
	// before and after are the overrides, defaults the list of Services without
	// one, with all names.
	before, after, defaults []api.Entry
	egress                  []config.Egress
	// fault closes the namespaces that a broken policy selects: what guards
	// access never fails open.
	fault *config.Fault
}

// namespacePolicy is what the policies that select a namespace say together.
type namespacePolicy struct{ policies []*policy }

// policies checks the PluginPolicies.
func (r *run) policies() {
	all := r.unreadPolicies()
	for _, p := range sorted(r.o.Policies) {
		all = append(all, r.checkPolicy(p))
	}
	names := map[string]bool{}
	for _, g := range r.o.Gateways {
		names[g.Namespace] = true
	}
	for _, s := range r.o.Services {
		names[s.Namespace] = true
	}
	for _, c := range r.routesOfAll {
		names[c.object.Namespace] = true
	}
	for _, c := range r.o.Consumers {
		if len(c.Spec.Plugins) > 0 {
			names[c.Namespace] = true
		}
	}
	for name := range names {
		n := &namespacePolicy{}
		for _, p := range all {
			if p.selector.Matches(labels.Set(r.namespaceLabels(name))) {
				n.policies = append(n.policies, p)
			}
		}
		if p := r.unknownLabels(name, n.policies, all); p != nil {
			n.policies = append(n.policies, p)
		}
		r.namespaces[name] = n
	}
}

func (r *run) checkPolicy(p *api.PluginPolicy) *policy {
	o := config.Object{Kind: "PluginPolicy", Name: p.Name}
	c := &policy{PluginPolicy: p, object: o}
	broken := func(field, reason, format string, args ...any) {
		r.problem(o, field, reason, format, args...)
		if c.fault == nil {
			c.fault = &config.Fault{Reason: "RefusedByPolicy", Message: fmt.Sprintf("PluginPolicy %s cannot be applied: %s: %s", p.Name, field, fmt.Sprintf(format, args...))}
		}
	}
	var err error
	if c.selector, err = metav1.LabelSelectorAsSelector(&p.Spec.NamespaceSelector); err != nil {
		broken("spec.namespaceSelector", "Invalid", "%v", err)
		c.selector = labels.Everything()
	}
	entries := func(field string, list []api.Entry) []api.Entry {
		checked, err := annotation.Check(list, "PluginPolicy")
		if err != nil {
			broken(field, annotation.Reason(err), "%s", oneLine(err))
		}
		return checked
	}
	c.before, c.after = entries("spec.overrides.before", p.Spec.Overrides.Before), entries("spec.overrides.after", p.Spec.Overrides.After)
	c.defaults = entries("spec.defaults.plugins", p.Spec.Defaults.Plugins)
	for i, name := range p.Spec.Require {
		if name == annotation.UseCache {
			broken(fmt.Sprintf("spec.require[%d]", i), "Invalid", "the cache is no guard: write it into defaults or overrides")
		}
	}
	for i, rule := range p.Spec.Images {
		field := fmt.Sprintf("spec.images[%d]", i)
		switch {
		case rule.Prefix == "" || strings.HasSuffix(rule.Prefix, "/") || strings.Contains(rule.Prefix, "//") || rule.Prefix != strings.ToLower(rule.Prefix):
			broken(field+".prefix", "Invalid", "%q: want registry[/path] in lower case, without a slash at its end", rule.Prefix)
		case len(rule.SignedBy) > 0 && rule.Unsigned:
			broken(field, "Invalid", "both signedBy and unsigned: want one")
		case !rule.Unsigned && len(rule.SignedBy) == 0:
			r.problem(o, field, "Invalid", "neither signedBy nor unsigned: the images under %s are refused", rule.Prefix)
		}
		for j, key := range rule.SignedBy {
			if err := checkKey(key.PublicKey); err != nil {
				broken(fmt.Sprintf("%s.signedBy[%d].publicKey", field, j), "Invalid", "%v", err)
			}
		}
	}
	for i, d := range p.Spec.DeniedDigests {
		if !digestForm.MatchString(d) {
			broken(fmt.Sprintf("spec.deniedDigests[%d]", i), "Invalid", "%.80q: want sha256: and 64 hexadecimal digits in lower case", d)
		}
	}
	if err := CheckCapabilities(p.Spec.Capabilities); err != nil {
		broken("spec", "Invalid", "%v", err)
	}
	if c.egress, err = r.egress(p.Spec.Egress); err != nil {
		broken("spec", "Invalid", "%v", err)
	}
	r.tellVouchers(o, c.egress)
	if _, err := annotation.Limits(p.Spec.Limits.Defaults, config.DefaultLimits()); err != nil {
		broken("spec.limits.defaults", "Invalid", "%v", err)
	}
	if _, err := annotation.Limits(p.Spec.Limits.Maxima, config.DefaultLimits()); err != nil {
		broken("spec.limits.maxima", "Invalid", "%v", err)
	}
	if _, err := totalsOf(p.Spec.Limits.Totals, config.DefaultTotals(), p.Name); err != nil {
		broken("spec.limits.totals", "Invalid", "%v", err)
	}
	return c
}

var digestForm = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// known are the names of capabilities (annotations.md, section 3).
var known = []string{"cache", "compress", capabilityConsumer, "crypto", capabilityHTTPCall, "kv", "ratelimit", "redis"}

// CheckCapabilities refuses names that no capability has (annotations.md, section 3): the
// error says where in the list one is, and which there are.
func CheckCapabilities(names []string) error {
	for i, name := range names {
		if !slices.Contains(known, name) {
			return fmt.Errorf("capabilities[%d]: %.40q is none of %s", i, name, strings.Join(known, ", "))
		}
	}
	return nil
}

// oneLine writes joined errors on one line.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// of returns the policy of a namespace; never nil.
func (r *run) of(namespace string) *namespacePolicy {
	if n := r.namespaces[namespace]; n != nil {
		return n
	}
	return &namespacePolicy{}
}

// fault returns why the namespace is closed, nil if it is not.
func (n *namespacePolicy) fault() *config.Fault {
	for _, p := range n.policies {
		if p.fault != nil {
			return p.fault
		}
	}
	return nil
}

// admits checks an image that an entry of the namespace names: every rule
// whose prefix it has must admit it, and there must be one.
func (n *namespacePolicy) admits(image string) error {
	if len(n.policies) == 0 {
		return errors.New("no PluginPolicy selects this namespace, so that only catalogue entries run: write use: in place of image:, or ask for a policy")
	}
	path, digest := imagePath(image)
	matched := false
	for _, p := range n.policies {
		if digest != "" && slices.Contains(p.Spec.DeniedDigests, digest) {
			return fmt.Errorf("PluginPolicy %s denies digest %s", p.Name, digest)
		}
		for i := range p.Spec.Images {
			rule := &p.Spec.Images[i]
			if !ruleCovers(rule, path) {
				continue
			}
			matched = true
			switch {
			case !rule.Unsigned && len(rule.SignedBy) == 0:
				return fmt.Errorf("PluginPolicy %s has a rule for %s that admits nothing", p.Name, rule.Prefix)
			case digest == "" && !rule.AllowTags:
				return fmt.Errorf("PluginPolicy %s wants a digest: write %s@sha256:<digest>", p.Name, path)
			}
		}
	}
	if !matched {
		return fmt.Errorf("no rule of a PluginPolicy admits images under %s", path)
	}
	return nil
}

// imagePath returns an image's name without tag, and its digest.
func imagePath(image string) (path, digest string) {
	path, digest, _ = strings.Cut(image, "@")
	if i := strings.LastIndexByte(path, ':'); i > strings.LastIndexByte(path, '/') {
		path = path[:i]
	}
	return path, digest
}

// ruleCovers reports whether a rule is about an image.
func ruleCovers(rule *api.ImageRule, path string) bool {
	return path == rule.Prefix || strings.HasPrefix(path, rule.Prefix+"/")
}

// trust returns what the rules that match an image ask of its signature.
func (n *namespacePolicy) trust(image string) []config.Trust {
	path, _ := imagePath(image)
	var all []config.Trust
	for _, p := range n.policies {
		for i := range p.Spec.Images {
			rule := &p.Spec.Images[i]
			if !ruleCovers(rule, path) || len(rule.SignedBy) == 0 {
				continue
			}
			var t config.Trust
			for _, key := range rule.SignedBy {
				t.Keys = append(t.Keys, key.PublicKey)
			}
			all = append(all, t)
		}
	}
	return all
}

// capabilities returns what every policy grants.
func (n *namespacePolicy) capabilities() []string {
	if len(n.policies) == 0 {
		return nil
	}
	all := slices.Clone(n.policies[0].Spec.Capabilities)
	for _, p := range n.policies[1:] {
		all = slices.DeleteFunc(all, func(c string) bool { return !slices.Contains(p.Spec.Capabilities, c) })
	}
	slices.Sort(all)
	return all
}

func (n *namespacePolicy) deniedDigests() []string {
	var all []string
	for _, p := range n.policies {
		all = append(all, p.Spec.DeniedDigests...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// limits returns an entry's limits: the policies' defaults (the smallest),
// then the entry's own, which must not exceed the smallest maxima.
func (n *namespacePolicy) limits(own *api.Limits, base config.Limits) (config.Limits, error) {
	defaults, most := base, unlimited()
	for i, p := range n.policies {
		// A default may be above base: the first one replaces it.
		if d, err := annotation.Limits(p.Spec.Limits.Defaults, base); err == nil && i == 0 {
			defaults = d
		} else if err == nil {
			defaults = smallest(defaults, d)
		}
		if m, err := annotation.Limits(p.Spec.Limits.Maxima, unlimited()); err == nil {
			most = smallest(most, m)
		}
	}
	defaults = smallest(defaults, most)
	l, err := annotation.Limits(own, defaults)
	if err != nil {
		return l, err
	}
	if err := n.exceeds(l); err != nil {
		return l, err
	}
	return l, nil
}

// exceeds names every limit that is above a policy's maximum.
func (n *namespacePolicy) exceeds(l config.Limits) error {
	var all []string
	for _, p := range n.policies {
		most, err := annotation.Limits(p.Spec.Limits.Maxima, unlimited())
		if err != nil {
			continue // a broken policy closes its namespaces
		}
		add := func(field string, above bool, value, max any) {
			if above {
				all = append(all, fmt.Sprintf("limits.%s: %v is above the maximum %v of PluginPolicy %s", field, value, max, p.Name))
			}
		}
		add("cpuTime", l.CPUTime > most.CPUTime, l.CPUTime, most.CPUTime)
		add("cpuTimeExchange", l.CPUTimeExchange > most.CPUTimeExchange, l.CPUTimeExchange, most.CPUTimeExchange)
		add("cpuTimeStart", l.CPUTimeStart > most.CPUTimeStart, l.CPUTimeStart, most.CPUTimeStart)
		add("memory", l.MemoryBytes > most.MemoryBytes, sizeText(l.MemoryBytes), sizeText(most.MemoryBytes))
		add("body", l.BodyBytes > most.BodyBytes, sizeText(l.BodyBytes), sizeText(most.BodyBytes))
	}
	if len(all) == 0 {
		return nil
	}
	return fmt.Errorf("%s: lower it", strings.Join(all, "; "))
}

// sizeText writes a size as people do.
func sizeText(n int64) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%dMi", n>>20)
	case n >= 1<<10 && n%(1<<10) == 0:
		return fmt.Sprintf("%dKi", n>>10)
	}
	return fmt.Sprint(n)
}

// unlimited is what bounds nothing.
func unlimited() config.Limits {
	return config.Limits{CPUTime: math.MaxInt64, CPUTimeExchange: math.MaxInt64, CPUTimeStart: math.MaxInt64, MemoryBytes: math.MaxInt64, BodyBytes: math.MaxInt64}
}

// smallest takes the smaller of each limit.
func smallest(a, b config.Limits) config.Limits {
	return config.Limits{
		CPUTime: min(a.CPUTime, b.CPUTime), CPUTimeExchange: min(a.CPUTimeExchange, b.CPUTimeExchange), CPUTimeStart: min(a.CPUTimeStart, b.CPUTimeStart),
		MemoryBytes: min(a.MemoryBytes, b.MemoryBytes), BodyBytes: min(a.BodyBytes, b.BodyBytes),
	}
}
