// The host's functions about the effective context, and what instances share.
#include "abi.h"

void ps_log(ps_level level, ps_str text) { (void)proxy_log(level, text.data, text.len); }

ps_level ps_log_level(void) {
  uint32_t level = 0;
  return proxy_get_log_level(&level) == PS_OK ? (ps_level)level : PS_TRACE;
}

bool ps_log_enabled(ps_level level) { return level >= ps_log_level(); }

void ps_panic(ps_str why) {
  ps_log(PS_CRITICAL, why);
  __builtin_trap();
}

void ps_must(ps_status s) {
  if (s == PS_ERR_INTERNAL) ps_panic(PS_STR("the proxy refused: internal failure (or the capability is missing)"));
  if (s != PS_OK) ps_panic(ps_status_text(s));
}

int64_t ps_now(void) {
  uint64_t ns = 0;
  return proxy_get_current_time_nanoseconds(&ns) == PS_OK ? (int64_t)ns : 0;
}

ps_status ps_set_tick_period(int64_t ms) {
  uint32_t period;
  ps_status status = ps_milliseconds(ms, &period);
  return status == PS_OK ? ps_failure(proxy_set_tick_period_milliseconds(period)) : status;
}

// ---- The exchange ----

ps_status ps_done(void) { return ps_failure(proxy_done()); }
ps_status ps_resume(ps_stream_type t) { return ps_failure(proxy_continue_stream(t)); }
ps_status ps_reset(ps_stream_type t) { return ps_failure(proxy_close_stream(t)); }

static ps_status respond(uint32_t status, ps_pairs headers, ps_str body, ps_str details, int32_t grpc) {
  ps_str encoded;
  ps_status failed = ps_pairs_encode(headers, &encoded);
  if (failed != PS_OK) return failed;
  return ps_failure(proxy_send_local_response(status, details.data, details.len, body.data, body.len, encoded.data, encoded.len, grpc));
}

ps_status ps_respond(int status, ps_pairs headers, ps_str body, ps_str details) { return respond((uint32_t)status, headers, body, details, -1); }
ps_status ps_respond_grpc(uint32_t code, ps_pairs headers, ps_str message, ps_str details) { return respond(200, headers, message, details, (int32_t)code); }

// ---- Headers ----

ps_status ps_header_get(ps_header h, ps_str name, ps_str *value) {
  struct ps_given g = ps_expect();
  uint32_t status = proxy_get_header_map_value(h, name.data, name.len, &g.data, &g.len);
  return ps_take(status, g, value);
}

ps_status ps_header_all(ps_header h, ps_pairs *pairs) {
  ps_str encoded;
  struct ps_given g = ps_expect();
  uint32_t status = proxy_get_header_map_pairs(h, &g.data, &g.len);
  *pairs = PS_NO_PAIRS;
  status = ps_take(status, g, &encoded);
  return status == PS_OK ? ps_pairs_decode(encoded, pairs) : status;
}

ps_status ps_header_size(ps_header h, size_t *bytes) {
  uint32_t size = 0;
  ps_status status = ps_failure(proxy_get_header_map_size(h, &size));
  *bytes = status == PS_OK ? size : 0;
  return status;
}

ps_status ps_header_add(ps_header h, ps_str name, ps_str value) { return ps_failure(proxy_add_header_map_value(h, name.data, name.len, value.data, value.len)); }
ps_status ps_header_set(ps_header h, ps_str name, ps_str value) { return ps_failure(proxy_replace_header_map_value(h, name.data, name.len, value.data, value.len)); }
ps_status ps_header_del(ps_header h, ps_str name) { return ps_failure(proxy_remove_header_map_value(h, name.data, name.len)); }

ps_status ps_header_set_all(ps_header h, ps_pairs pairs) {
  ps_str encoded;
  ps_status status = ps_pairs_encode(pairs, &encoded);
  return status == PS_OK ? ps_failure(proxy_set_header_map_pairs(h, encoded.data, encoded.len)) : status;
}

