package annotation

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	corev1 "k8s.io/api/core/v1"

	"penstock.dev/penstock/k8s/api"
)

// Parse reads the value of penstock.dev/plugins on an object of that kind. The
// error joins one *Error for each problem; no entry is returned then.
func Parse(text, kind string) ([]api.Entry, error) {
	p := &problems{}
	root := document(text, p)
	if root == nil {
		return nil, errors.Join(p.list...)
	}
	if root.Kind != yaml.SequenceNode {
		p.add("", "want a list: each entry begins with a dash")
		return nil, errors.Join(p.list...)
	}
	tree, ok := toJSON(root, "", p).([]any)
	if !ok || len(p.list) > 0 {
		return nil, errors.Join(p.list...)
	}
	if len(tree) > MaxEntries {
		p.add("", "%d entries, at most %d", len(tree), MaxEntries)
	}
	var entries []api.Entry
	for i, v := range tree {
		entries = append(entries, entry(v, fmt.Sprintf("[%d]", i), kind, p))
	}
	names(entries, p)
	if len(p.list) > 0 {
		return nil, errors.Join(p.list...)
	}
	return entries, nil
}

// Check judges entries that came as objects: of a PluginChain or a Consumer, whose entries
// must have names, or of a PluginPolicy. It returns them with all names.
func Check(entries []api.Entry, kind string) ([]api.Entry, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	text, err := json.Marshal(entries)
	if err != nil {
		return nil, err
	}
	parsed, err := Parse(string(text), kind)
	if err != nil || kind != "PluginChain" && kind != "Consumer" {
		return parsed, err
	}
	p := &problems{}
	for i := range entries {
		if entries[i].Name == "" {
			p.add(fmt.Sprintf("[%d].name", i), "missing: every entry of a %s has a name", kind)
		}
	}
	if len(p.list) > 0 {
		return nil, errors.Join(p.list...)
	}
	return parsed, nil
}

// names completes names and refuses two that are equal.
func names(entries []api.Entry, p *problems) {
	seen := map[string]int{}
	for i := range entries {
		e := &entries[i]
		if e.Name == "" {
			e.Name = defaultName(e)
		}
		if e.Name == "" {
			continue // its own problem was told
		}
		if first, twice := seen[e.Name]; twice {
			p.add(fmt.Sprintf("[%d].name", i), "%q is the name of [%d] too: give one of them another name", e.Name, first)
			continue
		}
		seen[e.Name] = i
	}
}

func defaultName(e *api.Entry) string {
	switch {
	case e.Use != "":
		name, _, _ := strings.Cut(e.Use, "@")
		return name
	case e.Chain != "":
		return e.Chain
	}
	path, _, _ := strings.Cut(e.Image, "@")
	path = path[strings.LastIndexByte(path, '/')+1:]
	path, _, _ = strings.Cut(path, ":")
	return strings.Trim(strings.NewReplacer(".", "-", "_", "-").Replace(path), "-")
}

var (
	labelForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	nameForm  = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`)
	useForm   = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(@[0-9]{1,6})?$`)
	imageForm = regexp.MustCompile(`^([a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[0-9]{1,5})?|\[[0-9a-f:]+\](?::[0-9]{1,5})?)` +
		`/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*` +
		`(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(@sha256:[0-9a-f]{64})?$`)
	envForm        = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)
	headerStopForm = regexp.MustCompile(`^(all|headers)$`)
	modeForm       = regexp.MustCompile(`^(live|shadow)$`)
	methodForm     = regexp.MustCompile(`^[A-Z]{1,32}$`)
	idForm         = regexp.MustCompile(`^[!-~]{1,253}$`)
	keyForm        = regexp.MustCompile(`^[-._a-zA-Z0-9]{1,253}$`)
)

// Image reports whether s is an image reference with a registry, and a tag or digest.
func Image(s string) bool {
	m := imageForm.FindStringSubmatch(s)
	return m != nil && len(s) <= 512 && m[2]+m[3] != "" && (strings.ContainsAny(m[1], ".:[") || m[1] == "localhost")
}

