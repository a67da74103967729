// What the files of the SDK share: the host's functions, and what is not for plugins.
#ifndef PENSTOCK_ABI_H
#define PENSTOCK_ABI_H

#include "penstock.h"

// ---- The host's functions (Proxy-Wasm 0.2.1, "Functions implemented in the host environment") ----

#ifdef __wasm__
#define PS_HOST(name, ...) __attribute__((import_module("env"), import_name(#name))) uint32_t name(__VA_ARGS__)
#else
#define PS_HOST(name, ...) uint32_t name(__VA_ARGS__)
#endif

PS_HOST(proxy_log, uint32_t level, const char *text, size_t n);
PS_HOST(proxy_get_log_level, uint32_t *level);
PS_HOST(proxy_get_current_time_nanoseconds, uint64_t *ns);
PS_HOST(proxy_set_tick_period_milliseconds, uint32_t ms);
PS_HOST(proxy_set_effective_context, uint32_t id);
PS_HOST(proxy_done, void);
PS_HOST(proxy_get_buffer_bytes, uint32_t kind, uint32_t start, uint32_t size, const char **data, size_t *n);
PS_HOST(proxy_get_buffer_status, uint32_t kind, uint32_t *size, uint32_t *flags);
PS_HOST(proxy_set_buffer_bytes, uint32_t kind, uint32_t start, uint32_t size, const char *data, size_t n);
PS_HOST(proxy_get_header_map_size, uint32_t kind, uint32_t *size);
PS_HOST(proxy_get_header_map_pairs, uint32_t kind, const char **data, size_t *n);
PS_HOST(proxy_set_header_map_pairs, uint32_t kind, const char *data, size_t n);
PS_HOST(proxy_get_header_map_value, uint32_t kind, const char *name, size_t m, const char **data, size_t *n);
PS_HOST(proxy_add_header_map_value, uint32_t kind, const char *name, size_t m, const char *value, size_t n);
PS_HOST(proxy_replace_header_map_value, uint32_t kind, const char *name, size_t m, const char *value, size_t n);
PS_HOST(proxy_remove_header_map_value, uint32_t kind, const char *name, size_t m);
PS_HOST(proxy_continue_stream, uint32_t stream);
PS_HOST(proxy_close_stream, uint32_t stream);
PS_HOST(proxy_send_local_response, uint32_t status, const char *details, size_t k, const char *body, size_t m, const char *headers, size_t n, int32_t grpc);
PS_HOST(proxy_http_call, const char *upstream, size_t k, const char *headers, size_t l, const char *body, size_t m, const char *trailers, size_t n, uint32_t timeout, uint32_t *id);
PS_HOST(proxy_grpc_call, const char *upstream, size_t i, const char *service, size_t k, const char *method, size_t l, const char *metadata, size_t m, const char *message, size_t n, uint32_t timeout, uint32_t *id);
PS_HOST(proxy_grpc_stream, const char *upstream, size_t k, const char *service, size_t l, const char *method, size_t m, const char *metadata, size_t n, uint32_t *id);
PS_HOST(proxy_grpc_send, uint32_t id, const char *message, size_t n, uint32_t end);
PS_HOST(proxy_grpc_cancel, uint32_t id);
PS_HOST(proxy_grpc_close, uint32_t id);
PS_HOST(proxy_get_status, uint32_t *code, const char **data, size_t *n);
PS_HOST(proxy_set_shared_data, const char *key, size_t m, const char *value, size_t n, uint32_t cas);
PS_HOST(proxy_get_shared_data, const char *key, size_t m, const char **data, size_t *n, uint32_t *cas);
PS_HOST(proxy_register_shared_queue, const char *name, size_t m, uint32_t *id);
PS_HOST(proxy_resolve_shared_queue, const char *vm, size_t m, const char *name, size_t n, uint32_t *id);
PS_HOST(proxy_enqueue_shared_queue, uint32_t id, const char *value, size_t n);
PS_HOST(proxy_dequeue_shared_queue, uint32_t id, const char **data, size_t *n);
PS_HOST(proxy_define_metric, uint32_t kind, const char *name, size_t m, uint32_t *id);
PS_HOST(proxy_increment_metric, uint32_t id, int64_t delta);
PS_HOST(proxy_record_metric, uint32_t id, int64_t value);
PS_HOST(proxy_get_metric, uint32_t id, uint64_t *value);
PS_HOST(proxy_get_property, const char *path, size_t m, const char **data, size_t *n);
PS_HOST(proxy_set_property, const char *path, size_t m, const char *value, size_t n);
PS_HOST(proxy_call_foreign_function, const char *name, size_t l, const char *arguments, size_t m, const char **data, size_t *n);

// ---- Memory (memory.c) ----

#define PS_EMPTY ((ps_str){"", 0})

// ps_region is heap memory that goes together.
struct ps_region {
  struct ps_block *first;
};

// ps_region_alloc is ps_alloc for a region, not zeroed.
void *ps_region_alloc(struct ps_region *r, size_t size);
// ps_region_end frees all of a region.
void ps_region_end(struct ps_region *r);
// ps_temp is ps_alloc for PS_FOR_CALLBACK, not zeroed.
void *ps_temp(size_t size);
// ps_temp_begin ends what is for the callback before.
void ps_temp_begin(void);

