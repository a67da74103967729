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
	// Use is a catalogue entry: name or name@major; or cache, the response cache.
	// +kubebuilder:validation:MaxLength=80
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(@[0-9]{1,6})?$')",message="want name or name@major"
	Use string `json:"use,omitempty"`
	// Image is registry/repository[:tag][@sha256:digest], without a scheme.
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="!self.contains('://') && self.matches('^[^/]+/.*[^/]$') && self.matches(':[A-Za-z0-9_][A-Za-z0-9._-]*$|@sha256:[0-9a-f]{64}$')",message="want registry/repository[:tag][@sha256:digest], without a scheme, and with a tag or digest"
	Image string `json:"image,omitempty"`
	// Chain is a PluginChain of the same namespace, put in place.
	// +kubebuilder:validation:MaxLength=253
	Chain string `json:"chain,omitempty"`

	// Name is a DNS label, unique in its part; default: the catalogue name, or
	// the last path segment of the image.
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$')",message="want a DNS label"
	Name string `json:"name,omitempty"`
	// Config is any JSON value; a string reaches the plugin as it is.
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Config json.RawMessage `json:"config,omitempty"`
	// ConfigFrom adds keys of ConfigMaps and Secrets to Config: each value is one JSON
	// or YAML mapping. The same top-level key twice is an error.
	// +kubebuilder:validation:MaxItems=64
	ConfigFrom []ConfigSource `json:"configFrom,omitempty"`
	// Env is the guest's environment.
	// +kubebuilder:validation:MaxItems=64
	Env []EnvVar `json:"env,omitempty"`
	// Except are requests that skip this entry.
	// +kubebuilder:validation:MaxItems=64
	Except []Except `json:"except,omitempty"`
	// Ports are names of Service ports; Service only.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=63
	Ports []string `json:"ports,omitempty"`
	// Listeners are listener names; Gateway only.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=253
	Listeners []string `json:"listeners,omitempty"`
	// OnError is what a trap or an exceeded limit does: reject (default) answers 500,
	// skip leaves the filter out for the rest of the exchange. A guard never skips.
	// +kubebuilder:validation:Enum=reject;skip
	OnError string `json:"onError,omitempty"`
	// Limits of one instance; default: the policy's, or those of each field.
	Limits *Limits `json:"limits,omitempty"`

	// RootID chooses the plugin's root context (Proxy-Wasm).
	// +kubebuilder:validation:MaxLength=253
	RootID string `json:"rootId,omitempty"`
	// VMID names the state that filters of a namespace share; default: the filter's own.
	// +kubebuilder:validation:MaxLength=253
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
	// +kubebuilder:validation:MaxItems=64
	ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets,omitempty"`

	// Canary is another version that some exchanges run, or are shown.
	Canary *Canary `json:"canary,omitempty"`
}

// Canary is another version of an entry's plugin, with the entry's own
// configuration and limits. Exactly one of Use and Image is set.
//
// +kubebuilder:validation:XValidation:rule="has(self.use) != has(self.image)",message="exactly one of use and image"
type Canary struct {
	// Use is a catalogue entry: name or name@major.
	// +kubebuilder:validation:MaxLength=80
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(@[0-9]{1,6})?$')",message="want name or name@major"
	Use string `json:"use,omitempty"`
	// Image is registry/repository[:tag][@sha256:digest], without a scheme.
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="!self.contains('://') && self.matches('^[^/]+/.*[^/]$') && self.matches(':[A-Za-z0-9_][A-Za-z0-9._-]*$|@sha256:[0-9a-f]{64}$')",message="want registry/repository[:tag][@sha256:digest], without a scheme, and with a tag or digest"
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
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^([*][.])?[a-z0-9]([a-z0-9-]*[a-z0-9])?([.][a-z0-9]([a-z0-9-]*[a-z0-9])?)*$')",message="want a DNS name in lower case, or *.domain"
	Hostname string `json:"hostname"`
	// Ports that may be called; none: any.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:Minimum=1
	// +kubebuilder:validation:items:Maximum=65535
	Ports []int32 `json:"ports,omitempty"`
	// CACertificate is a ConfigMap of the install namespace: its key ca.crt holds who
	// must vouch for the certificates there, in PEM; default: the system's authorities.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`
	CACertificate string `json:"caCertificate,omitempty"`
}

