// Package annotation reads a plugin chain from the text of an annotation: a
// strict YAML list, parsed once into closed types (annotations.md, sections 1
// and 4). It reports every problem at once, each with its path and what would
// be right. Nothing of the text is ever put into a template.
package annotation
