package link

import "strings"

// i returns the type of a function of so many 32 bit numbers and a status.
func i(n int) string { return "(" + strings.TrimSuffix(strings.Repeat("i32, ", n), ", ") + ") i32" }

// none is i without a result.
func none(n int) string { return strings.TrimSuffix(i(n), " i32") }

// hostFunctions are those of module env (Proxy-Wasm 0.2.1, "Functions implemented in the
// host environment"). All results are statuses.
var hostFunctions = map[string]string{
	"proxy_log":                          i(3),
	"proxy_get_log_level":                i(1),
	"proxy_get_current_time_nanoseconds": i(1),
	"proxy_set_tick_period_milliseconds": i(1),
	"proxy_set_effective_context":        i(1),
	"proxy_done":                         i(0),
	"proxy_get_buffer_bytes":             i(5),
	"proxy_get_buffer_status":            i(3),
	"proxy_set_buffer_bytes":             i(5),
	"proxy_get_header_map_size":          i(2),
	"proxy_get_header_map_pairs":         i(3),
	"proxy_set_header_map_pairs":         i(3),
	"proxy_get_header_map_value":         i(5),
	"proxy_add_header_map_value":         i(5),
	"proxy_replace_header_map_value":     i(5),
	"proxy_remove_header_map_value":      i(3),
	"proxy_continue_stream":              i(1),
	"proxy_close_stream":                 i(1),
	"proxy_send_local_response":          i(8),
	"proxy_http_call":                    i(10),
	"proxy_grpc_call":                    i(12),
	"proxy_grpc_stream":                  i(9),
	"proxy_grpc_send":                    i(4),
	"proxy_grpc_cancel":                  i(1),
	"proxy_grpc_close":                   i(1),
	"proxy_get_status":                   i(3),
	"proxy_set_shared_data":              i(5),
	"proxy_get_shared_data":              i(5),
	"proxy_register_shared_queue":        i(3),
	"proxy_resolve_shared_queue":         i(5),
	"proxy_enqueue_shared_queue":         i(3),
	"proxy_dequeue_shared_queue":         i(3),
	"proxy_define_metric":                i(4),
	"proxy_increment_metric":             "(i32, i64) i32",
	"proxy_record_metric":                "(i32, i64) i32",
	"proxy_get_metric":                   i(2),
	"proxy_get_property":                 i(4),
	"proxy_set_property":                 i(4),
	"proxy_call_foreign_function":        i(6),
}

const wasiModule = "wasi_snapshot_preview1"

// wasiFunctions are those that Proxy-Wasm 0.2.1 names, and behind them those that guests'
// C library and Go's runtime import besides: hosts have them, though most only fail.
var wasiFunctions = map[string]string{
	"args_get":              i(2),
	"args_sizes_get":        i(2),
	"clock_time_get":        "(i32, i64, i32) i32",
	"environ_get":           i(2),
	"environ_sizes_get":     i(2),
	"fd_write":              i(4),
	"proc_exit":             none(1),
	"random_get":            i(2),
	"fd_close":              i(1),
	"fd_fdstat_get":         i(2),
	"fd_fdstat_set_flags":   i(2),
	"fd_filestat_get":       i(2),
	"fd_filestat_set_size":  "(i32, i64) i32",
	"fd_pread":              "(i32, i32, i32, i64, i32) i32",
	"fd_prestat_dir_name":   i(3),
	"fd_prestat_get":        i(2),
	"fd_pwrite":             "(i32, i32, i32, i64, i32) i32",
	"fd_read":               i(4),
	"fd_readdir":            "(i32, i32, i32, i64, i32) i32",
	"fd_seek":               "(i32, i64, i32, i32) i32",
	"fd_sync":               i(1),
	"path_create_directory": i(3),
	"path_filestat_get":     i(5),
	"path_open":             "(i32, i32, i32, i32, i32, i64, i64, i32, i32) i32",
	"path_readlink":         i(6),
	"path_remove_directory": i(3),
	"path_rename":           i(6),
	"path_unlink_file":      i(3),
	"poll_oneoff":           i(4),
	"sched_yield":           i(0),
}

// guestFunctions are what hosts call, and what they look for (Proxy-Wasm 0.2.1,
// "Callbacks implemented in the Wasm module").
var guestFunctions = map[string]string{
	Marker:                                    none(0),
	"_initialize":                             none(0),
	"_start":                                  none(0),
	"main":                                    i(2),
	"malloc":                                  i(1),
	"proxy_on_memory_allocate":                i(1),
	"proxy_on_context_create":                 none(2),
	"proxy_on_vm_start":                       i(2),
	"proxy_on_configure":                      i(2),
	"proxy_on_tick":                           none(1),
	"proxy_on_queue_ready":                    none(2),
	"proxy_on_new_connection":                 i(1),
	"proxy_on_downstream_data":                i(3),
	"proxy_on_downstream_connection_close":    none(2),
	"proxy_on_upstream_data":                  i(3),
	"proxy_on_upstream_connection_close":      none(2),
	"proxy_on_request_headers":                i(3),
	"proxy_on_request_body":                   i(3),
	"proxy_on_request_trailers":               i(2),
	"proxy_on_response_headers":               i(3),
	"proxy_on_response_body":                  i(3),
	"proxy_on_response_trailers":              i(2),
	"proxy_on_http_call_response":             none(5),
	"proxy_on_grpc_receive_initial_metadata":  none(3),
	"proxy_on_grpc_receive":                   none(3),
	"proxy_on_grpc_receive_trailing_metadata": none(3),
	"proxy_on_grpc_close":                     none(3),
	"proxy_on_done":                           i(1),
	"proxy_on_log":                            none(1),
	"proxy_on_delete":                         none(1),
	"proxy_on_foreign_function":               none(3),
}
