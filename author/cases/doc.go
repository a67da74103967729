// Package cases runs a plugin's test cases: files of YAML that say what goes in and what
// is to come out, on the sandbox and the ABI hosts that the proxy has, with the time set
// by hand. What passes here passes live, as far as the plugin alone decides.
package cases
