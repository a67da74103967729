package api

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// CachePurge removes stored responses of the Services of its namespace, once, on every
// proxy. It is never changed: another purge is another object. One that is completed
// can be deleted by whoever made it; nobody else does.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=cpurge,categories=penstock
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name="Completed",type=string,JSONPath=`.status.conditions[?(@.type=="Completed")].status`
// +kubebuilder:printcolumn:name="Removed",type=integer,JSONPath=`.status.removed`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type CachePurge struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// Spec is what is removed.
	Spec CachePurgeSpec `json:"spec"`
	// Status says which proxies have done it.
	Status CachePurgeStatus `json:"status,omitempty"`
}

// CachePurgeList is a list of CachePurges.
//
// +kubebuilder:object:root=true
type CachePurgeList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []CachePurge `json:"items"`
}

// CachePurgeSpec is the body of a CachePurge: a stored response goes if any of it
// names it.
//
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a purge is never changed: make another one"
// +kubebuilder:validation:XValidation:rule="[has(self.urls) && size(self.urls) > 0, has(self.prefixes) && size(self.prefixes) > 0, has(self.hostnames) && size(self.hostnames) > 0, has(self.tags) && size(self.tags) > 0].exists(x, x)",message="empty: want urls, prefixes, hostnames or tags"
type CachePurgeSpec struct {
	// URLs are absolute, http or https, with their query: all stored responses of each,
	// whatever else their keys hold.
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=2048
	// +kubebuilder:validation:items:XValidation:rule="isURL(self) && url(self).getScheme() in ['http', 'https'] && url(self).getHostname() != '' && !self.contains('#') && self.matches('^[!-~]*$')",message="want an absolute URL of http or https without a fragment"
	URLs []string `json:"urls,omitempty"`
	// Prefixes are absolute URLs without a query: all URLs whose path is theirs, or
	// continues it after a slash.
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=2048
	// +kubebuilder:validation:items:XValidation:rule="isURL(self) && url(self).getScheme() in ['http', 'https'] && url(self).getHostname() != '' && !self.contains('#') && !self.contains('?') && self.matches('^[!-~]*$')",message="want an absolute URL of http or https without a query or fragment"
	Prefixes []string `json:"prefixes,omitempty"`
	// Hostnames are names without wildcards, in lower case: all URLs of each.
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?([.][a-z0-9]([a-z0-9-]*[a-z0-9])?)*$')",message="want a hostname in lower case, without a wildcard"
	Hostnames []string `json:"hostnames,omitempty"`
	// Tags are those that responses named in Surrogate-Key or Cache-Tag.
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^[!-+.-~-]+$')",message="want a tag: visible characters without spaces and commas"
	Tags []string `json:"tags,omitempty"`
	// Soft makes them stale in place of removing them: what may serve stale
	// (staleWhileRevalidate, staleIfError) does.
	Soft bool `json:"soft,omitempty"`
}

// CachePurgeStatus says which proxies have done a purge.
type CachePurgeStatus struct {
	// ObservedGeneration is the generation that this is about.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Conditions are Accepted, and Completed once all proxies that take traffic have
	// done it.
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Proxies are those that have done it or are to, by name; more than 128 are counted
	// alone.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=128
	Proxies []CachePurgeProxy `json:"proxies,omitempty"`
	// Removed is the number of stored responses that all of Proxies removed, or made
	// stale.
	Removed int64 `json:"removed"`
}

// CachePurgeProxy is a purge on one proxy.
type CachePurgeProxy struct {
	// Name of the proxy: its Pod's.
	Name string `json:"name"`
	// State is Pending, Done or Failed.
	// +kubebuilder:validation:Enum=Pending;Done;Failed
	State string `json:"state"`
	// Removed is the number of stored responses that it removed, or made stale.
	Removed int64 `json:"removed"`
	// Message says why it failed.
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
	// Time when it was told that it is in this state.
	Time metav1.Time `json:"time"`
}

// ConditionCompleted says of a CachePurge that all proxies have done it.
const ConditionCompleted = "Completed"

// The states of a CachePurgeProxy.
const (
	PurgePending = "Pending"
	PurgeDone    = "Done"
	PurgeFailed  = "Failed"
)
