// Command waf is a plugin that refuses requests that look like an attack: the
// OWASP Core Rule Set on the Coraza engine. See README.md.
package main
