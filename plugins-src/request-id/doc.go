// Command request-id is a plugin that gives each request a name, and a place in a trace. See
// README.md.
package main
