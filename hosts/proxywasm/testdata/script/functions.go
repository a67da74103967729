//go:build wasip1

package main

// The host functions, each called with as many of a as it takes.

//go:wasmimport env proxy_log
func log(p0 uint32, p1 uint32, p2 uint32) uint32

//go:wasmimport env proxy_get_log_level
func getLogLevel(p0 uint32) uint32

//go:wasmimport env proxy_get_current_time_nanoseconds
func getCurrentTimeNanoseconds(p0 uint32) uint32

//go:wasmimport env proxy_set_tick_period_milliseconds
func setTickPeriodMilliseconds(p0 uint32) uint32

//go:wasmimport env proxy_get_configuration
func getConfiguration(p0 uint32, p1 uint32) uint32

//go:wasmimport env proxy_get_buffer_bytes
func getBufferBytes(p0 uint32, p1 uint32, p2 uint32, p3 uint32, p4 uint32) uint32

//go:wasmimport env proxy_get_buffer_status
func getBufferStatus(p0 uint32, p1 uint32, p2 uint32) uint32

//go:wasmimport env proxy_set_buffer_bytes
func setBufferBytes(p0 uint32, p1 uint32, p2 uint32, p3 uint32, p4 uint32) uint32

//go:wasmimport env proxy_get_header_map_size
func getHeaderMapSize(p0 uint32, p1 uint32) uint32

//go:wasmimport env proxy_get_header_map_pairs
func getHeaderMapPairs(p0 uint32, p1 uint32, p2 uint32) uint32

//go:wasmimport env proxy_set_header_map_pairs
func setHeaderMapPairs(p0 uint32, p1 uint32, p2 uint32) uint32

//go:wasmimport env proxy_get_header_map_value
func getHeaderMapValue(p0 uint32, p1 uint32, p2 uint32, p3 uint32, p4 uint32) uint32

//go:wasmimport env proxy_add_header_map_value
func addHeaderMapValue(p0 uint32, p1 uint32, p2 uint32, p3 uint32, p4 uint32) uint32

//go:wasmimport env proxy_replace_header_map_value
func replaceHeaderMapValue(p0 uint32, p1 uint32, p2 uint32, p3 uint32, p4 uint32) uint32

//go:wasmimport env proxy_remove_header_map_value
func removeHeaderMapValue(p0 uint32, p1 uint32, p2 uint32) uint32

//go:wasmimport env proxy_continue_request
func continueRequest() uint32

//go:wasmimport env proxy_continue_response
func continueResponse() uint32

//go:wasmimport env proxy_clear_route_cache
func clearRouteCache() uint32

//go:wasmimport env proxy_continue_stream
func continueStream(p0 uint32) uint32

//go:wasmimport env proxy_close_stream
func closeStream(p0 uint32) uint32

//go:wasmimport env proxy_send_local_response
func sendLocalResponse(p0 uint32, p1 uint32, p2 uint32, p3 uint32, p4 uint32, p5 uint32, p6 uint32, p7 uint32) uint32

//go:wasmimport env proxy_http_call
func httpCall(p0 uint32, p1 uint32, p2 uint32, p3 uint32, p4 uint32, p5 uint32, p6 uint32, p7 uint32, p8 uint32, p9 uint32) uint32

//go:wasmimport env proxy_grpc_call
func grpcCall(p0 uint32, p1 uint32, p2 uint32, p3 uint32, p4 uint32, p5 uint32, p6 uint32, p7 uint32, p8 uint32, p9 uint32, p10 uint32, p11 uint32) uint32

//go:wasmimport env proxy_grpc_stream
func grpcStream(p0 uint32, p1 uint32, p2 uint32, p3 uint32, p4 uint32, p5 uint32, p6 uint32, p7 uint32, p8 uint32) uint32

//go:wasmimport env proxy_grpc_send
func grpcSend(p0 uint32, p1 uint32, p2 uint32, p3 uint32) uint32

//go:wasmimport env proxy_grpc_cancel
func grpcCancel(p0 uint32) uint32

//go:wasmimport env proxy_grpc_close
func grpcClose(p0 uint32) uint32

//go:wasmimport env proxy_get_status
func getStatus(p0 uint32, p1 uint32, p2 uint32) uint32

//go:wasmimport env proxy_set_shared_data
func setSharedData(p0 uint32, p1 uint32, p2 uint32, p3 uint32, p4 uint32) uint32

//go:wasmimport env proxy_get_shared_data
func getSharedData(p0 uint32, p1 uint32, p2 uint32, p3 uint32, p4 uint32) uint32

//go:wasmimport env proxy_register_shared_queue
func registerSharedQueue(p0 uint32, p1 uint32, p2 uint32) uint32

//go:wasmimport env proxy_resolve_shared_queue
func resolveSharedQueue(p0 uint32, p1 uint32, p2 uint32, p3 uint32, p4 uint32) uint32

//go:wasmimport env proxy_enqueue_shared_queue
func enqueueSharedQueue(p0 uint32, p1 uint32, p2 uint32) uint32