// KeyRef names a key of a ConfigMap or Secret of the same namespace.
type KeyRef struct {
	// Name of the object.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`
	Name string `json:"name"`
	// Key of its data.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[-._a-zA-Z0-9]+$`
	Key string `json:"key"`
	// Optional: it is no fault if there is no such object or key.
	Optional bool `json:"optional,omitempty"`
}

// ConfigSource is one mapping whose top-level keys are added to Config.
// Exactly one is set.
//
// +kubebuilder:validation:XValidation:rule="has(self.configMapKeyRef) != has(self.secretKeyRef)",message="exactly one of configMapKeyRef and secretKeyRef"
type ConfigSource struct {
	// ConfigMapKeyRef names a key of a ConfigMap.
	ConfigMapKeyRef *KeyRef `json:"configMapKeyRef,omitempty"`
	// SecretKeyRef names a key of a Secret. One that plugins read carries the label
	// penstock.dev/plugin-secret: "true".
	SecretKeyRef *KeyRef `json:"secretKeyRef,omitempty"`
}

// EnvVar is a variable of the guest's environment: Value or ValueFrom.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.value) && has(self.valueFrom))",message="value or valueFrom, not both"
type EnvVar struct {
	// Name of the variable.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[A-Za-z_][A-Za-z0-9_.-]*$`
	Name string `json:"name"`
	// Value is its text.
	Value string `json:"value,omitempty"`
	// ValueFrom is where its text is.
	ValueFrom *ConfigSource `json:"valueFrom,omitempty"`
}

// PathMatch is the path of an exception.
//
// +kubebuilder:validation:XValidation:rule="has(self.type) && self.type == 'RegularExpression' || self.value.startsWith('/')",message="value: want a path that starts with /"
type PathMatch struct {
	// Type is Exact, PathPrefix (default) or RegularExpression.
	// +kubebuilder:validation:Enum=Exact;PathPrefix;RegularExpression
	Type string `json:"type,omitempty"`
	// Value is compared with the normalised path.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Value string `json:"value"`
}

// Except is requests that skip the entry.
type Except struct {
	// Path of the requests.
	Path PathMatch `json:"path"`
	// Methods of the requests, in upper case; none: any.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=32
	// +kubebuilder:validation:items:Pattern=`^[A-Z]+$`
	Methods []string `json:"methods,omitempty"`
}

// Limits of a filter: durations as "20ms", sizes as "64Mi".
type Limits struct {
	// CPUTime of one guest call after start, 100us to 1s; default 20ms. It is steps at
	// a fixed rate, the same on every machine.
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ns|us|µs|ms|s|m|h))+$') && duration(self) >= duration('100us') && duration(self) <= duration('1s')",message="want a duration from 100us to 1s"
	CPUTime string `json:"cpuTime,omitempty"`
	// CPUTimeExchange of all calls in one exchange, 100us to 10s; default 100ms.
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ns|us|µs|ms|s|m|h))+$') && duration(self) >= duration('100us') && duration(self) <= duration('10s')",message="want a duration from 100us to 10s"
	CPUTimeExchange string `json:"cpuTimeExchange,omitempty"`
	// CPUTimeStart of an instance's start and configuration together, 10ms to 30s;
	// default 5s.
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ns|us|µs|ms|s|m|h))+$') && duration(self) >= duration('10ms') && duration(self) <= duration('30s')",message="want a duration from 10ms to 30s"
	CPUTimeStart string `json:"cpuTimeStart,omitempty"`
	// Memory is the linear memory of one instance, 1Mi to 1Gi; default 64Mi.
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9]+(Ki|Mi|Gi|k|M|G)?$') && quantity(self).compareTo(quantity('1Mi')) >= 0 && quantity(self).compareTo(quantity('1Gi')) <= 0",message="want a size from 1Mi to 1Gi"
	Memory string `json:"memory,omitempty"`
	// Body is what it may hold back of one body, 0 to 64Mi; default 1Mi. Beyond: 413 on
	// the request, 502 on the response.
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9]+(Ki|Mi|Gi|k|M|G)?$') && quantity(self).compareTo(quantity('0')) >= 0 && quantity(self).compareTo(quantity('64Mi')) <= 0",message="want a size from 0 to 64Mi"
	Body string `json:"body,omitempty"`
}
