// A header plugin without an SDK: four host calls an exchange. Proxy-Wasm 0.2.1.
typedef unsigned int u32;

#define HOST(name) __attribute__((import_module("env"), import_name(#name))) u32 name
#define GUEST(name) __attribute__((export_name(#name)))

HOST(proxy_get_header_map_value)(u32 map, const char *key, u32 n, char **value, u32 *size);
HOST(proxy_add_header_map_value)(u32 map, const char *key, u32 n, const char *value, u32 m);
HOST(proxy_replace_header_map_value)(u32 map, const char *key, u32 n, const char *value, u32 m);
HOST(proxy_remove_header_map_value)(u32 map, const char *key, u32 n);

static char room[4096]; // for what one host call returns

GUEST(proxy_abi_version_0_2_1) void version(void) {}
GUEST(proxy_on_memory_allocate) void *allocate(u32 size) { return size <= sizeof room ? room : 0; }

#define S(text) text, sizeof text - 1

GUEST(proxy_on_request_headers) u32 request(u32 id, u32 n, u32 end) {
	char *value;
	u32 size;
	if (proxy_get_header_map_value(0, S("user-agent"), &value, &size) != 0)
		size = 0;
	proxy_add_header_map_value(0, S("x-agent"), size > 0 ? "known" : "none", size > 0 ? 5 : 4);
	return 0;
}

GUEST(proxy_on_response_headers) u32 response(u32 id, u32 n, u32 end) {
	proxy_replace_header_map_value(2, S("x-served-by"), S("edge"));
	proxy_remove_header_map_value(2, S("server"));
	return 0;
}
