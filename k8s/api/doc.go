// Package api is Penstock's own kinds: group penstock.dev, version v1alpha1.
// The entry of a plugin chain is one type, whether it stands in an annotation,
// a PluginChain or a PluginPolicy.
//
// zz_generated.deepcopy.go and the CustomResourceDefinitions in crds/ are made
// of it by make generate.
//
// +kubebuilder:object:generate=true
// +groupName=penstock.dev
// +versionName=v1alpha1
package api
