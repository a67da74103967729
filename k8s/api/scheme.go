package api

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is that of the kinds of this package.
var GroupVersion = schema.GroupVersion{Group: Group, Version: Version}

// AddToScheme registers the kinds of this package.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion,
		&PluginPolicy{}, &PluginPolicyList{}, &Plugin{}, &PluginList{}, &PluginChain{}, &PluginChainList{}, &ProxyParameters{}, &ProxyParametersList{},
		&ChainStatus{}, &ChainStatusList{}, &CachePurge{}, &CachePurgeList{}, &Consumer{}, &ConsumerList{},
	)
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}

// ObjectStatus is the status of a kind that has conditions alone.
type ObjectStatus struct {
	// Conditions say what became of the object.
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// PluginPolicyList is a list of PluginPolicies.
//
// +kubebuilder:object:root=true
type PluginPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []PluginPolicy `json:"items"`
}

// PluginList is a list of Plugins.
//
// +kubebuilder:object:root=true
type PluginList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Plugin `json:"items"`
}

// PluginChainList is a list of PluginChains.
//
// +kubebuilder:object:root=true
type PluginChainList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []PluginChain `json:"items"`
}

// ProxyParametersList is a list of ProxyParameters.
//
// +kubebuilder:object:root=true
type ProxyParametersList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ProxyParameters `json:"items"`
}
