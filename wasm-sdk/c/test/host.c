#include "host.h"

#include <string.h>

struct fake fake;

// The memory of WebAssembly: it grows at its end.
static _Alignas(1 << 16) char pages[96 << 20];
static size_t grown;

char *ps_test_grow(size_t size) {
  if (size > sizeof pages - grown) return NULL;
  char *p = pages + grown;
  grown += size;
  return p;
}

static uint32_t give(const char **data, size_t *n) {
  static const char elsewhere[] = "of the host";
  static char *before;
  fake.calls++;
  if (fake.status != PS_OK) return fake.status;
  char *p = fake.answer.len > 0 && fake.gives != WITHOUT_ROOM ? proxy_on_memory_allocate((uint32_t)fake.answer.len) : NULL;
  if (p) memcpy(p, fake.answer.data, fake.answer.len);
  *data = p;
  *n = fake.answer.len;
  switch (fake.gives) {
  case HONEST: break;
  case TOO_LONG: *n += 1; break;
  case ELSEWHERE: *data = elsewhere; break;
  case BEFORE: *data = p - 1; break;
  case NOWHERE: *data = NULL; break;
  case WITHOUT_ROOM: *data = pages; break;
  case WRAPPED: *n = (size_t)-1; break;
  case OF_BEFORE: *data = before; break;
  }
  before = p;
  return PS_OK;
}

static uint32_t number(uint32_t *n) {
  fake.calls++;
  *n = fake.number;
  return fake.status;
}

static uint32_t wide(uint64_t *n) {
  fake.calls++;
  *n = fake.wide;
  return fake.status;
}

static uint32_t take(const char *data, size_t n) {
  fake.calls++;
  fake.sent_len = n;
  if (n > 0) memcpy(fake.sent, data, n < sizeof fake.sent ? n : sizeof fake.sent);
  return fake.status;
}

static uint32_t plain(void) { return fake.calls++, fake.status; }

