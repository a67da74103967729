// Command bot-detect is a plugin that refuses requests of programs by what they say of
// themselves. See README.md.
package main