// entry reads one element of the list.
func entry(v any, path, kind string, p *problems) api.Entry {
	if use, ok := v.(string); ok {
		v = map[string]any{"use": use}
	}
	m, ok := v.(map[string]any)
	if !ok {
		p.add(path, "want a name or a mapping with use, image or chain")
		return api.Entry{}
	}
	f := fields{m: m, path: path, p: p}
	var e api.Entry
	e.Use = f.text("use", useForm, "name or name@major")
	e.Chain = f.text("chain", nameForm, "the name of a PluginChain of this namespace")
	e.Image = f.image()
	exactlyOne(m, path, p)
	e.Name = f.text("name", labelForm, "a DNS label")
	e.Config, e.VMConfig = f.value("config"), f.value("vmConfig")
	e.RootID, e.VMID = f.text("rootId", idForm, "an id of printable characters"), f.text("vmId", idForm, "an id of printable characters")
	e.HeaderStop = f.text("headerStop", headerStopForm, "all or headers")
	e.ConfigFrom = list(f, "configFrom", source)
	e.Env = list(f, "env", variable)
	e.Except = list(f, "except", except)
	e.ImagePullSecrets = list(f, "imagePullSecrets", func(f fields) corev1.LocalObjectReference {
		f.unknown([]string{"name"})
		return corev1.LocalObjectReference{Name: f.required("name", nameForm, "the name of a Secret")}
	})
	e.Ports = f.texts("ports", kind == "Service", "a Service")
	e.Listeners = f.texts("listeners", kind == "Gateway", "a Gateway")
	e.OnError = f.text("onError", nil, "")
	if e.OnError != "" && e.OnError != "reject" && e.OnError != "skip" {
		p.add(join(path, "onError"), "%.40q is neither reject nor skip", e.OnError)
	}
	e.Limits = limits(f)
	if IsCache(e.Use) {
		cacheEntry(f, &e, kind)
	}
	if v, ok := m["canary"]; ok {
		if c, ok := mapping(v, join(path, "canary"), p); ok {
			e.Canary = canary(c)
		}
	}
	f.unknown([]string{"use", "image", "chain", "name", "config", "configFrom", "env", "except", "ports", "listeners", "onError", "limits",
		"imagePullSecrets", "rootId", "vmId", "vmConfig", "headerStop", "canary"})
	return e
}

func exactlyOne(m map[string]any, path string, p *problems) {
	n := 0
	for _, key := range []string{"use", "image", "chain"} {
		if _, ok := m[key]; ok {
			n++
		}
	}
	if n != 1 {
		p.add(path, "has %d of use, image and chain: want exactly one", n)
	}
	if _, ok := m["chain"]; ok {
		for _, key := range sortedKeys(m) {
			if key != "chain" && key != "name" {
				p.add(join(path, key), "not allowed beside chain: write it into the PluginChain")
			}
		}
	}
}

// fields reads a mapping strictly.
type fields struct {
	m    map[string]any
	path string
	p    *problems
}

func mapping(v any, path string, p *problems) (fields, bool) {
	m, ok := v.(map[string]any)
	if !ok {
		p.add(path, "want a mapping")
	}
	return fields{m, path, p}, ok
}

// text returns a string that must not be empty; form may be nil.
func (f fields) text(key string, form *regexp.Regexp, want string) string {
	v, ok := f.m[key]
	if !ok {
		return ""
	}
	s, ok := v.(string)
	if !ok || s == "" {
		f.p.add(join(f.path, key), "want text")
		return ""
	}
	if form != nil && !form.MatchString(s) {
		f.p.add(join(f.path, key), "%.80q: want %s", s, want)
	}
	return s
}

// image returns a reference to an image.
func (f fields) image() string {
	s := f.text("image", nil, "")
	if s != "" && !Image(s) {
		f.p.add(join(f.path, "image"), "%.100q is no image reference: want registry/repository[:tag][@sha256:digest], with a registry and a tag or digest", s)
	}
	return s
}

// value returns what reaches a plugin as it is: a mapping, a list or text.
func (f fields) value(key string) json.RawMessage {
	switch v := f.m[key].(type) {
	case nil:
	case map[string]any, []any, string:
		return encode(v)
	default:
		f.p.add(join(f.path, key), "want a mapping, a list or text")
	}
	return nil
}

func (f fields) required(key string, form *regexp.Regexp, want string) string {
	if _, ok := f.m[key]; !ok {
		f.p.add(join(f.path, key), "missing")
		return ""
	}
	return f.text(key, form, want)
}

func (f fields) flag(key string) bool {
	v, ok := f.m[key]
	if !ok {
		return false
	}
	b, ok := v.(bool)
	if !ok {
		f.p.add(join(f.path, key), "want true or false")
	}
	return b
}

// texts returns a list of names; where says on what it is allowed.
func (f fields) texts(key string, allowed bool, where string) []string {
	v, ok := f.m[key]
	if !ok {
		return nil
	}
	if !allowed {
		f.p.add(join(f.path, key), "only allowed on %s", where)
		return nil
	}
	items, ok := v.([]any)
	if !ok || len(items) == 0 {
		f.p.add(join(f.path, key), "want a list of names")
		return nil
	}
	var out []string
	for i, item := range items {
		s, ok := item.(string)
		if !ok || !nameForm.MatchString(s) {
			f.p.add(fmt.Sprintf("%s[%d]", join(f.path, key), i), "want a name")
			continue
		}
		out = append(out, s)
	}
	return out
}

func (f fields) unknown(known []string) {
	for _, key := range sortedKeys(f.m) {
		if !slices.Contains(known, key) {
			f.p.add(join(f.path, key), "unknown key; known are %s", strings.Join(known, ", "))
		}
	}
}

