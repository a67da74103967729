// Package httpwasm is the Go side of the http-wasm HTTP handler ABI
// (https://http-wasm.io/http-handler-abi): it serves the functions that a guest
// imports from http_handler, and calls handle_request and handle_response.
//
// An instance serves one exchange at a time, from handle_request until
// handle_response has returned, so that a guest may keep state in globals. An
// instance that trapped is never used again. Whatever the ABI forbids traps.
// Everything that a guest passes in is hostile: truncated to 32 bits, checked,
// copied.
//
// Bodies are read by the guest within its calls, as they come from the network.
// With the feature buffer_request, or of the response, what it read is sent on
// all the same.
package httpwasm
