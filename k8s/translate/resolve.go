package translate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/annotation"
	"penstock.dev/penstock/k8s/api"
)

// maxSourceBytes bounds one value of configFrom, maxConfigBytes a whole config.
const (
	maxSourceBytes = 1 << 20
	maxConfigBytes = 4 << 20
)

// refusal is an error with the reason that is told.
type refusal struct {
	reason string
	err    error
}

func (e *refusal) Error() string { return e.err.Error() }

func refuse(reason, format string, args ...any) error {
	return &refusal{reason, fmt.Errorf(format, args...)}
}

// resolve makes filters of entries: by catalogue, policy, ConfigMaps and
// Secrets as they are now. The fault is the first one.
func (r *run) resolve(at *place, entries []api.Entry) ([]*config.Filter, *config.Fault) {
	fault := func(i int, e *api.Entry, err error) *config.Fault {
		return &config.Fault{Reason: reasonOf(err), Message: fmt.Sprintf("%s: [%d] (%s): %v", at.object, i, e.Name, err)}
	}
	if !at.trusted {
		if f := r.of(at.namespace).fault(); f != nil {
			return nil, f
		}
	}
	var filters []*config.Filter
	for i := range entries {
		e := &entries[i]
		if e.Chain != "" {
			more, err := r.chain(at, e.Chain)
			if err != nil {
				return nil, fault(i, e, err)
			}
			filters = append(filters, more...)
			continue
		}
		f, err := r.filter(at, at.object, e)
		if err != nil {
			return nil, fault(i, e, err)
		}
		filters = append(filters, f)
	}
	seen := map[string]bool{}
	for _, f := range filters {
		if seen[f.Name] {
			return nil, &config.Fault{Reason: "InvalidConfig", Message: fmt.Sprintf("%s: two filters are called %q once chains are put in place: give one another name", at.object, f.Name)}
		}
		seen[f.Name] = true
	}
	if f := cacheFault(at, filters); f != nil {
		return nil, f
	}
	if f := r.consumerFault(at, filters); f != nil {
		return nil, f
	}
	return filters, nil
}

// chain resolves a PluginChain of the place's namespace.
func (r *run) chain(at *place, name string) ([]*config.Filter, error) {
	c := r.chains[at.namespace+"/"+name]
	if c == nil {
		return nil, refuse("UnknownPlugin", "there is no PluginChain %s in namespace %s", name, at.namespace)
	}
	entries, err := annotation.Check(c.Entries(), "PluginChain")
	if err != nil {
		return nil, refuse(annotation.Reason(err), "PluginChain %s: spec.plugins: %s", name, oneLine(err))
	}
	var filters []*config.Filter
	for i := range entries {
		e := &entries[i]
		if e.Chain != "" {
			return nil, refuse("InvalidAnnotation", "PluginChain %s: spec.plugins[%d].chain: a chain cannot hold another", name, i)
		}
		f, err := r.filter(at, object("PluginChain", c), e)
		if err != nil {
			return nil, fmt.Errorf("PluginChain %s: spec.plugins[%d]: %w", name, i, err)
		}
		filters = append(filters, f)
	}
	return filters, nil
}

