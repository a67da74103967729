package api

import (
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// PluginPolicy says what runs in the namespaces that it selects. Cluster scope.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=pp,categories=penstock
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].reason`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type PluginPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// Spec is what runs, and what may.
	Spec PluginPolicySpec `json:"spec"`
	// Status says whether it is applied.
	Status ObjectStatus `json:"status,omitempty"`
}

// PluginPolicySpec is the body of a PluginPolicy.
type PluginPolicySpec struct {
	// NamespaceSelector selects namespaces by their labels; {} is all. Policies that
	// select the same one combine: the strictest holds.
	NamespaceSelector metav1.LabelSelector `json:"namespaceSelector"`
	// Overrides run whatever others declare.
	Overrides Overrides `json:"overrides,omitempty"`
	// Defaults are for objects that say nothing themselves.
	Defaults PolicyDefaults `json:"defaults,omitempty"`
	// Require names guards without which a Service is refused.
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=63
	Require []string `json:"require,omitempty"`
	// Images that match a prefix must satisfy every rule that matches.
	// +kubebuilder:validation:MaxItems=256
	Images []ImageRule `json:"images,omitempty"`
	// DeniedDigests never run, whatever names them: "sha256:" and 64 hexadecimal digits.
	// +kubebuilder:validation:MaxItems=1024
	// +kubebuilder:validation:items:MaxLength=71
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^sha256:[0-9a-f]{64}$')",message="want sha256: and 64 hexadecimal digits in lower case"
	DeniedDigests []string `json:"deniedDigests,omitempty"`
	// Capabilities that image entries get, if their manifest asks for them.
	// +kubebuilder:validation:MaxItems=7
	// +kubebuilder:validation:items:Enum=consumer;http-call;cache;kv;ratelimit;crypto;redis;compress
	Capabilities []string `json:"capabilities,omitempty"`
	// Egress is what image entries may call beside their namespace's Services.
	// +kubebuilder:validation:MaxItems=256
	Egress []Egress `json:"egress,omitempty"`
	// Limits of filters, and of all filters of a namespace together.
	Limits PolicyLimits `json:"limits,omitempty"`
	// AllowExternalName admits EndpointSlices that name what is no Pod of their
	// namespace; every policy that selects it has to say so. A Service of type
	// ExternalName is not supported yet. No matter for a folder of files.
	AllowExternalName bool `json:"allowExternalName,omitempty"`
}

// PolicyDefaults is what objects get that say nothing themselves.
type PolicyDefaults struct {
	// Plugins is the list of Services without the annotation penstock.dev/plugins;
	// "[]" there opts out. References resolve in the install namespace; of several
	// policies all lists run, in the order of their names.
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:XValidation:rule="!has(self.ports) && !has(self.listeners)",message="ports are for a Service's annotation, listeners for a Gateway's"
	Plugins []Entry `json:"plugins,omitempty"`
}

// Overrides are mandatory filters around what others declare.
type Overrides struct {
	// Before runs before all others.
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:XValidation:rule="!has(self.ports) && !has(self.listeners)",message="ports are for a Service's annotation, listeners for a Gateway's"
	Before []Entry `json:"before,omitempty"`
	// After runs after all others.
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:XValidation:rule="!has(self.ports) && !has(self.listeners)",message="ports are for a Service's annotation, listeners for a Gateway's"
	After []Entry `json:"after,omitempty"`
}

// ImageRule admits images under a prefix.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.signedBy) && size(self.signedBy) > 0 && has(self.unsigned) && self.unsigned)",message="both signedBy and unsigned: want one"
type ImageRule struct {
	// Prefix is registry[/path], matched in whole path segments.
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^[^/A-Z]+(/[^/A-Z]+)*$') && !self.contains('://')",message="want registry[/path] in lower case, without a scheme and without a slash at its end"
	Prefix string `json:"prefix"`
	// SignedBy are keys, one of which must have signed an image.
	// +kubebuilder:validation:MaxItems=16
	SignedBy []PublicKey `json:"signedBy,omitempty"`
	// Unsigned admits images that nobody signed.
	Unsigned bool `json:"unsigned,omitempty"`
	// AllowTags admits images that are named by tag, not by digest.
	AllowTags bool `json:"allowTags,omitempty"`
}

// PublicKey verifies signatures, in PEM.
type PublicKey struct {
	// PublicKey is a block of type PUBLIC KEY.
	// +kubebuilder:validation:MaxLength=4096
	// +kubebuilder:validation:Pattern=`-----BEGIN PUBLIC KEY-----`
	PublicKey string `json:"publicKey"`
}

// PolicyLimits are defaults and maxima of a filter's limits, and what all
// filters of a namespace may take together.
type PolicyLimits struct {
	// Defaults are the limits of filters that set none.
	Defaults *Limits `json:"defaults,omitempty"`
	// Maxima are the most that a filter may set.
	Maxima *Limits `json:"maxima,omitempty"`
	// Totals are of all filters of a namespace together.
	Totals *Totals `json:"totals,omitempty"`
}

// Totals bound what the filters that the objects of one namespace declare take
// together; those of overrides and defaults do not count. Of several policies
// the smallest value holds. One that no policy names has its default.
type Totals struct {
	// Filters is the number of configured filters, 0 to 100000; default 10000.
	// Those that were there first stay; the part with the one too many is refused.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100000
	Filters *int32 `json:"filters,omitempty"`
	// Memory is the linear memory of all instances, 1Mi to 1Ti; default 4Gi.
	// Beyond: no new instance, and the guests' memory.grow fails.
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9]+(Ki|Mi|Gi|k|M|G)?$') && quantity(self).compareTo(quantity('1Mi')) >= 0 && quantity(self).compareTo(quantity('1024Gi')) <= 0",message="want a size from 1Mi to 1024Gi"
	Memory string `json:"memory,omitempty"`
	// CPUShare is the percent of one core, 1 to 10000, in steps at the fixed rate,
	// over 10 seconds; default 1600. Beyond: an exchange waits for a second at most
	// before its next filter, then meets 503 with Retry-After, or onError: skip.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	CPUShare *int32 `json:"cpuShare,omitempty"`
	// CompilesPerHour is the number of cold compiles within any hour, 0 to 10000;
	// default 120. Beyond: the filter waits, and what ran before it goes on.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000
	CompilesPerHour *int32 `json:"compilesPerHour,omitempty"`
	// ModuleSize is the size of one module, 1Ki to 64Mi, the default.
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9]+(Ki|Mi|Gi|k|M|G)?$') && quantity(self).compareTo(quantity('1Ki')) >= 0 && quantity(self).compareTo(quantity('64Mi')) <= 0",message="want a size from 1Ki to 64Mi"
	ModuleSize string `json:"moduleSize,omitempty"`
	// MetricSeries is the number of series that guests define, 0 to 100000;
	// default 10000. A histogram counts as 19. Beyond: defining one fails.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100000
	MetricSeries *int32 `json:"metricSeries,omitempty"`
}

// Plugin is a catalogue entry. Cluster scope. No one replaces the response cache, which
// is no plugin.
//
// +kubebuilder:validation:XValidation:rule="self.metadata.name != 'cache'",message="metadata.name: cache is the response cache: want another name"
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,categories=penstock
// +kubebuilder:printcolumn:name="Default",type=string,JSONPath=`.spec.defaultVersion`
// +kubebuilder:printcolumn:name="Guard",type=boolean,JSONPath=`.spec.guard`
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name="Description",type=string,JSONPath=`.spec.description`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Plugin struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// Spec is what "use: name" means.
	Spec PluginSpec `json:"spec"`
	// Status says whether it can be used.
	Status ObjectStatus `json:"status,omitempty"`
}

// PluginSpec is the body of a Plugin.
//
// +kubebuilder:validation:XValidation:rule="!has(self.defaultVersion) || self.versions.exists(v, v.name == self.defaultVersion)",message="defaultVersion: no such version"
// +kubebuilder:validation:XValidation:rule="!(has(self.guard) && self.guard && has(self.onError) && self.onError == 'skip')",message="onError: a guard never skips"
type PluginSpec struct {
	// Versions of the plugin.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +listType=map
	// +listMapKey=name
	Versions []PluginVersion `json:"versions"`
	// DefaultVersion is used by "use: name"; empty: the first.
	// +kubebuilder:validation:MaxLength=6
	DefaultVersion string `json:"defaultVersion,omitempty"`
	// Config is for entries without their own.
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Config json.RawMessage `json:"config,omitempty"`
	// Limits are for entries without their own.
	Limits *Limits `json:"limits,omitempty"`
	// OnError is for entries without their own: reject (default) or skip.
	// +kubebuilder:validation:Enum=reject;skip
	OnError string `json:"onError,omitempty"`
	// Guard: its absence grants access, so it never skips and never rolls back.
	Guard bool `json:"guard,omitempty"`
	// Capabilities that it gets.
	// +kubebuilder:validation:MaxItems=7
	// +kubebuilder:validation:items:Enum=consumer;http-call;cache;kv;ratelimit;crypto;redis;compress
	Capabilities []string `json:"capabilities,omitempty"`
	// Description is for people.
	Description string `json:"description,omitempty"`
	// RootID chooses the plugin's root context (Proxy-Wasm).
	// +kubebuilder:validation:MaxLength=253
	RootID string `json:"rootId,omitempty"`
	// Egress is what the plugin may call beside the Services of its namespace.
	// +kubebuilder:validation:MaxItems=256
	Egress []Egress `json:"egress,omitempty"`
}

// PluginVersion is one version of a Plugin: a major number and its image.
type PluginVersion struct {
	// Name is the major number, 1 to 6 digits.
	// +kubebuilder:validation:MaxLength=6
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9]{1,6}$')",message="want a major number of 1 to 6 digits"
	Name string `json:"name"`
	// Image is registry/repository[:tag][@sha256:digest], without a scheme.
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="!self.contains('://') && self.matches('^[^/]+/.*[^/]$') && self.matches(':[A-Za-z0-9_][A-Za-z0-9._-]*$|@sha256:[0-9a-f]{64}$')",message="want registry/repository[:tag][@sha256:digest], without a scheme, and with a tag or digest"
	Image string `json:"image"`
}

// PluginChain is a named chain that others put in place. Namespace scope.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=pch,categories=penstock
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type PluginChain struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// Spec is the chain.
	Spec PluginChainSpec `json:"spec"`
	// Status says whether it can be put in place.
	Status ObjectStatus `json:"status,omitempty"`
}

// PluginChainSpec is the body of a PluginChain.
type PluginChainSpec struct {
	// Plugins are entries with a name each.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	Plugins []NamedEntry `json:"plugins"`
}

// NamedEntry is an entry whose name is not left to a default.
//
// +kubebuilder:validation:XValidation:rule="!has(self.ports) && !has(self.listeners)",message="ports are for a Service's annotation, listeners for a Gateway's"
// +kubebuilder:validation:XValidation:rule="!has(self.chain)",message="chain: a PluginChain holds no other"
type NamedEntry struct {
	Entry `json:",inline"`
	// Name is a DNS label, unique in its part.
	Name string `json:"name"`
}

// Entries returns the plugins of the chain.
func (c *PluginChain) Entries() []Entry {
	list := make([]Entry, len(c.Spec.Plugins))
	for i := range c.Spec.Plugins {
		list[i] = c.Spec.Plugins[i].Entry
		list[i].Name = c.Spec.Plugins[i].Name
	}
	return list
}
