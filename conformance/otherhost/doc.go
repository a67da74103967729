// Package otherhost runs what our SDKs build on a host of Proxy-Wasm that is not ours:
// mosn.io/proxy-wasm-go-host, of the proxy MOSN. It has version 0.1.0, and stops there:
// what 0.2.1 calls by another name is led to what it has, and what it does not have says so
// (UNIMPLEMENTED). It brings an engine in C, which is replaced by wazero's interpreter.
package otherhost
