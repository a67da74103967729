// Package api is Penstock's own kinds: group penstock.dev, version v1alpha1.
// The entry of a plugin chain is one type, whether it stands in an annotation,
// a PluginChain or a PluginPolicy.
package api
