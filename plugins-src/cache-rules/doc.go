// Command cache-rules is a plugin that tells the response cache after it, by rules for
// paths, what to store for how long and under which key. See README.md.
package main
