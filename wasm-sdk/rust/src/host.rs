//! The functions of the host (Proxy-Wasm 0.2.1, "Functions implemented in the host
//! environment").
#![allow(unsafe_code)] // the imports themselves; see host!
#![allow(clippy::too_many_arguments)] // the ABI has as many

/// Declares imports. They are safe to call: what the host writes to is lent to it by a
/// reference for the call, or a block that proxy_on_memory_allocate handed over; at each
/// other pointer it only reads, and refuses what lies outside of the memory.
macro_rules! host {
    ($(fn $name:ident($($argument:ident: $type:ty),*);)*) => {
        #[cfg(target_arch = "wasm32")]
        #[link(wasm_import_module = "env")]
        unsafe extern "C" {
            $(pub(crate) safe fn $name($($argument: $type),*) -> u32;)*
        }

        $(#[cfg(not(target_arch = "wasm32"))]
        pub(crate) fn $name($(_: $type),*) -> u32 {
            crate::Status::Unimplemented.code()
        })*
    };
}

host! {
    fn proxy_log(level: u32, p: *const u8, n: usize);
    fn proxy_get_log_level(level: &mut u32);
    fn proxy_get_current_time_nanoseconds(at: &mut u64);
    fn proxy_set_tick_period_milliseconds(ms: u32);
    fn proxy_set_effective_context(id: u32);
    fn proxy_done();

    fn proxy_get_buffer_bytes(kind: u32, start: u32, n: u32, p: &mut u32, size: &mut u32);
    fn proxy_get_buffer_status(kind: u32, size: &mut u32, flags: &mut u32);
    fn proxy_set_buffer_bytes(kind: u32, start: u32, n: u32, p: *const u8, size: usize);

    fn proxy_get_header_map_size(kind: u32, size: &mut u32);
    fn proxy_get_header_map_pairs(kind: u32, p: &mut u32, size: &mut u32);
    fn proxy_set_header_map_pairs(kind: u32, p: *const u8, size: usize);
    fn proxy_get_header_map_value(kind: u32, key: *const u8, n: usize, p: &mut u32, size: &mut u32);
    fn proxy_add_header_map_value(kind: u32, key: *const u8, n: usize, value: *const u8, m: usize);
    fn proxy_replace_header_map_value(kind: u32, key: *const u8, n: usize, value: *const u8, m: usize);
    fn proxy_remove_header_map_value(kind: u32, key: *const u8, n: usize);

    fn proxy_continue_stream(stream: u32);
    fn proxy_close_stream(stream: u32);
    fn proxy_send_local_response(
        status: u32, details: *const u8, n: usize, body: *const u8, m: usize,
        headers: *const u8, k: usize, grpc: i32
    );

    fn proxy_http_call(
        upstream: *const u8, n: usize, headers: *const u8, m: usize, body: *const u8, k: usize,
        trailers: *const u8, l: usize, timeout: u32, id: &mut u32
    );
    fn proxy_get_status(code: &mut u32, p: &mut u32, size: &mut u32);
    fn proxy_grpc_call(
        upstream: *const u8, n: usize, service: *const u8, m: usize, method: *const u8, k: usize,
        metadata: *const u8, l: usize, message: *const u8, o: usize, timeout: u32, id: &mut u32
    );
    fn proxy_grpc_stream(
        upstream: *const u8, n: usize, service: *const u8, m: usize, method: *const u8, k: usize,
        metadata: *const u8, l: usize, id: &mut u32
    );
    fn proxy_grpc_send(id: u32, message: *const u8, n: usize, end: u32);
    fn proxy_grpc_cancel(id: u32);
    fn proxy_grpc_close(id: u32);

    fn proxy_get_shared_data(key: *const u8, n: usize, p: &mut u32, size: &mut u32, cas: &mut u32);
    fn proxy_set_shared_data(key: *const u8, n: usize, value: *const u8, m: usize, cas: u32);
    fn proxy_register_shared_queue(name: *const u8, n: usize, id: &mut u32);
    fn proxy_resolve_shared_queue(vm: *const u8, n: usize, name: *const u8, m: usize, id: &mut u32);
    fn proxy_enqueue_shared_queue(id: u32, p: *const u8, n: usize);
    fn proxy_dequeue_shared_queue(id: u32, p: &mut u32, size: &mut u32);

    fn proxy_define_metric(kind: u32, name: *const u8, n: usize, id: &mut u32);
    fn proxy_increment_metric(id: u32, delta: i64);
    fn proxy_record_metric(id: u32, value: i64);
    fn proxy_get_metric(id: u32, value: &mut u64);

    fn proxy_get_property(path: *const u8, n: usize, p: &mut u32, size: &mut u32);
    fn proxy_set_property(path: *const u8, n: usize, value: *const u8, m: usize);
    fn proxy_call_foreign_function(
        name: *const u8, n: usize, arguments: *const u8, m: usize, p: &mut u32, size: &mut u32
    );
}
