// Package capability says what a plugin may ask the proxy for beside the
// exchange at hand, and what it gets. The ABI hosts call these interfaces; the
// composition root joins them to what does the work.
package capability