// ps_given is a result of a host function, that proxy_on_memory_allocate gave room for.
struct ps_given {
  const char *data;
  size_t len;
};
// ps_expect begins a host function that has a result.
struct ps_given ps_expect(void);
// ps_take checks it: PS_ERR_RESULT_MISMATCH, if it is not within that room.
ps_status ps_take(uint32_t status, struct ps_given g, ps_str *result);
// ps_failure returns a host function's status, which is never one of the SDK's own.
ps_status ps_failure(uint32_t status);

// ---- Wire formats (wire.c, address.c, cache.c, capabilities.c, identity.c) ----

// ps_writer appends to room; what has no place is counted only.
struct ps_writer {
  char *data;
  size_t len, size;
};
void ps_write(struct ps_writer *w, ps_str s);
void ps_write_u8(struct ps_writer *w, uint8_t n);
void ps_write_u16(struct ps_writer *w, uint16_t n);
void ps_write_u32(struct ps_writer *w, uint32_t n);
// ps_write_text writes a text of at most 65,535 bytes behind its length in 16 bits.
void ps_write_text(struct ps_writer *w, ps_str s);
// ps_fits says whether a text has one byte at least, and no more than most.
static inline bool ps_fits(ps_str s, size_t most) { return s.len > 0 && s.len <= most; }
uint32_t ps_read_u32(const char *p);
uint64_t ps_read_u64(const char *p);

// ps_pairs_encode writes a list as Proxy-Wasm has it: count, sizes, then each name and value
// followed by a NUL; of an empty one nothing.
ps_status ps_pairs_encode(ps_pairs pairs, ps_str *encoded);
// ps_pairs_decode is the inverse; PS_ERR_RESULT_MISMATCH: it is malformed.
ps_status ps_pairs_decode(ps_str encoded, ps_pairs *pairs);
// ps_milliseconds checks a time for the ABI.
ps_status ps_milliseconds(int64_t ms, uint32_t *out);
ps_status ps_read_int(ps_str bytes, int64_t *n);
ps_status ps_read_bool(ps_str bytes, bool *value);
// ps_utf8 returns how many bytes the first character of a text has; 0: it is none.
size_t ps_utf8(const char *p, size_t n);
// ps_address_read reads an address of 4 or 16 bytes, ps_address_parse the text of one with or
// without a port; PS_ERR_RESULT_MISMATCH: it is none.
ps_status ps_address_read(ps_str bytes, ps_address *address);
ps_status ps_address_parse(ps_str text, ps_address *address);
// ps_consumer_encode writes the argument of penstock.set_consumer.
ps_status ps_consumer_encode(ps_str name, ps_strs groups, ps_life life, ps_str *encoded);
ps_status ps_find_encode(uint8_t flags, ps_str kind, ps_str lookup, ps_strs namespaces, ps_str *encoded);
ps_status ps_identity_decode(ps_str answer, ps_identity *who);
ps_status ps_rate_encode(const ps_rate *r, bool shared, ps_str key, uint32_t cost, ps_str *encoded);
ps_status ps_rate_decode(ps_str answer, ps_rate_answer *a);
ps_status ps_cache_put_encode(ps_str key, ps_str value, int64_t ttl_s, ps_strs tags, ps_str *encoded);
ps_status ps_cache_purge_encode(bool soft, ps_strs tags, ps_str *encoded);
ps_status ps_cache_object_decode(ps_str answer, ps_cache_object *object);
ps_status ps_cache_purged_decode(ps_str answer, int64_t *removed);

// ps_reason appends to the text of PS_ERR_CONFIG, which keeps what has a place.
void ps_reason_begin(void);
void ps_reason(ps_str s);
// ps_json_sorted returns an object's fields, sorted by their names; NULL: there is no room.
const ps_json **ps_json_sorted(const ps_json *object);
// ps_to_double reads a JSON number; false: it is none, or too large.
bool ps_to_double(ps_str text, double *value);

// ---- Contexts (contexts.c) ----

// ps_entry is a member of a ps_table, which finds it by its number.
struct ps_entry {
  uint32_t id;
  struct ps_entry *next;
};
struct ps_table {
  struct ps_entry **buckets;
  uint32_t size, count; // size: a power of two
};
struct ps_entry *ps_table_find(const struct ps_table *t, uint32_t id);
bool ps_table_add(struct ps_table *t, struct ps_entry *e);
void ps_table_remove(struct ps_table *t, struct ps_entry *e);

struct ps_call;

// ps_node is a plugin or a stream.
struct ps_node {
  struct ps_entry entry;
  struct ps_node *plugin; // of a plugin, itself
  struct ps_node *next;   // of all
  struct ps_node **link;
  struct ps_region memory;
  struct ps_call *calls; // that it made and that go on
  void *state;
};

// ps_here is the effective context; NULL: there is none.
extern struct ps_node *ps_here;
// ps_enter begins a callback that is about a context.
struct ps_node *ps_enter(uint32_t id);

// ---- Calls (calls.c) ----

// ps_calls_end drops what a context called that ends: a stream of gRPC is cancelled, others
// go on, for nobody.
void ps_calls_end(struct ps_node *n);

// ---- Answers that may come later (calls.c) ----

// ps_any_function is a function of the plugin's, whatever it takes.
typedef void ps_any_function(void);
// ps_came hands an answer over to what the plugin gave.
typedef void ps_came(ps_any_function *answered, void *data, ps_status error, ps_str answer);
// ps_call_later calls a foreign function whose answer is there now, or comes as that of an
// HTTP call does: it returns a number, and after 0 the answer.
ps_status ps_call_later(ps_str name, ps_str arguments, ps_came *came, ps_any_function *answered, void *data, bool *now, ps_str *answer);

#endif
