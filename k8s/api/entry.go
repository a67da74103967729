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
//
// +kubebuilder:validation:XValidation:rule="[has(self.use), has(self.image), has(self.chain)].exists_one(x, x)",message="exactly one of use, image and chain"
type Entry struct {
	// Use is a catalogue entry: name or name@major.
	// +kubebuilder:validation:MaxLength=80
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(@[0-9]{1,6})?$`
	Use string `json:"use,omitempty"`
	// Image is registry/repository[:tag][@sha256:digest], without a scheme.
	// +kubebuilder:validation:MaxLength=512
	Image string `json:"image,omitempty"`
	// Chain is a PluginChain of the same namespace, put in place.
	// +kubebuilder:validation:MaxLength=253
	Chain string `json:"chain,omitempty"`

	// Name is a DNS label, unique in its part; default: the catalogue name, or
	// the last path segment of the image.
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name,omitempty"`
	// Config is any JSON value; a string reaches the plugin as it is.
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Config json.RawMessage `json:"config,omitempty"`
	// +kubebuilder:validation:MaxItems=16
	ConfigFrom []ConfigSource `json:"configFrom,omitempty"`
	// +kubebuilder:validation:MaxItems=64
	Env []EnvVar `json:"env,omitempty"`
	// +kubebuilder:validation:MaxItems=64
	Except []Except `json:"except,omitempty"`
	// Ports are names of Service ports; Service only.
	// +kubebuilder:validation:MaxItems=64
	Ports []string `json:"ports,omitempty"`
	// Listeners are listener names; Gateway only.
	// +kubebuilder:validation:MaxItems=64
	Listeners []string `json:"listeners,omitempty"`
	// OnError is reject (default) or skip.
	// +kubebuilder:validation:Enum=reject;skip
	OnError string  `json:"onError,omitempty"`
	Limits  *Limits `json:"limits,omitempty"`

	// RootID chooses the plugin's root context (Proxy-Wasm).
	RootID string `json:"rootId,omitempty"`
	// VMID names the state that filters of a namespace share; default: the filter's own.
	VMID string `json:"vmId,omitempty"`
	// VMConfig is what the plugin's VM gets at its start, any JSON value as Config.
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	VMConfig json.RawMessage `json:"vmConfig,omitempty"`
	// HeaderStop is all or headers: what PAUSE in a header callback holds back;
	// default by ABI.
	// +kubebuilder:validation:Enum=all;headers
	HeaderStop string `json:"headerStop,omitempty"`

	// ImagePullSecrets are Secrets of type kubernetes.io/dockerconfigjson.
	ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets,omitempty"`

	// Canary is another version that some exchanges run, or are shown.
	Canary *Canary `json:"canary,omitempty"`
}

// Canary is another version of an entry's plugin, with the entry's own
// configuration and limits. Exactly one of Use and Image is set.
//
// +kubebuilder:validation:XValidation:rule="has(self.use) != has(self.image)",message="exactly one of use and image"
type Canary struct {
	Use   string `json:"use,omitempty"`
	Image string `json:"image,omitempty"`
	// Weight is the percent of exchanges, 0 to 100.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	Weight int32 `json:"weight"`
	// Mode is live: these exchanges run it in the entry's place; or shadow: it is
	// shown copies of them, and its decisions are compared and counted.
	// +kubebuilder:validation:Enum=live;shadow
	Mode string `json:"mode"`
}

// Egress is one destination outside of its namespace that a plugin may call.
type Egress struct {
	// Hostname is a DNS name, or "*.domain" for all names below it. A Service of
	// another namespace is name.namespace.svc.cluster.local.
	Hostname string `json:"hostname"`
	// Ports that may be called; none: any.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:Minimum=1
	// +kubebuilder:validation:items:Maximum=65535
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
//
// +kubebuilder:validation:XValidation:rule="has(self.configMapKeyRef) != has(self.secretKeyRef)",message="exactly one of configMapKeyRef and secretKeyRef"
type ConfigSource struct {
	ConfigMapKeyRef *KeyRef `json:"configMapKeyRef,omitempty"`
	SecretKeyRef    *KeyRef `json:"secretKeyRef,omitempty"`
}

// EnvVar is a variable of the guest's environment: Value or ValueFrom.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.value) && has(self.valueFrom))",message="value or valueFrom, not both"
type EnvVar struct {
	Name      string        `json:"name"`
	Value     string        `json:"value,omitempty"`
	ValueFrom *ConfigSource `json:"valueFrom,omitempty"`
}

// PathMatch is the path of an exception.
type PathMatch struct {
	// Type is Exact, PathPrefix (default) or RegularExpression.
	// +kubebuilder:validation:Enum=Exact;PathPrefix;RegularExpression
	Type string `json:"type,omitempty"`
	// +kubebuilder:validation:MaxLength=1024
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
