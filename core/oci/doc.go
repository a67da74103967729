// Package oci finds plugin images: it resolves a reference, pulls from a
// registry or reads an OCI layout folder, checks digests and sizes, and keeps
// what it fetched by digest, so that a restart needs no network. It is the only
// owner of the registry client.
package oci
