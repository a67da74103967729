// Package certs holds certificates and chooses the one that a client is shown.
package certs