//go:wasmimport env proxy_dequeue_shared_queue
func dequeueSharedQueue(p0 uint32, p1 uint32, p2 uint32) uint32

//go:wasmimport env proxy_define_metric
func defineMetric(p0 uint32, p1 uint32, p2 uint32, p3 uint32) uint32

//go:wasmimport env proxy_increment_metric
func incrementMetric(p0 uint32, p1 int64) uint32

//go:wasmimport env proxy_record_metric
func recordMetric(p0 uint32, p1 int64) uint32

//go:wasmimport env proxy_get_metric
func getMetric(p0 uint32, p1 uint32) uint32

//go:wasmimport env proxy_get_property
func getProperty(p0 uint32, p1 uint32, p2 uint32, p3 uint32) uint32

//go:wasmimport env proxy_set_property
func setProperty(p0 uint32, p1 uint32, p2 uint32, p3 uint32) uint32

//go:wasmimport env proxy_call_foreign_function
func callForeignFunction(p0 uint32, p1 uint32, p2 uint32, p3 uint32, p4 uint32, p5 uint32) uint32

//go:wasmimport env proxy_set_effective_context
func setEffectiveContext(p0 uint32) uint32

//go:wasmimport env proxy_done
func done() uint32

//go:wasmimport env proxy_redis_init
func redisInit(p0 uint32, p1 uint32, p2 uint32, p3 uint32, p4 uint32, p5 uint32, p6 uint32) uint32

//go:wasmimport env proxy_redis_call
func redisCall(p0 uint32, p1 uint32, p2 uint32, p3 uint32, p4 uint32) uint32

//go:wasmimport env proxy_inject_encoded_data_to_filter_chain
func injectEncodedDataToFilterChain(p0 uint32, p1 uint32, p2 uint32) uint32

//go:wasmimport env proxy_get_upstream_hosts
func getUpstreamHosts(p0 uint32, p1 uint32) uint32

//go:wasmimport env proxy_set_upstream_override_host
func setUpstreamOverrideHost(p0 uint32, p1 uint32) uint32

//go:wasmimport env proxy_nobody_knows
func nobodyKnows(p0 uint32) uint32