uint32_t proxy_log(uint32_t level, const char *text, size_t n) {
  (void)level;
  if (n >= sizeof fake.said) n = sizeof fake.said - 1;
  memcpy(fake.said, text, n);
  fake.said[n] = 0;
  return 0;
}
uint32_t proxy_get_log_level(uint32_t *level) { return number(level); }
uint32_t proxy_get_current_time_nanoseconds(uint64_t *ns) { return wide(ns); }
uint32_t proxy_set_tick_period_milliseconds(uint32_t ms) { return fake.number = ms, plain(); }
uint32_t proxy_set_effective_context(uint32_t id) { return fake.effective = id, plain(); }
uint32_t proxy_done(void) { return plain(); }
uint32_t proxy_get_buffer_bytes(uint32_t kind, uint32_t start, uint32_t size, const char **data, size_t *n) { return (void)kind, (void)start, (void)size, give(data, n); }
uint32_t proxy_get_buffer_status(uint32_t kind, uint32_t *size, uint32_t *flags) { return (void)kind, *flags = 0, number(size); }
uint32_t proxy_set_buffer_bytes(uint32_t kind, uint32_t start, uint32_t size, const char *data, size_t n) { return (void)kind, (void)start, (void)size, take(data, n); }
uint32_t proxy_get_header_map_size(uint32_t kind, uint32_t *size) { return (void)kind, number(size); }
uint32_t proxy_get_header_map_pairs(uint32_t kind, const char **data, size_t *n) { return (void)kind, give(data, n); }
uint32_t proxy_set_header_map_pairs(uint32_t kind, const char *data, size_t n) { return (void)kind, take(data, n); }
uint32_t proxy_get_header_map_value(uint32_t kind, const char *name, size_t m, const char **data, size_t *n) { return (void)kind, (void)name, (void)m, give(data, n); }
uint32_t proxy_add_header_map_value(uint32_t kind, const char *name, size_t m, const char *value, size_t n) { return (void)kind, (void)name, (void)m, take(value, n); }
uint32_t proxy_replace_header_map_value(uint32_t kind, const char *name, size_t m, const char *value, size_t n) { return (void)kind, (void)name, (void)m, take(value, n); }
uint32_t proxy_remove_header_map_value(uint32_t kind, const char *name, size_t m) { return (void)kind, take(name, m); }
uint32_t proxy_continue_stream(uint32_t stream) { return fake.number = stream, plain(); }
uint32_t proxy_close_stream(uint32_t stream) { return fake.number = stream, plain(); }
uint32_t proxy_send_local_response(uint32_t status, const char *details, size_t k, const char *body, size_t m, const char *headers, size_t n, int32_t grpc) { return (void)status, (void)details, (void)k, (void)body, (void)m, (void)grpc, take(headers, n); }
uint32_t proxy_http_call(const char *upstream, size_t k, const char *headers, size_t l, const char *body, size_t m, const char *trailers, size_t n, uint32_t timeout, uint32_t *id) { return (void)upstream, (void)k, (void)body, (void)m, (void)trailers, (void)n, (void)timeout, (void)take(headers, l), number(id); }
uint32_t proxy_grpc_call(const char *upstream, size_t i, const char *service, size_t k, const char *method, size_t l, const char *metadata, size_t m, const char *message, size_t n, uint32_t timeout, uint32_t *id) { return (void)upstream, (void)i, (void)service, (void)k, (void)method, (void)l, (void)metadata, (void)m, (void)timeout, (void)take(message, n), number(id); }
uint32_t proxy_grpc_stream(const char *upstream, size_t k, const char *service, size_t l, const char *method, size_t m, const char *metadata, size_t n, uint32_t *id) { return (void)upstream, (void)k, (void)service, (void)l, (void)method, (void)m, (void)take(metadata, n), number(id); }
uint32_t proxy_grpc_send(uint32_t id, const char *message, size_t n, uint32_t end) { return (void)id, (void)end, take(message, n); }
uint32_t proxy_grpc_cancel(uint32_t id) { return fake.cancelled = id, fake.cancels++, plain(); }
uint32_t proxy_grpc_close(uint32_t id) { return (void)id, plain(); }
uint32_t proxy_get_status(uint32_t *code, const char **data, size_t *n) { return *code = fake.number, give(data, n); }
uint32_t proxy_set_shared_data(const char *key, size_t m, const char *value, size_t n, uint32_t cas) { return (void)key, (void)m, (void)cas, take(value, n); }
uint32_t proxy_get_shared_data(const char *key, size_t m, const char **data, size_t *n, uint32_t *cas) { return (void)key, (void)m, *cas = fake.number, give(data, n); }
uint32_t proxy_register_shared_queue(const char *name, size_t m, uint32_t *id) { return (void)name, (void)m, number(id); }
uint32_t proxy_resolve_shared_queue(const char *vm, size_t m, const char *name, size_t n, uint32_t *id) { return (void)vm, (void)m, (void)name, (void)n, number(id); }
uint32_t proxy_enqueue_shared_queue(uint32_t id, const char *value, size_t n) { return (void)id, take(value, n); }
uint32_t proxy_dequeue_shared_queue(uint32_t id, const char **data, size_t *n) { return (void)id, give(data, n); }
uint32_t proxy_define_metric(uint32_t kind, const char *name, size_t m, uint32_t *id) { return (void)kind, (void)name, (void)m, number(id); }
uint32_t proxy_increment_metric(uint32_t id, int64_t delta) { return (void)id, (void)delta, plain(); }
uint32_t proxy_record_metric(uint32_t id, int64_t value) { return (void)id, (void)value, plain(); }
uint32_t proxy_get_metric(uint32_t id, uint64_t *value) { return (void)id, wide(value); }
uint32_t proxy_get_property(const char *path, size_t m, const char **data, size_t *n) {
  if (m > 0 && ps_equal(fake.lacks, (ps_str){path, m})) return fake.calls++, PS_ERR_NOT_FOUND;
  return give(data, n);
}
uint32_t proxy_set_property(const char *path, size_t m, const char *value, size_t n) { return (void)path, (void)m, take(value, n); }
uint32_t proxy_call_foreign_function(const char *name, size_t l, const char *arguments, size_t m, const char **data, size_t *n) { return (void)name, (void)l, (void)take(arguments, m), give(data, n); }
