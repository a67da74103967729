// Package router finds the rule for a request: an immutable matcher from
// hostname, path, method, header fields and query parameters to a value, with
// the precedence of Gateway API's HTTPRoute. A lookup costs the same for one
// route as for ten thousand, but for regular expressions and for matches that
// differ by header or query alone, which are tried in turn.
package router