// list reads a list of mappings.
func list[T any](f fields, key string, read func(fields) T) []T {
	v, ok := f.m[key]
	if !ok {
		return nil
	}
	items, ok := v.([]any)
	if !ok || len(items) > 64 {
		f.p.add(join(f.path, key), "want a list of at most 64")
		return nil
	}
	var out []T
	for i, item := range items {
		if m, ok := mapping(item, fmt.Sprintf("%s[%d]", join(f.path, key), i), f.p); ok {
			out = append(out, read(m))
		}
	}
	return out
}

func canary(f fields) *api.Canary {
	c := &api.Canary{Use: f.text("use", useForm, "name or name@major"), Image: f.image(), Mode: f.required("mode", modeForm, "live or shadow")}
	if IsCache(c.Use) {
		f.p.add(join(f.path, "use"), "the cache is no version of a plugin: want another plugin")
	}
	n := 0
	for _, key := range []string{"use", "image"} {
		if _, ok := f.m[key]; ok {
			n++
		}
	}
	if n != 1 {
		f.p.add(f.path, "has %d of use and image: want exactly one", n)
	}
	v, ok := f.m["weight"]
	number, isNumber := v.(json.Number)
	weight, err := strconv.Atoi(number.String())
	switch {
	case !ok:
		f.p.add(join(f.path, "weight"), "missing: want a percentage, 0 to 100")
	case !isNumber || err != nil || weight < 0 || weight > 100:
		f.p.add(join(f.path, "weight"), "want a whole number from 0 to 100")
	default:
		c.Weight = int32(weight)
	}
	f.unknown([]string{"use", "image", "weight", "mode"})
	return c
}

func source(f fields) api.ConfigSource {
	var s api.ConfigSource
	n := 0
	ref := func(key string) *api.KeyRef {
		v, ok := f.m[key]
		if !ok {
			return nil
		}
		n++
		m, ok := mapping(v, join(f.path, key), f.p)
		if !ok {
			return nil
		}
		r := &api.KeyRef{Name: m.required("name", nameForm, "the name of an object"), Key: m.required("key", keyForm, "a key of its data"), Optional: m.flag("optional")}
		m.unknown([]string{"name", "key", "optional"})
		return r
	}
	s.ConfigMapKeyRef, s.SecretKeyRef = ref("configMapKeyRef"), ref("secretKeyRef")
	if n != 1 {
		f.p.add(f.path, "has %d of configMapKeyRef and secretKeyRef: want exactly one", n)
	}
	f.unknown([]string{"configMapKeyRef", "secretKeyRef"})
	return s
}

func variable(f fields) api.EnvVar {
	v := api.EnvVar{Name: f.required("name", envForm, "the name of a variable")}
	_, hasValue := f.m["value"]
	from, hasFrom := f.m["valueFrom"]
	if hasValue && hasFrom {
		f.p.add(f.path, "has both value and valueFrom: want one")
	}
	if s, ok := f.m["value"].(string); ok {
		if v.Value = s; strings.ContainsRune(s, 0) {
			f.p.add(join(f.path, "value"), "must not hold a NUL")
		}
	} else if hasValue {
		f.p.add(join(f.path, "value"), "want text: put it in quotes")
	}
	if hasFrom {
		if m, ok := mapping(from, join(f.path, "valueFrom"), f.p); ok {
			s := source(m)
			v.ValueFrom = &s
		}
	}
	f.unknown([]string{"name", "value", "valueFrom"})
	return v
}

func except(f fields) api.Except {
	var x api.Except
	if v, ok := f.m["path"]; !ok {
		f.p.add(join(f.path, "path"), "missing")
	} else if m, ok := mapping(v, join(f.path, "path"), f.p); ok {
		x.Path = path(m)
	}
	if v, ok := f.m["methods"]; ok {
		items, ok := v.([]any)
		if !ok || len(items) == 0 {
			f.p.add(join(f.path, "methods"), "want a list of methods")
		}
		for i, item := range items {
			s, ok := item.(string)
			if !ok || !methodForm.MatchString(s) {
				f.p.add(fmt.Sprintf("%s[%d]", join(f.path, "methods"), i), "want a method in upper case")
				continue
			}
			x.Methods = append(x.Methods, s)
		}
	}
	f.unknown([]string{"path", "methods"})
	return x
}

func path(f fields) api.PathMatch {
	m := api.PathMatch{Type: f.text("type", nil, ""), Value: f.required("value", nil, "")}
	at := join(f.path, "value")
	switch m.Type {
	case "", "Exact", "PathPrefix":
		if m.Value != "" && m.Value[0] != '/' {
			f.p.add(at, "want a path that starts with /")
		}
	case "RegularExpression":
		if _, err := regexp.Compile(m.Value); err != nil || len(m.Value) > 1024 {
			f.p.add(at, "no regular expression (RE2) of at most 1024 bytes")
		}
	default:
		f.p.add(join(f.path, "type"), "%.40q is none of Exact, PathPrefix and RegularExpression", m.Type)
	}
	f.unknown([]string{"type", "value"})
	return m
}
