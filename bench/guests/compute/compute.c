// A plugin that computes: it hashes 4 KiB with FNV-1a and sorts 256 numbers.
// Proxy-Wasm 0.2.1.
#define GUEST(name) __attribute__((export_name(#name)))
typedef unsigned int u32;

static unsigned char text[4096];
static u32 numbers[256];
volatile u32 result;

GUEST(proxy_abi_version_0_2_1) void version(void) {}
GUEST(proxy_on_memory_allocate) void *allocate(u32 size) { return 0; }

GUEST(proxy_on_request_headers) u32 request(u32 id, u32 n, u32 end) {
	u32 hash = 2166136261u;
	for (u32 i = 0; i < sizeof text; i++)
		hash = (hash ^ text[i]) * 16777619u;
	for (u32 i = 0; i < 256; i++)
		numbers[i] = hash = hash * 1664525u + 1013904223u;
	for (u32 i = 1; i < 256; i++) {
		u32 x = numbers[i], j = i;
		for (; j > 0 && numbers[j - 1] > x; j--)
			numbers[j] = numbers[j - 1];
		numbers[j] = x;
	}
	result = numbers[0];
	return 0;
}
