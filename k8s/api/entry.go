package api

import (
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
)

// Group and Version of the kinds of this package.
const (
	Group   = "penstock.dev"
	Version = "v1alpha1"
)

// Names under penstock.dev/ on other kinds.
const (
	AnnotationPlugins   = "penstock.dev/plugins"
	AnnotationOnInvalid = "penstock.dev/on-invalid"
	LabelPluginSecret   = "penstock.dev/plugin-secret"
)

// Entry is one filter of a chain, as its author writes it (annotations.md,
// section 1). Exactly one of Use, Image and Chain is set.
type Entry struct {
	// Use is a catalogue entry: name or name@major.
	Use string `json:"use,omitempty"`
	// Image is registry/repository[:tag][@sha256:digest], without a scheme.
	Image string `json:"image,omitempty"`
	// Chain is a PluginChain of the same namespace, put in place.
	Chain string `json:"chain,omitempty"`

	// Name is a DNS label, unique in its part; default: the catalogue name, or
	// the last path segment of the image.
	Name string `json:"name,omitempty"`
	// Config is any JSON value; a string reaches the plugin as it is.
	Config     json.RawMessage `json:"config,omitempty"`
	ConfigFrom []ConfigSource  `json:"configFrom,omitempty"`
	Env        []EnvVar        `json:"env,omitempty"`
	Except     []Except        `json:"except,omitempty"`
	// Ports are names of Service ports; Service only.
	Ports []string `json:"ports,omitempty"`
	// Listeners are listener names; Gateway only.
	Listeners []string `json:"listeners,omitempty"`
	// OnError is reject (default) or skip.
	OnError string  `json:"onError,omitempty"`
	Limits  *Limits `json:"limits,omitempty"`

	// RootID chooses the plugin's root context (Proxy-Wasm).
	RootID string `json:"rootId,omitempty"`
	// VMID names the state that filters of a namespace share; default: the filter's own.
	VMID string `json:"vmId,omitempty"`
	// VMConfig is what the plugin's VM gets at its start, any JSON value as Config.
	VMConfig json.RawMessage `json:"vmConfig,omitempty"`
	// HeaderStop is all or headers: what PAUSE in a header callback holds back;
	// default by ABI.
	HeaderStop string `json:"headerStop,omitempty"`

	// ImagePullSecrets are Secrets of type kubernetes.io/dockerconfigjson.
	ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets,omitempty"`

	// Canary is another version that some exchanges run, or are shown.
	Canary *Canary `json:"canary,omitempty"`
}

// Canary is another version of an entry's plugin, with the entry's own
// configuration and limits. Exactly one of Use and Image is set.
type Canary struct {
	Use   string `json:"use,omitempty"`
	Image string `json:"image,omitempty"`
	// Weight is the percent of exchanges, 0 to 100.
	Weight int32 `json:"weight"`
	// Mode is live: these exchanges run it in the entry's place; or shadow: it is
	// shown copies of them, and its decisions are compared and counted.
	Mode string `json:"mode"`
}

// Egress is one destination outside of its namespace that a plugin may call.
type Egress struct {
	// Hostname is a DNS name, or "*.domain" for all names below it. A Service of
	// another namespace is name.namespace.svc.cluster.local.
	Hostname string `json:"hostname"`
	// Ports that may be called; none: any.
	Ports []int32 `json:"ports,omitempty"`
}

// KeyRef names a key of a ConfigMap or Secret of the same namespace.
type KeyRef struct {
	Name     string `json:"name"`
	Key      string `json:"key"`
	Optional bool   `json:"optional,omitempty"`
}

// ConfigSource is one mapping whose top-level keys are added to Config.
// Exactly one is set.
type ConfigSource struct {
	ConfigMapKeyRef *KeyRef `json:"configMapKeyRef,omitempty"`
	SecretKeyRef    *KeyRef `json:"secretKeyRef,omitempty"`
}

// EnvVar is a variable of the guest's environment: Value or ValueFrom.
type EnvVar struct {
	Name      string        `json:"name"`
	Value     string        `json:"value,omitempty"`
	ValueFrom *ConfigSource `json:"valueFrom,omitempty"`
}

// PathMatch is the path of an exception.
type PathMatch struct {
	// Type is Exact, PathPrefix (default) or RegularExpression.
	Type  string `json:"type,omitempty"`
	Value string `json:"value"`
}

// Except is requests that skip the entry.
type Except struct {
	Path    PathMatch `json:"path"`
	Methods []string  `json:"methods,omitempty"`
}

// Limits of a filter: durations as "20ms", sizes as "64Mi".
type Limits struct {
	CPUTime         string `json:"cpuTime,omitempty"`
	CPUTimeExchange string `json:"cpuTimeExchange,omitempty"`
	CPUTimeStart    string `json:"cpuTimeStart,omitempty"`
	Memory          string `json:"memory,omitempty"`
	Body            string `json:"body,omitempty"`
}