ps_status ps_set_response_headers(ps_pairs pairs) {
  ps_str encoded, none;
  ps_status status = ps_pairs_encode(pairs, &encoded);
  return status == PS_OK ? ps_call_foreign(PS_STR("penstock.set_response_headers"), encoded, &none) : status;
}

// ---- Buffers ----

// ALL is to the end, or behind it.
#define ALL UINT32_MAX

static uint32_t position(size_t n) { return n < ALL ? (uint32_t)n : ALL; }

ps_status ps_buffer_get(ps_buffer b, size_t start, size_t size, ps_str *data) {
  struct ps_given g = ps_expect();
  uint32_t status = proxy_get_buffer_bytes(b, position(start), position(size), &g.data, &g.len);
  return ps_take(status, g, data);
}

ps_status ps_buffer_all(ps_buffer b, ps_str *data) { return ps_buffer_get(b, 0, ALL, data); }

ps_status ps_buffer_size(ps_buffer b, size_t *bytes) {
  uint32_t size = 0, flags = 0;
  ps_status status = ps_failure(proxy_get_buffer_status(b, &size, &flags));
  *bytes = status == PS_OK ? size : 0;
  return status;
}

ps_status ps_buffer_replace(ps_buffer b, size_t start, size_t size, ps_str data) { return ps_failure(proxy_set_buffer_bytes(b, position(start), position(size), data.data, data.len)); }
ps_status ps_buffer_set(ps_buffer b, ps_str data) { return ps_buffer_replace(b, 0, ALL, data); }
ps_status ps_buffer_append(ps_buffer b, ps_str data) { return ps_buffer_replace(b, ALL, 0, data); }
ps_status ps_buffer_prepend(ps_buffer b, ps_str data) { return ps_buffer_replace(b, 0, 0, data); }

// ---- Properties ----

ps_status ps_property(ps_str path, ps_str *value) {
  struct ps_given g = ps_expect();
  uint32_t status = proxy_get_property(path.data, path.len, &g.data, &g.len);
  return ps_take(status, g, value);
}

ps_status ps_property_string(ps_str path, ps_str *value) { return ps_property(path, value); }

ps_status ps_property_int(ps_str path, int64_t *value) {
  ps_str bytes;
  ps_status status = ps_property(path, &bytes);
  *value = 0;
  return status == PS_OK ? ps_read_int(bytes, value) : status;
}

ps_status ps_property_bool(ps_str path, bool *value) {
  ps_str bytes;
  ps_status status = ps_property(path, &bytes);
  *value = false;
  return status == PS_OK ? ps_read_bool(bytes, value) : status;
}

ps_status ps_property_time(ps_str path, int64_t *ns) { return ps_property_int(path, ns); }
ps_status ps_property_duration(ps_str path, int64_t *ns) { return ps_property_int(path, ns); }
ps_status ps_set_property(ps_str path, ps_str value) { return ps_failure(proxy_set_property(path.data, path.len, value.data, value.len)); }

// ---- Shared data and queues ----

ps_status ps_shared_data(ps_str key, ps_str *value, uint32_t *cas) {
  struct ps_given g = ps_expect();
  uint32_t number = 0;
  ps_status status = proxy_get_shared_data(key.data, key.len, &g.data, &g.len, &number);
  status = ps_take(status, g, value);
  *cas = status == PS_OK ? number : 0;
  return status;
}

ps_status ps_set_shared_data(ps_str key, ps_str value, uint32_t cas) { return ps_failure(proxy_set_shared_data(key.data, key.len, value.data, value.len, cas)); }

