// Package catalogue tests that each bundled plugin is what its folder says: its example,
// its schema, its cases.
package catalogue
