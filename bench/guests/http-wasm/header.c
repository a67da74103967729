// A header plugin for http-wasm without an SDK: four host calls an exchange.
typedef unsigned int u32;
typedef unsigned long long u64;

#define HOST(type, name) __attribute__((import_module("http_handler"), import_name(#name))) type name
#define GUEST(name) __attribute__((export_name(#name)))
#define S(text) text, sizeof text - 1

HOST(u64, get_header_values)(u32 kind, const char *name, u32 n, char *buf, u32 limit);
HOST(void, add_header_value)(u32 kind, const char *name, u32 n, const char *value, u32 m);
HOST(void, set_header_value)(u32 kind, const char *name, u32 n, const char *value, u32 m);
HOST(void, remove_header)(u32 kind, const char *name, u32 n);
HOST(u32, enable_features)(u32 features);

static char room[4096];

GUEST(_initialize) void initialise(void) { enable_features(2); }

GUEST(handle_request) u64 request(void) {
	u64 found = get_header_values(0, S("user-agent"), room, sizeof room);
	add_header_value(0, S("x-agent"), found >> 32 ? "known" : "none", found >> 32 ? 5 : 4);
	return 1;
}

GUEST(handle_response) void response(u32 context, u32 failed) {
	set_header_value(1, S("x-served-by"), S("edge"));
	remove_header(1, S("server"));
}
