// Package readme reads the example of a plugin's README: objects, and what curl says to
// them. It is a module of its own, so that tests on files and in a cluster have it alike.
package readme
