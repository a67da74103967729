//go:build wasip1

package main

//go:wasmexport proxy_on_context_create
func onContextCreate(p0, p1 uint32) {
	parents[p0] = p1
	run("context_create", 0, p0, p1)
}

//go:wasmexport proxy_on_tick
func onTick(p0 uint32) { run("tick", 0, p0) }

//go:wasmexport proxy_on_queue_ready
func onQueueReady(p0, p1 uint32) { run("queue_ready", 0, p0, p1) }

//go:wasmexport proxy_on_http_call_response
func onHttpCallResponse(p0, p1, p2, p3, p4 uint32) { run("http_call_response", 0, p0, p1, p2, p3, p4) }

//go:wasmexport proxy_on_grpc_receive_initial_metadata
func onGrpcReceiveInitialMetadata(p0, p1, p2 uint32) {
	run("grpc_receive_initial_metadata", 0, p0, p1, p2)
}

//go:wasmexport proxy_on_grpc_receive
func onGrpcReceive(p0, p1, p2 uint32) { run("grpc_receive", 0, p0, p1, p2) }

//go:wasmexport proxy_on_grpc_receive_trailing_metadata
func onGrpcReceiveTrailingMetadata(p0, p1, p2 uint32) {
	run("grpc_receive_trailing_metadata", 0, p0, p1, p2)
}

//go:wasmexport proxy_on_grpc_close
func onGrpcClose(p0, p1, p2 uint32) { run("grpc_close", 0, p0, p1, p2) }

//go:wasmexport proxy_on_request_headers
func onRequestHeaders(p0, p1, p2 uint32) uint32 { return run("request_headers", 0, p0, p1, p2) }

//go:wasmexport proxy_on_request_body
func onRequestBody(p0, p1, p2 uint32) uint32 { return run("request_body", 0, p0, p1, p2) }

//go:wasmexport proxy_on_request_trailers
func onRequestTrailers(p0, p1 uint32) uint32 { return run("request_trailers", 0, p0, p1) }

//go:wasmexport proxy_on_response_headers
func onResponseHeaders(p0, p1, p2 uint32) uint32 { return run("response_headers", 0, p0, p1, p2) }

//go:wasmexport proxy_on_response_body
func onResponseBody(p0, p1, p2 uint32) uint32 { return run("response_body", 0, p0, p1, p2) }

//go:wasmexport proxy_on_response_trailers
func onResponseTrailers(p0, p1 uint32) uint32 { return run("response_trailers", 0, p0, p1) }

//go:wasmexport proxy_on_done
func onDone(p0 uint32) uint32 { return run("done", 1, p0) }

//go:wasmexport proxy_on_log
func onLog(p0 uint32) { run("log", 0, p0) }

//go:wasmexport proxy_on_delete
func onDelete(p0 uint32) { run("delete", 0, p0) }

//go:wasmexport proxy_on_foreign_function
func onForeignFunction(p0, p1, p2 uint32) { run("foreign_function", 0, p0, p1, p2) }

//go:wasmexport proxy_on_new_connection
func onNewConnection(p0 uint32) uint32 { return run("new_connection", 0, p0) }

//go:wasmexport proxy_on_downstream_data
func onDownstreamData(p0, p1, p2 uint32) uint32 { return run("downstream_data", 0, p0, p1, p2) }

//go:wasmexport proxy_on_upstream_data
func onUpstreamData(p0, p1, p2 uint32) uint32 { return run("upstream_data", 0, p0, p1, p2) }

//go:wasmexport proxy_on_downstream_connection_close
func onDownstreamConnectionClose(p0, p1 uint32) { run("downstream_connection_close", 0, p0, p1) }

//go:wasmexport proxy_on_upstream_connection_close
func onUpstreamConnectionClose(p0, p1 uint32) { run("upstream_connection_close", 0, p0, p1) }

//go:wasmexport proxy_on_redis_call_response
func onRedisCallResponse(p0, p1, p2, p3 uint32) { run("redis_call_response", 0, p0, p1, p2, p3) }
