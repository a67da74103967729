// A plugin that never returns. Proxy-Wasm 0.2.1.
#define GUEST(name) __attribute__((export_name(#name)))

GUEST(proxy_abi_version_0_2_1) void version(void) {}
GUEST(proxy_on_memory_allocate) void *allocate(unsigned size) { return 0; }
GUEST(proxy_on_request_headers) unsigned request(unsigned id, unsigned n, unsigned end) {
	for (volatile unsigned i = 0;; i++)
		;
}
