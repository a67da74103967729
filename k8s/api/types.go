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
	Spec              PluginPolicySpec `json:"spec"`
	Status            ObjectStatus     `json:"status,omitempty"`
}

// PluginPolicySpec is the body of a PluginPolicy.
type PluginPolicySpec struct {
	NamespaceSelector metav1.LabelSelector `json:"namespaceSelector"`
	Overrides         Overrides            `json:"overrides,omitempty"`
	Defaults          PolicyDefaults       `json:"defaults,omitempty"`
	// Require names guards without which a Service is refused.
	Require []string `json:"require,omitempty"`
	// Images that match a prefix must satisfy every rule that matches.
	Images        []ImageRule `json:"images,omitempty"`
	DeniedDigests []string    `json:"deniedDigests,omitempty"`
	Capabilities  []string    `json:"capabilities,omitempty"`
	// Egress is what image entries may call beside their namespace's Services.
	Egress []Egress     `json:"egress,omitempty"`
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
	Plugins []Entry `json:"plugins,omitempty"`
}

// Overrides are mandatory filters around what others declare.
type Overrides struct {
	// +kubebuilder:validation:MaxItems=32
	Before []Entry `json:"before,omitempty"`
	// +kubebuilder:validation:MaxItems=32
	After []Entry `json:"after,omitempty"`
}

// ImageRule admits images under a prefix.
type ImageRule struct {
	// Prefix is registry[/path], matched in whole path segments.
	Prefix    string      `json:"prefix"`
	SignedBy  []PublicKey `json:"signedBy,omitempty"`
	Unsigned  bool        `json:"unsigned,omitempty"`
	AllowTags bool        `json:"allowTags,omitempty"`
}

// PublicKey verifies signatures, in PEM.
type PublicKey struct {
	PublicKey string `json:"publicKey"`
}

// PolicyLimits are defaults and maxima of a filter's limits, and what all
// filters of a namespace may take together.
type PolicyLimits struct {
	Defaults *Limits `json:"defaults,omitempty"`
	Maxima   *Limits `json:"maxima,omitempty"`
	Totals   *Totals `json:"totals,omitempty"`
}

// Totals bound what the filters that the objects of one namespace declare take
// together; those of overrides and defaults do not count. Of several policies
// the smallest value holds. One that no policy names has its default.
type Totals struct {
	// Filters is the number of configured filters, 0 to 100000; default 10000.
	// Those that were there first stay; the part with the one too many is refused.
	Filters *int32 `json:"filters,omitempty"`
	// Memory is the linear memory of all instances, 1Mi to 1Ti; default 4Gi.
	// Beyond: no new instance, and the guests' memory.grow fails.
	Memory string `json:"memory,omitempty"`
	// CPUShare is the percent of one core, 1 to 10000, in steps at the fixed rate,
	// over 10 seconds; default 1600. Beyond: an exchange waits for a second at most
	// before its next filter, then meets 503 with Retry-After, or onError: skip.
	CPUShare *int32 `json:"cpuShare,omitempty"`
	// CompilesPerHour is the number of cold compiles within any hour, 0 to 10000;
	// default 120. Beyond: the filter waits, and what ran before it goes on.
	CompilesPerHour *int32 `json:"compilesPerHour,omitempty"`
	// ModuleSize is the size of one module, 1Ki to 64Mi, the default.
	ModuleSize string `json:"moduleSize,omitempty"`
	// MetricSeries is the number of series that guests define, 0 to 100000;
	// default 10000. A histogram counts as 19. Beyond: defining one fails.
	MetricSeries *int32 `json:"metricSeries,omitempty"`
}

// Plugin is a catalogue entry. Cluster scope.
//
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
	Spec              PluginSpec   `json:"spec"`
	Status            ObjectStatus `json:"status,omitempty"`
}

// PluginSpec is the body of a Plugin.
type PluginSpec struct {
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +listType=map
	// +listMapKey=name
	Versions []PluginVersion `json:"versions"`
	// DefaultVersion is used by "use: name"; empty: the first.
	DefaultVersion string `json:"defaultVersion,omitempty"`
	// Config is for entries without their own.
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Config json.RawMessage `json:"config,omitempty"`
	Limits *Limits         `json:"limits,omitempty"`
	// +kubebuilder:validation:Enum=reject;skip
	OnError      string   `json:"onError,omitempty"`
	Guard        bool     `json:"guard,omitempty"`
	Capabilities []string `json:"capabilities,omitempty"`
	Description  string   `json:"description,omitempty"`
	// RootID chooses the plugin's root context (Proxy-Wasm).
	RootID string `json:"rootId,omitempty"`
	// Egress is what the plugin may call beside the Services of its namespace.
	Egress []Egress `json:"egress,omitempty"`
}

// PluginVersion is one version of a Plugin: a major number and its image.
type PluginVersion struct {
	// +kubebuilder:validation:Pattern=`^[0-9]{1,6}$`
	Name  string `json:"name"`
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
	Spec              PluginChainSpec `json:"spec"`
	Status            ObjectStatus    `json:"status,omitempty"`
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
