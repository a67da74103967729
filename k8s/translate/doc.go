// Package translate turns Kubernetes objects into a config: pure, but for what
// it remembers to give equal inputs equal pointers, and to find an object's
// last good chain. It does no I/O.
package translate
