// Command key-auth is a plugin that lets a request pass only with a known API
// key, and says whose key it is. See README.md.
package main
