// Package redis sends plugins' commands to a Redis that they cannot choose: a
// closed list of commands, each key under the plugin's own prefix.
package redis
