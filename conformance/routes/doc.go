// Package routes runs the cases of Gateway API's own suite for HTTPRoutes and
// GRPCRoutes against a proxy that reads the suite's manifests from files: what it
// answers is judged by the suite, statuses are not looked at.
package routes
