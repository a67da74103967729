// Package files is a source: it reads Kubernetes objects from a folder of YAML
// files, does what the API server would do with them, and hands the config on
// whenever it changes.
package files
