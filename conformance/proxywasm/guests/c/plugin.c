// A plugin in C, without an SDK and without a C library: the ABI by hand. It
// adds header fields, answers requests that ask for it, and upper-cases bodies.
#include <stddef.h>
#include <stdint.h>

#define EXPORT(name) __attribute__((export_name(#name)))
#define IMPORT(name) __attribute__((import_module("env"), import_name(#name)))

enum { OK = 0, CONTINUE = 0, PAUSE = 1 };
enum { REQUEST_HEADERS = 0, RESPONSE_HEADERS = 2, REQUEST_BODY = 0, PLUGIN_CONFIGURATION = 7 };

IMPORT(proxy_log) uint32_t proxy_log(uint32_t level, const char *text, size_t size);
IMPORT(proxy_get_buffer_bytes) uint32_t proxy_get_buffer_bytes(uint32_t kind, uint32_t start, uint32_t max, char **data, size_t *size);
IMPORT(proxy_set_buffer_bytes) uint32_t proxy_set_buffer_bytes(uint32_t kind, uint32_t start, uint32_t old, const char *data, size_t size);
IMPORT(proxy_get_header_map_value) uint32_t proxy_get_header_map_value(uint32_t map, const char *key, size_t size, char **value, size_t *length);
IMPORT(proxy_add_header_map_value) uint32_t proxy_add_header_map_value(uint32_t map, const char *key, size_t size, const char *value, size_t length);
IMPORT(proxy_remove_header_map_value) uint32_t proxy_remove_header_map_value(uint32_t map, const char *key, size_t size);
IMPORT(proxy_send_local_response) uint32_t proxy_send_local_response(uint32_t status, const char *details, size_t details_size, const char *body, size_t body_size, const char *headers, size_t headers_size, int32_t grpc);

#define TEXT(s) s, sizeof(s) - 1

// The host asks for room, and what it wrote is used before the next call.
static char room[1 << 20];
static char configuration[256];
static size_t configuration_size;

EXPORT(proxy_abi_version_0_2_1) void abi_version(void) {}

EXPORT(proxy_on_memory_allocate) char *allocate(size_t size) { return size <= sizeof room ? room : NULL; }

EXPORT(proxy_on_context_create) void context_create(uint32_t id, uint32_t parent) { (void)id, (void)parent; }

EXPORT(proxy_on_configure) uint32_t configure(uint32_t root, uint32_t size) {
  char *data = NULL;
  (void)root;
  if (size == 0) return 1;
  if (size > sizeof configuration || proxy_get_buffer_bytes(PLUGIN_CONFIGURATION, 0, size, &data, &configuration_size) != OK) return 0;
  for (size_t i = 0; i < configuration_size; i++) configuration[i] = data[i];
  return 1;
}

EXPORT(proxy_on_request_headers) uint32_t request_headers(uint32_t id, uint32_t n, uint32_t end) {
  char *value;
  size_t size;
  (void)id, (void)n, (void)end;
  if (proxy_get_header_map_value(REQUEST_HEADERS, TEXT("x-deny"), &value, &size) == OK) {
    static const char headers[] = "\1\0\0\0\5\0\0\0\5\0\0\0x-why\0asked";
    proxy_log(2, TEXT("the plugin in C denies"));
    proxy_send_local_response(403, TEXT("denied"), TEXT("denied by the plugin\n"), headers, sizeof headers, -1);
    return PAUSE;
  }
  proxy_remove_header_map_value(REQUEST_HEADERS, TEXT("x-remove"));
  proxy_add_header_map_value(REQUEST_HEADERS, TEXT("x-config"), configuration, configuration_size);
  return CONTINUE;
}

EXPORT(proxy_on_request_body) uint32_t request_body(uint32_t id, uint32_t size, uint32_t end) {
  char *data;
  size_t length;
  (void)id;
  if (!end) return PAUSE;
  if (size == 0 || proxy_get_buffer_bytes(REQUEST_BODY, 0, size, &data, &length) != OK) return CONTINUE;
  for (size_t i = 0; i < length; i++)
    if (data[i] >= 'a' && data[i] <= 'z') data[i] -= 'a' - 'A';
  proxy_set_buffer_bytes(REQUEST_BODY, 0, size, data, length);
  return CONTINUE;
}

EXPORT(proxy_on_response_headers) uint32_t response_headers(uint32_t id, uint32_t n, uint32_t end) {
  (void)id, (void)n, (void)end;
  proxy_add_header_map_value(RESPONSE_HEADERS, TEXT("x-from"), TEXT("C"));
  return CONTINUE;
}
