// Package gatewayapi runs Gateway API's conformance suite, unmodified, against
// Penstock, which runs in a testbed as k8s/manifests deploy it.
package gatewayapi
