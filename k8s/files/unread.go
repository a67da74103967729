package files

import (
	"encoding/json"
	"regexp"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	kjson "sigs.k8s.io/json"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/translate"
)

// guards reports whether an object of a version that is not read here may guard
// something, so that it is not just left out.
func guards(apiVersion, kind string) bool {
	group := groupOf(apiVersion)
	switch kind {
	case "BackendTLSPolicy":
		return group == gatewayGroup
	case "PluginPolicy", "Plugin":
		return group == ownGroup
	case "Namespace", "Secret", "ConfigMap":
		return !strings.Contains(group, ".") // meant to be Kubernetes' own
	}
	return false
}

const (
	gatewayGroup = "gateway.networking.k8s.io"
	ownGroup     = "penstock.dev"
)

// groupOf returns an apiVersion's group; "" for Kubernetes' own.
func groupOf(apiVersion string) string {
	group, _, ok := strings.Cut(apiVersion, "/")
	if !ok {
		return ""
	}
	return group
}

// unknown is a file of which nothing can be told.
func unknown(file string, err error) parsed {
	return parsed{
		unread:   []translate.Unread{{File: file}},
		problems: []translate.Problem{{File: file, Reason: "Invalid", Message: err.Error()}},
		bad:      true,
	}
}

// kindForm finds the kinds in a text that is no YAML, or no object.
var kindForm = regexp.MustCompile(`(?:^|[\s{,"'])[Kk][Ii][Nn][Dd]["']?\s*:?\s*(?:[!&]\S+\s+)*["'\[]*([A-Za-z]+)`)

// mentioned returns the kinds that a text names: that is all that is known of it.
func mentioned(text []byte) []translate.Unread {
	var all []translate.Unread
	seen := map[string]bool{}
	for _, m := range kindForm.FindAllSubmatch(text, -1) {
		if kind := string(m[1]); !seen[kind] {
			seen[kind] = true
			all = append(all, translate.Unread{Object: config.Object{Kind: kind}})
		}
	}
	return all
}

// salvage returns what can be told of an object that is wrong somewhere. What is
// not there in the right form counts as not known.
func salvage(text []byte) translate.Unread {
	o := mapping(text)
	meta, spec := mapping(o["metadata"]), mapping(o["spec"])
	kind, _ := word(o["kind"])
	kind = strings.TrimSuffix(kind, "List")
	if apiVersion, _ := word(o["apiVersion"]); kind == "" && groupOf(apiVersion) == gatewayGroup {
		kind = "BackendTLSPolicy" // it may be one
	}
	u := translate.Unread{Object: config.Object{Kind: kind}}
	if name, ok := word(meta["name"]); ok && len(validation.IsDNS1123Subdomain(name)) == 0 {
		u.Object.Name = name
	}
	namespace, ok := word(meta["namespace"])
	if meta["namespace"] == nil && meta != nil {
		namespace, ok = "default", !misspelt(meta)
	}
	if ok && len(validation.IsDNS1123Label(namespace)) == 0 && !clusterScope(kind) {
		u.Object.Namespace = namespace
	}
	switch kind {
	case "BackendTLSPolicy":
		u.Services = targets(spec["targetRefs"])
	case "PluginPolicy":
		var selector *metav1.LabelSelector
		if strict, err := kjson.UnmarshalStrict(spec["namespaceSelector"], &selector); err == nil && len(strict) == 0 {
			u.Selector = selector
		}
	}
	if u.Object.Namespace == "" && !clusterScope(kind) { // then its name says nothing
		u.Object.Name, u.Services = "", nil
	}
	return u
}

// metadata is the fields of an object's.
var metadata = map[string]bool{
	"name": true, "generateName": true, "namespace": true, "selfLink": true, "uid": true, "resourceVersion": true, "generation": true,
	"creationTimestamp": true, "deletionTimestamp": true, "deletionGracePeriodSeconds": true, "labels": true, "annotations": true,
	"ownerReferences": true, "finalizers": true, "managedFields": true,
}

// misspelt reports whether an object's metadata has a field that there is not: it may
// be meant to be the namespace.
func misspelt(meta map[string]json.RawMessage) bool {
	for name := range meta {
		if !metadata[name] {
			return true
		}
	}
	return false
}

// mapping reads one; nil if it is none.
func mapping(text json.RawMessage) (m map[string]json.RawMessage) {
	if json.Unmarshal(text, &m) != nil {
		return nil
	}
	return m
}

// word reads a string that is not empty.
func word(text json.RawMessage) (s string, ok bool) {
	return s, json.Unmarshal(text, &s) == nil && s != ""
}

func clusterScope(kind string) bool {
	for name, k := range kinds() {
		if strings.HasSuffix(name, " "+kind) {
			return k.clusterScope
		}
	}
	return false
}

// targets returns the names that targetRefs hold; nil if one of them holds none.
func targets(text json.RawMessage) []string {
	var refs []json.RawMessage
	if json.Unmarshal(text, &refs) != nil {
		return nil
	}
	var names []string
	for _, r := range refs {
		name, ok := word(mapping(r)["name"])
		if !ok {
			return nil
		}
		names = append(names, name)
	}
	return names
}
