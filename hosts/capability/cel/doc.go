// Package cel evaluates the expressions of plugins (expr_create and its kin)
// over attributes that are looked up when an expression asks for them. Texts
// and attributes are hostile: sizes, nesting, cost and results are bounded.
package cel
