// Package oidc tests the bundled plugin oidc in the binary: with a provider that lies, and with
// dex and a browser.
package oidc