var functions = map[string]func(a []uint64) uint32{
	"log":                          func(a []uint64) uint32 { return log(uint32(a[0]), uint32(a[1]), uint32(a[2])) },
	"get_log_level":                func(a []uint64) uint32 { return getLogLevel(uint32(a[0])) },
	"get_current_time_nanoseconds": func(a []uint64) uint32 { return getCurrentTimeNanoseconds(uint32(a[0])) },
	"set_tick_period_milliseconds": func(a []uint64) uint32 { return setTickPeriodMilliseconds(uint32(a[0])) },
	"get_configuration":            func(a []uint64) uint32 { return getConfiguration(uint32(a[0]), uint32(a[1])) },
	"get_buffer_bytes": func(a []uint64) uint32 {
		return getBufferBytes(uint32(a[0]), uint32(a[1]), uint32(a[2]), uint32(a[3]), uint32(a[4]))
	},
	"get_buffer_status": func(a []uint64) uint32 { return getBufferStatus(uint32(a[0]), uint32(a[1]), uint32(a[2])) },
	"set_buffer_bytes": func(a []uint64) uint32 {
		return setBufferBytes(uint32(a[0]), uint32(a[1]), uint32(a[2]), uint32(a[3]), uint32(a[4]))
	},
	"get_header_map_size":  func(a []uint64) uint32 { return getHeaderMapSize(uint32(a[0]), uint32(a[1])) },
	"get_header_map_pairs": func(a []uint64) uint32 { return getHeaderMapPairs(uint32(a[0]), uint32(a[1]), uint32(a[2])) },
	"set_header_map_pairs": func(a []uint64) uint32 { return setHeaderMapPairs(uint32(a[0]), uint32(a[1]), uint32(a[2])) },
	"get_header_map_value": func(a []uint64) uint32 {
		return getHeaderMapValue(uint32(a[0]), uint32(a[1]), uint32(a[2]), uint32(a[3]), uint32(a[4]))
	},
	"add_header_map_value": func(a []uint64) uint32 {
		return addHeaderMapValue(uint32(a[0]), uint32(a[1]), uint32(a[2]), uint32(a[3]), uint32(a[4]))
	},
	"replace_header_map_value": func(a []uint64) uint32 {
		return replaceHeaderMapValue(uint32(a[0]), uint32(a[1]), uint32(a[2]), uint32(a[3]), uint32(a[4]))
	},
	"remove_header_map_value": func(a []uint64) uint32 { return removeHeaderMapValue(uint32(a[0]), uint32(a[1]), uint32(a[2])) },
	"continue_request":        func(a []uint64) uint32 { return continueRequest() },
	"continue_response":       func(a []uint64) uint32 { return continueResponse() },
	"clear_route_cache":       func(a []uint64) uint32 { return clearRouteCache() },
	"continue_stream":         func(a []uint64) uint32 { return continueStream(uint32(a[0])) },
	"close_stream":            func(a []uint64) uint32 { return closeStream(uint32(a[0])) },
	"send_local_response": func(a []uint64) uint32 {
		return sendLocalResponse(uint32(a[0]), uint32(a[1]), uint32(a[2]), uint32(a[3]), uint32(a[4]), uint32(a[5]), uint32(a[6]), uint32(a[7]))
	},
	"http_call": func(a []uint64) uint32 {
		return httpCall(uint32(a[0]), uint32(a[1]), uint32(a[2]), uint32(a[3]), uint32(a[4]), uint32(a[5]), uint32(a[6]), uint32(a[7]), uint32(a[8]), uint32(a[9]))
	},
	"grpc_call": func(a []uint64) uint32 {
		return grpcCall(uint32(a[0]), uint32(a[1]), uint32(a[2]), uint32(a[3]), uint32(a[4]), uint32(a[5]), uint32(a[6]), uint32(a[7]), uint32(a[8]), uint32(a[9]), uint32(a[10]), uint32(a[11]))
	},
	"grpc_stream": func(a []uint64) uint32 {
		return grpcStream(uint32(a[0]), uint32(a[1]), uint32(a[2]), uint32(a[3]), uint32(a[4]), uint32(a[5]), uint32(a[6]), uint32(a[7]), uint32(a[8]))
	},
	"grpc_send":   func(a []uint64) uint32 { return grpcSend(uint32(a[0]), uint32(a[1]), uint32(a[2]), uint32(a[3])) },
	"grpc_cancel": func(a []uint64) uint32 { return grpcCancel(uint32(a[0])) },
	"grpc_close":  func(a []uint64) uint32 { return grpcClose(uint32(a[0])) },
	"get_status":  func(a []uint64) uint32 { return getStatus(uint32(a[0]), uint32(a[1]), uint32(a[2])) },
	"set_shared_data": func(a []uint64) uint32 {
		return setSharedData(uint32(a[0]), uint32(a[1]), uint32(a[2]), uint32(a[3]), uint32(a[4]))
	},
	"get_shared_data": func(a []uint64) uint32 {
		return getSharedData(uint32(a[0]), uint32(a[1]), uint32(a[2]), uint32(a[3]), uint32(a[4]))
	},
	"register_shared_queue": func(a []uint64) uint32 { return registerSharedQueue(uint32(a[0]), uint32(a[1]), uint32(a[2])) },
	"resolve_shared_queue": func(a []uint64) uint32 {
		return resolveSharedQueue(uint32(a[0]), uint32(a[1]), uint32(a[2]), uint32(a[3]), uint32(a[4]))
	},
	"enqueue_shared_queue": func(a []uint64) uint32 { return enqueueSharedQueue(uint32(a[0]), uint32(a[1]), uint32(a[2])) },
	"dequeue_shared_queue": func(a []uint64) uint32 { return dequeueSharedQueue(uint32(a[0]), uint32(a[1]), uint32(a[2])) },
	"define_metric":        func(a []uint64) uint32 { return defineMetric(uint32(a[0]), uint32(a[1]), uint32(a[2]), uint32(a[3])) },
	"increment_metric":     func(a []uint64) uint32 { return incrementMetric(uint32(a[0]), int64(a[1])) },
	"record_metric":        func(a []uint64) uint32 { return recordMetric(uint32(a[0]), int64(a[1])) },
	"get_metric":           func(a []uint64) uint32 { return getMetric(uint32(a[0]), uint32(a[1])) },
	"get_property":         func(a []uint64) uint32 { return getProperty(uint32(a[0]), uint32(a[1]), uint32(a[2]), uint32(a[3])) },
	"set_property":         func(a []uint64) uint32 { return setProperty(uint32(a[0]), uint32(a[1]), uint32(a[2]), uint32(a[3])) },
	"call_foreign_function": func(a []uint64) uint32 {
		return callForeignFunction(uint32(a[0]), uint32(a[1]), uint32(a[2]), uint32(a[3]), uint32(a[4]), uint32(a[5]))
	},
	"set_effective_context": func(a []uint64) uint32 { return setEffectiveContext(uint32(a[0])) },
	"done":                  func(a []uint64) uint32 { return done() },
	"redis_init": func(a []uint64) uint32 {
		return redisInit(uint32(a[0]), uint32(a[1]), uint32(a[2]), uint32(a[3]), uint32(a[4]), uint32(a[5]), uint32(a[6]))
	},
	"redis_call": func(a []uint64) uint32 {
		return redisCall(uint32(a[0]), uint32(a[1]), uint32(a[2]), uint32(a[3]), uint32(a[4]))
	},
	"inject_encoded_data_to_filter_chain": func(a []uint64) uint32 {
		return injectEncodedDataToFilterChain(uint32(a[0]), uint32(a[1]), uint32(a[2]))
	},
	"get_upstream_hosts":         func(a []uint64) uint32 { return getUpstreamHosts(uint32(a[0]), uint32(a[1])) },
	"set_upstream_override_host": func(a []uint64) uint32 { return setUpstreamOverrideHost(uint32(a[0]), uint32(a[1])) },
	"nobody_knows":               func(a []uint64) uint32 { return nobodyKnows(uint32(a[0])) },
}