ps_status ps_update_shared_data(ps_str key, ps_str (*change)(void *data, ps_str old), void *data) {
  enum { UPDATES = 64 };
  ps_status status = PS_ERR_CAS_MISMATCH;
  for (int i = 0; i < UPDATES && status == PS_ERR_CAS_MISMATCH; i++) {
    ps_str old;
    uint32_t cas;
    status = ps_shared_data(key, &old, &cas);
    if (status == PS_ERR_NOT_FOUND) cas = UINT32_MAX; // a number that no state has: it is only set if there is nothing
    else if (status != PS_OK) return status;
    status = ps_set_shared_data(key, change(data, old), cas);
  }
  return status;
}

ps_status ps_register_queue(ps_str name, ps_queue *q) {
  uint32_t id = 0;
  ps_status status = ps_failure(proxy_register_shared_queue(name.data, name.len, &id));
  q->id = status == PS_OK ? id : 0;
  return status;
}

ps_status ps_resolve_queue(ps_str vm_id, ps_str name, ps_queue *q) {
  uint32_t id = 0;
  ps_status status = ps_failure(proxy_resolve_shared_queue(vm_id.data, vm_id.len, name.data, name.len, &id));
  q->id = status == PS_OK ? id : 0;
  return status;
}

ps_status ps_queue_enqueue(ps_queue q, ps_str value) { return ps_failure(proxy_enqueue_shared_queue(q.id, value.data, value.len)); }

ps_status ps_queue_dequeue(ps_queue q, ps_str *value) {
  struct ps_given g = ps_expect();
  uint32_t status = proxy_dequeue_shared_queue(q.id, &g.data, &g.len);
  return ps_take(status, g, value);
}

// ---- Metrics ----

static ps_status define(uint32_t kind, ps_str name, uint32_t *id) {
  *id = 0;
  ps_status status = ps_failure(proxy_define_metric(kind, name.data, name.len, id));
  if (status != PS_OK) *id = 0;
  return status;
}

static int64_t metric(uint32_t id) {
  uint64_t value = 0;
  return proxy_get_metric(id, &value) == PS_OK ? (int64_t)value : 0;
}

ps_status ps_define_counter(ps_str name, ps_counter *c) { return define(0, name, &c->id); }
ps_status ps_define_gauge(ps_str name, ps_gauge *g) { return define(1, name, &g->id); }
ps_status ps_define_histogram(ps_str name, ps_histogram *h) { return define(2, name, &h->id); }
void ps_counter_increment(ps_counter c, int64_t delta) { (void)proxy_increment_metric(c.id, delta); }
int64_t ps_counter_value(ps_counter c) { return metric(c.id); }
void ps_gauge_increment(ps_gauge g, int64_t delta) { (void)proxy_increment_metric(g.id, delta); }
void ps_gauge_record(ps_gauge g, int64_t value) { (void)proxy_record_metric(g.id, value); }
int64_t ps_gauge_value(ps_gauge g) { return metric(g.id); }
void ps_histogram_record(ps_histogram h, uint64_t value) { (void)proxy_record_metric(h.id, (int64_t)value); }

// ---- Foreign functions ----

ps_status ps_call_foreign(ps_str name, ps_str arguments, ps_str *result) {
  struct ps_given g = ps_expect();
  uint32_t status = proxy_call_foreign_function(name.data, name.len, arguments.data, arguments.len, &g.data, &g.len);
  return ps_take(status, g, result);
}

void ps_only(ps_callbacks c) {
  char b[4];
  ps_str none;
  struct ps_writer w = {b, 0, sizeof b};
  ps_write_u32(&w, c);
  (void)ps_call_foreign(PS_STR("penstock.set_callbacks"), (ps_str){b, sizeof b}, &none); // all come where there is no such function
}

ps_status ps_new_consumer(ps_str name, ps_strs groups, ps_consumer *consumer) { return ps_consumer_encode(name, groups, PS_FOR_PLUGIN, &consumer->json); }

ps_status ps_set_consumer(ps_consumer consumer) {
  ps_str none;
  return ps_call_foreign(PS_STR("penstock.set_consumer"), consumer.json, &none);
}
