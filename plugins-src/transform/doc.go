// Command transform is a plugin that changes requests and responses: header
// fields, query, path, status and fields of JSON bodies. See README.md.
package main