// filter resolves one entry; owner declares it.
func (r *run) filter(at *place, owner config.Object, e *api.Entry) (*config.Filter, error) {
	f := &config.Filter{Part: at.part, Name: e.Name, Owner: owner, Namespace: at.namespace, Image: e.Image, Config: e.Config, VMID: e.VMID}
	entry := entryText(e)
	f.Declaration = declaration(owner, at.part, entry)
	if r.telling {
		f.Entry = entry
	}
	if annotation.IsCache(e.Use) {
		return f, r.cache(at, f, e)
	}
	own, base := e.Limits, config.DefaultLimits()
	onError := e.OnError
	policy := r.judge(at)
	if e.Use != "" {
		spec, err := r.catalogue(f, e.Use)
		if err != nil {
			return nil, err
		}
		if spec != nil {
			if base, err = annotation.Limits(spec.Limits, base); err != nil {
				return nil, fmt.Errorf("spec.limits of Plugin %s: %w", e.Use, err)
			}
			onError = cmpOr(onError, spec.OnError)
		}
	} else if !at.trusted {
		if err := policy.admits(e.Image); err != nil {
			return nil, &refusal{"RefusedByPolicy", err}
		}
	}
	if f.Grant == config.GrantBoth {
		f.Capabilities = grantable(at, policy.capabilities())
		f.Guard = r.guardImage(e.Image)
		f.Egress, f.Trust = policy.egress(), policy.trust(e.Image)
	}
	if r.t.bundledCalls(f) {
		f.Egress = policy.egress()
	}
	f.DeniedDigests = policy.deniedDigests()
	totals := config.DefaultTotals()
	if f.Tenant() != "" {
		totals = r.total(f.Tenant())
	}
	f.ModuleBytes, f.ModuleSource = totals.ModuleBytes, totals.Source("moduleSize")
	if onError == "skip" {
		if f.OnError = config.Skip; f.Guard {
			return nil, errors.New("onError: skip is refused for a guard: remove it")
		}
	}
	var err error
	if f.Limits, err = policy.limits(own, base); err != nil {
		return nil, &refusal{"RefusedByPolicy", err}
	}
	if f.Config, err = r.configuration(at, e, f.Config); err != nil {
		return nil, err
	}
	f.Private = slices.ContainsFunc(e.ConfigFrom, func(s api.ConfigSource) bool { return s.SecretKeyRef != nil })
	if f.Env, err = r.environment(at, e); err != nil {
		return nil, err
	}
	if f.PullSecrets, err = r.pullSecrets(at, e); err != nil {
		return nil, err
	}
	if f.Except, err = exceptions(e); err != nil {
		return nil, err
	}
	if f.VMConfig, err = r.configuration(at, &api.Entry{}, e.VMConfig); err != nil {
		return nil, err
	}
	f.RootID = cmpOr(e.RootID, f.RootID)
	f.HeaderStop = map[string]config.HeaderStop{"all": config.HeaderStopAll, "headers": config.HeaderStopHeaders}[e.HeaderStop]
	r.calls(f)
	password := ""
	if f.Redis = r.redisOf(at, f); f.Redis != nil {
		password = f.Redis.Password
	}
	f.Hash = digest([]any{owner, at.part, f.Name, f.Plugin, f.PluginVersion, f.Image, f.Config, f.Env, f.Limits, f.Grant, f.Capabilities, f.DeniedDigests, f.OnError, f.Guard,
		f.Namespace, f.RootID, f.VMID, f.VMConfig, f.HeaderStop, f.Egress, f.Trust, f.ModuleBytes, f.ModuleSource, f.Redis, password})
	f.Canary = r.canary(at, owner, e)
	return f, nil
}

// canary resolves an entry's other version: the entry with another image, judged
// as any. What is wrong with it is no fault of the entry.
func (r *run) canary(at *place, owner config.Object, e *api.Entry) *config.Canary {
	if e.Canary == nil {
		return nil
	}
	c := &config.Canary{WeightPercent: int(e.Canary.Weight), Shadow: e.Canary.Mode == "shadow"}
	other := *e
	other.Use, other.Image, other.Canary = e.Canary.Use, e.Canary.Image, nil
	other.Name += config.CanarySuffix
	f, err := r.filter(at, owner, &other)
	if err != nil {
		c.Fault = &config.Fault{Reason: reasonOf(err), Message: fmt.Sprintf("(%s): canary: %v; the filter itself runs for all exchanges", e.Name, err)}
		return c
	}
	f.Shadow = c.Shadow
	f.Hash = digest([]any{f.Hash, f.Shadow})
	c.Filter = f
	return c
}

// reasonOf returns the reason that is told for what is wrong with an entry.
func reasonOf(err error) string {
	var known *refusal
	if errors.As(err, &known) {
		return known.reason
	}
	return "InvalidConfig"
}

// judge returns the policy that judges a place's entries: overrides are judged
// by the policy that declares them, all others by those of the namespace.
func (r *run) judge(at *place) *namespacePolicy {
	if at.declarer != nil {
		return &namespacePolicy{policies: []*policy{at.declarer}}
	}
	return r.of(at.namespace)
}

