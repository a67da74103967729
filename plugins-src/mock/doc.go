// Command mock is a plugin that answers in place of a Service. See README.md.
package main
