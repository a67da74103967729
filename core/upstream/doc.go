// Package upstream sends exchanges to groups of endpoints: it chooses an
// endpoint, keeps connections to it, retries where that is safe, and is the
// only package that dials.
package upstream
