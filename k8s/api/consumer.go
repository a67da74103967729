package api

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// LabelCredential marks a Secret of a Consumer; its value is the type of the credential,
// one of CredentialKeyAuth, CredentialBasicAuth, CredentialJWT and CredentialMTLSAuth.
const LabelCredential = "penstock.dev/credential"

// The types of credentials. Each is the name of the plugin that looks it up.
const (
	CredentialKeyAuth   = "key-auth"
	CredentialBasicAuth = "basic-auth"
	CredentialJWT       = "jwt"
	CredentialMTLSAuth  = "mtls-auth"
)

// Bounds of a Consumer.
const (
	MaxConsumerGroups      = 64
	MaxConsumerCredentials = 16
	// MaxConsumerText is how long a username or a group may be, in bytes.
	MaxConsumerText = 253
)

// Consumer is who credentials belong to: a person or a program that calls Services of
// its namespace. Plugins that authenticate find it by what a request shows.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=penstock
// +kubebuilder:printcolumn:name="Username",type=string,JSONPath=`.spec.username`
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name="Credentials",type=string,JSONPath=`.status.conditions[?(@.type=="ResolvedRefs")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Consumer struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// Spec is who it is.
	Spec ConsumerSpec `json:"spec,omitempty"`
	// Status says whether it can be found, and by which credentials.
	Status ObjectStatus `json:"status,omitempty"`
}

// ConsumerList is a list of Consumers.
//
// +kubebuilder:object:root=true
type ConsumerList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Consumer `json:"items"`
}

// ConsumerSpec is the body of a Consumer.
type ConsumerSpec struct {
	// Username is what X-Consumer-Username, the access log and other plugins see; default:
	// the object's name. Of two Consumers of a namespace with one username the older one
	// has it.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[!#-+.-~-]+$')",message="want visible ASCII characters without spaces, commas and quotes"
	Username string `json:"username,omitempty"`
	// Groups are what it belongs to, for X-Consumer-Groups and for plugins that decide by
	// groups.
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^[!#-+.-~-]+$')",message="want visible ASCII characters without spaces, commas and quotes"
	Groups []string `json:"groups,omitempty"`
	// Credentials are Secrets of its namespace that carry the label
	// penstock.dev/credential: key-auth, basic-auth, jwt or mtls-auth.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Credentials []CredentialRef `json:"credentials,omitempty"`
	// Plugins run once it is known that this Consumer has sent a request: right behind the
	// plugin that has found it, before all that come after that one.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	Plugins []ConsumerEntry `json:"plugins,omitempty"`
}

// ConsumerEntry is an entry whose name is not left to a default.
//
// +kubebuilder:validation:XValidation:rule="!has(self.ports) && !has(self.listeners)",message="ports are for a Service's annotation, listeners for a Gateway's"
type ConsumerEntry struct {
	Entry `json:",inline"`
	// Name is a DNS label, unique in its part.
	Name string `json:"name"`
}

// Entries returns the plugins.
func (c *Consumer) Entries() []Entry {
	list := make([]Entry, len(c.Spec.Plugins))
	for i := range c.Spec.Plugins {
		list[i] = c.Spec.Plugins[i].Entry
		list[i].Name = c.Spec.Plugins[i].Name
	}
	return list
}

// CredentialRef names a Secret.
type CredentialRef struct {
	// Name of the Secret.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}