// catalogue finds a Plugin object or a bundled plugin; spec is nil for the latter.
func (r *run) catalogue(f *config.Filter, use string) (*api.PluginSpec, error) {
	name, major, _ := strings.Cut(use, "@")
	if name == annotation.UseCache {
		return nil, refuse("UnknownPlugin", "the cache is no plugin: want another name")
	}
	p := r.plugins[name]
	if u := r.unread(config.Object{Kind: "Plugin", Name: name}); u != nil && p == nil { // it may replace a bundled one
		return nil, refuse("UnknownPlugin", "%s cannot be read", u)
	}
	if p != nil {
		s := &p.Spec
		want := cmpOr(major, s.DefaultVersion)
		i := slices.IndexFunc(s.Versions, func(v api.PluginVersion) bool { return v.Name == want || want == "" })
		if i < 0 {
			return nil, refuse("UnknownPlugin", "Plugin %s has no version %q: it has %s", name, want, versionNames(s.Versions))
		}
		if f.Image = s.Versions[i].Image; !annotation.Image(f.Image) {
			return nil, refuse("UnknownPlugin", "Plugin %s: spec.versions[%d].image: no image reference", name, i)
		}
		f.Grant, f.Capabilities, f.Guard = config.GrantListed, s.Capabilities, s.Guard
		f.Plugin, f.PluginVersion = "Plugin/"+name, s.Versions[i].Name
		f.RootID = s.RootID
		var err error
		if f.Egress, err = r.egress(s.Egress); err != nil {
			return nil, refuse("UnknownPlugin", "Plugin %s: spec.%v", name, err)
		}
		if err := CheckCapabilities(s.Capabilities); err != nil {
			return nil, refuse("UnknownPlugin", "Plugin %s: spec.%v", name, err)
		}
		if s.OnError != "" && s.OnError != "reject" && s.OnError != "skip" {
			return nil, refuse("UnknownPlugin", "Plugin %s: spec.onError: %.40q is neither reject nor skip", name, s.OnError)
		}
		if slices.Contains(s.Capabilities, capabilityConsumer) {
			f.Guard = true
		}
		if f.Config == nil && s.Config != nil {
			text, err := json.Marshal(s.Config)
			if err != nil {
				return nil, err
			}
			f.Config = text
		}
		return s, nil
	}
	for _, b := range r.t.o.Bundled {
		if b.Name == name && (major == "" || major == b.Major) {
			f.Image, f.Grant, f.Guard = b.Image, config.GrantManifest, b.Guard
			f.Plugin, f.PluginVersion = "bundled/"+name, b.Major
			return &api.PluginSpec{Limits: b.Limits}, nil
		}
	}
	return nil, r.unknownUse(use)
}

func versionNames(versions []api.PluginVersion) string {
	var all []string
	for _, v := range versions {
		all = append(all, v.Name)
	}
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, ", ")
}

// configuration joins config and configFrom. A string reaches the plugin as it is.
func (r *run) configuration(at *place, e *api.Entry, own []byte) ([]byte, error) {
	var text string
	isText := json.Unmarshal(own, &text) == nil && len(own) > 0 && own[0] == '"'
	if len(e.ConfigFrom) == 0 {
		if isText {
			return []byte(text), nil
		}
		return own, nil
	}
	joined := map[string]json.RawMessage{}
	private := map[string]bool{} // keys that only Secrets have named
	if isText {
		return nil, errors.New("config: must be a mapping when configFrom adds to it")
	}
	if len(own) > 0 {
		if err := json.Unmarshal(own, &joined); err != nil {
			return nil, errors.New("config: must be a mapping when configFrom adds to it")
		}
	}
	size := 0
	for i := range e.ConfigFrom {
		field := fmt.Sprintf("configFrom[%d]", i)
		value, found, err := r.source(at, &e.ConfigFrom[i], field)
		if err != nil {
			return nil, err
		}
		if !found {
			continue
		}
		if size += len(value); size > maxConfigBytes {
			return nil, fmt.Errorf("%s: more than %d bytes in all", field, maxConfigBytes)
		}
		m, err := annotation.Mapping(value, maxSourceBytes)
		if err != nil {
			return nil, fmt.Errorf("%s: the value is refused: %w", field, err)
		}
		for key, v := range m {
			secret := e.ConfigFrom[i].SecretKeyRef != nil
			switch _, twice := joined[key]; {
			case twice && secret && private[key]:
				return nil, fmt.Errorf("%s: a key is set already by another Secret", field)
			case twice:
				return nil, fmt.Errorf("%s: the key %q is set already", field, key)
			}
			joined[key], private[key] = v, secret
		}
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(joined); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func exceptions(e *api.Entry) ([]config.Except, error) {
	var list []config.Except
	for i := range e.Except {
		x := &e.Except[i]
		var m config.Match
		if err := pathMatch(&m, cmpOr(x.Path.Type, "PathPrefix"), x.Path.Value); err != nil {
			return nil, fmt.Errorf("except[%d].%w", i, err)
		}
		list = append(list, config.Except{PathType: m.PathType, Path: m.Path, Regex: m.Regex, Methods: x.Methods})
	}
	return list, nil
}
