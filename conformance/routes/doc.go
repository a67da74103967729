// Package routes runs the cases of Gateway API's own suite against a proxy that
// reads the suite's manifests from files: what it answers, and the statuses that it
// would write, are judged by the suite. Those that cannot hold for files are listed
// with the reason.
package routes
