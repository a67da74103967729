// Package consumer is the index of Consumer objects by their credentials: one for the
// process, which all instances of all plugins ask.
package consumer
