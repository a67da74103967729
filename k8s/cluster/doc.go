// Package cluster is a source: it watches Kubernetes objects on an API server,
// hands the config that they ask for on, and writes back what became of them.
package cluster
