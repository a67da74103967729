// Package schema reads the JSON Schema (2020-12) of a plugin's configuration: its fields,
// a table of them, and configurations that are wrong.
//
// It knows what schemas of configurations are made of: types, enum, const, bounds,
// properties, required, additionalProperties, items, references within the document,
// anyOf, oneOf, allOf, default, examples and descriptions. What else a schema says is not
// looked at. Schemas come from images of others: their size, depth and number of fields
// are bounded.
package schema
