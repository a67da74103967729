// Package check runs `penstock check` on folders whose plugins are wrong.
package check
