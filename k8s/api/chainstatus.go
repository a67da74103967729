package api

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ChainStatus says what runs for one object that has a chain. It is written by
// Penstock, lies in that object's namespace and is owned by it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=chainstatuses,shortName=chst,categories=penstock
// +kubebuilder:printcolumn:name="Target",type=string,JSONPath=`.target.name`
// +kubebuilder:printcolumn:name="Kind",type=string,JSONPath=`.target.kind`
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.controllers[0].conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name="Programmed",type=string,JSONPath=`.status.controllers[0].conditions[?(@.type=="Programmed")].status`
// +kubebuilder:printcolumn:name="Proxies",type=string,JSONPath=`.status.controllers[0].proxies`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.controllers[0].conditions[?(@.type=="Programmed")].reason`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type ChainStatus struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// Target is the object whose chain it is about.
	Target ChainTarget `json:"target"`
	// Status is what runs.
	Status ChainStatusState `json:"status,omitempty"`
}

// ChainStatusList is a list of ChainStatuses.
//
// +kubebuilder:object:root=true
type ChainStatusList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ChainStatus `json:"items"`
}

// ChainTarget names an object of the same namespace.
type ChainTarget struct {
	// Group of its kind; empty: core.
	Group string `json:"group,omitempty"`
	// Kind of the object.
	Kind string `json:"kind"`
	// Name of the object.
	Name string `json:"name"`
}

// ChainStatusState is what the controllers that serve the object say of it.
type ChainStatusState struct {
	// Controllers has one entry for each controller.
	// +listType=map
	// +listMapKey=controllerName
	// +kubebuilder:validation:MaxItems=16
	Controllers []ChainController `json:"controllers,omitempty"`
}

// ChainController is what one controller says of a chain.
type ChainController struct {
	// ControllerName is who says it.
	ControllerName string `json:"controllerName"`
	// ObservedHash is of the text of the annotation penstock.dev/plugins that this
	// is about: the first 16 hexadecimal digits of its SHA-256. Services have no
	// generation. Empty: the object has none, and all its filters are others'.
	ObservedHash string `json:"observedHash,omitempty"`
	// Conditions are Accepted, ResolvedRefs, Programmed (all ready proxies run it)
	// and Degraded.
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Proxies is "ready/all": how many run it.
	Proxies string `json:"proxies,omitempty"`
	// Filters of the chain, outermost first.
	Filters []ChainFilter `json:"filters,omitempty"`
}

// ChainFilter is one filter of a chain, outermost first.
type ChainFilter struct {
	// Name is part/name: "policy/waf", "service/waf".
	Name string `json:"name"`
	// Origin is who declares it.
	Origin ChainOrigin `json:"origin"`
	// Hash is of the entry that declares it, without what it refers to.
	Hash string `json:"hash,omitempty"`
	// Image is what is named.
	Image string `json:"image,omitempty"`
	// Digest is what runs, "sha256:...".
	Digest string `json:"digest,omitempty"`
	// State is Ready, Pulling, Compiling, Failed, Quarantined or RolledBack; empty: not
	// known yet.
	State string `json:"state,omitempty"`
	// Reason of the state, one word.
	Reason string `json:"reason,omitempty"`
	// Message says it to people.
	Message string `json:"message,omitempty"`
	// Since when it is in this state.
	Since *metav1.Time `json:"since,omitempty"`
	// RolledBack is what was left, of a filter whose State is RolledBack: Digest is what
	// runs in its place, on all proxies.
	RolledBack *ChainRollBack `json:"rolledBack,omitempty"`
}

// ChainRollBack is a form of a filter that is not to run, since its calls failed soon
// after it came. It is over once the filter's entry or digest is another one.
type ChainRollBack struct {
	// Digest is of the image that was left, "sha256:...".
	Digest string `json:"digest"`
	// To is the hash of the entry that runs in its place; the same as the filter's: the
	// tag of its image pointed to another digest.
	To string `json:"to"`
}

// ChainOrigin is who declares a filter.
type ChainOrigin struct {
	// Kind of the object.
	Kind string `json:"kind"`
	// Namespace of the object; empty: its kind has none.
	Namespace string `json:"namespace,omitempty"`
	// Name of the object.
	Name string `json:"name"`
	// Plugin is the catalogue entry, "Plugin/name", "bundled/name" or "native/cache",
	// and Version its version; empty: the object names an image.
	Plugin string `json:"plugin,omitempty"`
	// Version of the catalogue entry.
	Version string `json:"version,omitempty"`
}

// The condition types of a ChainStatus.
const (
	ConditionAccepted     = "Accepted"
	ConditionResolvedRefs = "ResolvedRefs"
	ConditionProgrammed   = "Programmed"
	ConditionDegraded     = "Degraded"
)
