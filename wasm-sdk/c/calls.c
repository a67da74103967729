// HTTP and gRPC calls: what they call, as long as what made them has not ended.
#include "abi.h"

enum kind { HTTP, UNARY, STREAM };

// ps_call is a call under way.
struct ps_call {
  struct ps_entry entry;
  struct ps_node *owner; // that made it
  struct ps_call *next;  // of the owner
  struct ps_call **link;
  enum kind kind;
  void *data;
  ps_http_answered *http;
  ps_came *came; // of a function whose answer came later; then http is not set
  ps_any_function *answered;
  ps_grpc_answered *unary;
  ps_grpc_handler handler;
  struct ps_region memory; // of what follows, of a unary call
  ps_str initial, trailing; // as they came
  bool has_message;
  ps_str message;
};

static struct ps_table http_calls, grpc_calls;
static struct ps_region kept; // the calls

static struct ps_table *table_of(enum kind k) { return k == HTTP ? &http_calls : &grpc_calls; }

// detach takes a call from its table and its owner: nothing comes for it any more.
static void detach(struct ps_call *c) {
  ps_table_remove(table_of(c->kind), &c->entry);
  *c->link = c->next;
  if (c->next) c->next->link = c->link;
}

static void forget(struct ps_call *c) {
  ps_region_end(&c->memory);
  ps_free(c);
}

static struct ps_call *find(enum kind k, uint32_t id) { return (struct ps_call *)(void *)ps_table_find(table_of(k), id); }

// prepare makes room for a call before it is made; NULL: there is none.
static struct ps_call *prepare(enum kind k, void *data) {
  struct ps_call *c = ps_here ? (struct ps_call *)ps_region_alloc(&kept, sizeof *c) : NULL;
  if (c) {
    __builtin_memset(c, 0, sizeof *c);
    c->kind = k;
    c->data = data;
  }
  return c;
}

// begin keeps a call that the host has begun under that number, or has not.
static ps_status begin(struct ps_call *c, uint32_t status, uint32_t id) {
  c->entry.id = id;
  struct ps_call *old = status == PS_OK ? find(c->kind, id) : NULL;
  if (old) { // a host that numbers two the same
    detach(old);
    forget(old);
  }
  if (status == PS_OK && !ps_table_add(table_of(c->kind), &c->entry)) status = PS_ERR_MEMORY;
  else status = ps_failure(status);
  if (status != PS_OK) {
    ps_free(c);
    return status;
  }
  c->owner = ps_here;
  c->next = ps_here->calls;
  c->link = &ps_here->calls;
  if (c->next) c->next->link = &c->next;
  ps_here->calls = c;
  return PS_OK;
}

// event enters the context of a call that something came for; NULL: it has ended.
static struct ps_call *event(enum kind k, uint32_t root, uint32_t id) {
  (void)ps_enter(root);
  struct ps_call *c = find(k, id);
  if (!c || (c->owner->entry.id != root && ps_set_effective_context(c->owner->entry.id) != PS_OK)) return NULL;
  return c;
}

void ps_calls_end(struct ps_node *n) {
  while (n->calls) {
    struct ps_call *c = n->calls;
    detach(c);
    if (c->kind == STREAM) (void)proxy_grpc_cancel(c->entry.id); // it may be over already
    forget(c);
  }
}

// last_status hands over how the call ended that the callback is for.
static ps_status last_status(uint32_t *code, ps_str *message) {
  struct ps_given g = ps_expect();
  *code = 0;
  uint32_t status = proxy_get_status(code, &g.data, &g.len);
  return ps_take(status, g, message);
}

// ---- HTTP ----

ps_status ps_http_call(ps_str upstream, ps_pairs headers, ps_str body, ps_pairs trailers, int64_t timeout_ms, ps_http_answered *answered, void *data) {
  uint32_t ms, id = 0;
  ps_str h, t;
  ps_status status = ps_milliseconds(timeout_ms, &ms);
  if (status == PS_OK) status = ps_pairs_encode(headers, &h);
  if (status == PS_OK) status = ps_pairs_encode(trailers, &t);
  if (status != PS_OK) return status;
  struct ps_call *c = prepare(HTTP, data);
  if (!c) return PS_ERR_MEMORY;
  c->http = answered;
  uint32_t begun = proxy_http_call(upstream.data, upstream.len, h.data, h.len, body.data, body.len, t.data, t.len, ms, &id);
  return begin(c, begun, id);
}

void proxy_on_http_call_response(uint32_t root, uint32_t id, uint32_t headers, uint32_t size, uint32_t trailers) PS_EXPORT(proxy_on_http_call_response);
void proxy_on_http_call_response(uint32_t root, uint32_t id, uint32_t headers, uint32_t size, uint32_t trailers) {
  (void)size, (void)trailers;
  ps_http_response r = {PS_OK, PS_EMPTY, PS_HTTP_CALL_HEADER, PS_HTTP_CALL_BODY, PS_HTTP_CALL_TRAILER};
  struct ps_call *c = event(HTTP, root, id);
  if (!c) return;
  detach(c);
  if (headers == 0) {
    uint32_t code;
    (void)last_status(&code, &r.message);
    r.error = code ? ps_failure(code) : PS_ERR_BROKEN_CONNECTION; // a proxy that does not say
  }
  if (c->came) {
    ps_str answer = PS_EMPTY;
    if (r.error == PS_OK) r.error = ps_buffer_all(PS_HTTP_CALL_BODY, &answer);
    c->came(c->answered, c->data, r.error, answer);
  } else {
    c->http(c->data, &r);
  }
  forget(c);
}

ps_status ps_call_later(ps_str name, ps_str arguments, ps_came *came, ps_any_function *answered, void *data, bool *now, ps_str *answer) {
  ps_str got;
  *now = false;
  *answer = PS_EMPTY;
  struct ps_call *c = prepare(HTTP, data); // before the call is made: then it is too late
  if (!c) return PS_ERR_MEMORY;
  c->came = came;
  c->answered = answered;
  ps_status status = ps_call_foreign(name, arguments, &got);
  if (status == PS_OK && got.len < 4) status = PS_ERR_RESULT_MISMATCH;
  uint32_t id = status == PS_OK ? ps_read_u32(got.data) : 0;
  if (id) return begin(c, PS_OK, id);
  ps_free(c);
  if (status != PS_OK) return status;
  *now = true;
  *answer = (ps_str){got.data + 4, got.len - 4};
  return PS_OK;
}

int ps_http_status(const ps_http_response *r) {
  ps_str text;
  int64_t status;
  return ps_header_get(r->header, PS_STR(":status"), &text) == PS_OK && ps_parse_int(text, &status) && status > 0 && status < 1000 ? (int)status : 0;
}

// ---- gRPC ----

ps_status ps_grpc_call(ps_str upstream, ps_str service, ps_str method, ps_pairs metadata, ps_str message, int64_t timeout_ms, ps_grpc_answered *answered, void *data, ps_grpc *call) {
  uint32_t ms, id = 0;
  ps_str m;
  call->id = 0;
  ps_status status = ps_milliseconds(timeout_ms, &ms);
  if (status == PS_OK) status = ps_pairs_encode(metadata, &m);
  if (status != PS_OK) return status;
  struct ps_call *c = prepare(UNARY, data);
  if (!c) return PS_ERR_MEMORY;
  c->unary = answered;
  uint32_t begun = proxy_grpc_call(upstream.data, upstream.len, service.data, service.len, method.data, method.len, m.data, m.len, message.data, message.len, ms, &id);
  status = begin(c, begun, id);
  if (status == PS_OK) call->id = id;
  return status;
}

ps_status ps_grpc_stream(ps_str upstream, ps_str service, ps_str method, ps_pairs metadata, ps_grpc_handler handler, void *data, ps_grpc *call) {
  uint32_t id = 0;
  ps_str m;
  call->id = 0;
  ps_status status = ps_pairs_encode(metadata, &m);
  if (status != PS_OK) return status;
  struct ps_call *c = prepare(STREAM, data);
  if (!c) return PS_ERR_MEMORY;
  c->handler = handler;
  uint32_t begun = proxy_grpc_stream(upstream.data, upstream.len, service.data, service.len, method.data, method.len, m.data, m.len, &id);
  status = begin(c, begun, id);
  if (status == PS_OK) call->id = id;
  return status;
}

ps_status ps_grpc_send(ps_grpc call, ps_str message, bool end) { return ps_failure(proxy_grpc_send(call.id, message.data, message.len, end)); }
ps_status ps_grpc_end(ps_grpc call) { return ps_failure(proxy_grpc_close(call.id)); }

ps_status ps_grpc_cancel(ps_grpc call) {
  struct ps_call *c = find(STREAM, call.id);
  if (c) {
    detach(c);
    forget(c);
  }
  return ps_failure(proxy_grpc_cancel(call.id));
}

// keep keeps what came for a unary call until it ends. One without room traps: its answer
// would be another one.
static void keep(struct ps_call *c, ps_str *at, ps_str s) {
  char *p = (char *)ps_region_alloc(&c->memory, s.len);
  if (!p) ps_panic(PS_STR("no memory for what a call got"));
  __builtin_memcpy(p, s.data, s.len);
  *at = (ps_str){p, s.len};
}

static void metadata(uint32_t root, uint32_t id, ps_header h) {
  struct ps_call *c = event(STREAM, root, id);
  if (!c) return;
  if (c->kind == UNARY) {
    ps_str encoded;
    struct ps_given g = ps_expect();
    uint32_t status = proxy_get_header_map_pairs(h, &g.data, &g.len);
    if (ps_take(status, g, &encoded) == PS_OK) keep(c, h == PS_GRPC_INITIAL_METADATA ? &c->initial : &c->trailing, encoded);
    return;
  }
  void (*handle)(void *, ps_header) = h == PS_GRPC_INITIAL_METADATA ? c->handler.initial_metadata : c->handler.trailing_metadata;
  if (handle) handle(c->data, h);
}

void proxy_on_grpc_receive_initial_metadata(uint32_t root, uint32_t id, uint32_t n) PS_EXPORT(proxy_on_grpc_receive_initial_metadata);
void proxy_on_grpc_receive_initial_metadata(uint32_t root, uint32_t id, uint32_t n) { (void)n, metadata(root, id, PS_GRPC_INITIAL_METADATA); }

void proxy_on_grpc_receive_trailing_metadata(uint32_t root, uint32_t id, uint32_t n) PS_EXPORT(proxy_on_grpc_receive_trailing_metadata);
void proxy_on_grpc_receive_trailing_metadata(uint32_t root, uint32_t id, uint32_t n) { (void)n, metadata(root, id, PS_GRPC_TRAILING_METADATA); }

void proxy_on_grpc_receive(uint32_t root, uint32_t id, uint32_t size) PS_EXPORT(proxy_on_grpc_receive);
void proxy_on_grpc_receive(uint32_t root, uint32_t id, uint32_t size) {
  enum { GRPC_MESSAGE = 5 };
  ps_str message = PS_EMPTY;
  struct ps_call *c = event(STREAM, root, id);
  if (!c || (c->kind == STREAM && !c->handler.message)) return;
  if (size > 0) ps_must(ps_buffer_get((ps_buffer)GRPC_MESSAGE, 0, size, &message));
  if (c->kind == STREAM) {
    c->handler.message(c->data, message);
    return;
  }
  c->has_message = true;
  keep(c, &c->message, message);
}

void proxy_on_grpc_close(uint32_t root, uint32_t id, uint32_t code) PS_EXPORT(proxy_on_grpc_close);
void proxy_on_grpc_close(uint32_t root, uint32_t id, uint32_t code) {
  uint32_t same;
  ps_grpc_response r = {{code, PS_EMPTY}, false, PS_EMPTY, PS_NO_PAIRS, PS_NO_PAIRS};
  struct ps_call *c = event(STREAM, root, id);
  if (!c) return;
  detach(c);
  (void)last_status(&same, &r.status.message);
  if (c->kind == STREAM && c->handler.close) c->handler.close(c->data, r.status);
  if (c->kind == UNARY) {
    r.has_message = c->has_message;
    r.message = c->message;
    (void)ps_pairs_decode(c->initial, &r.initial_metadata); // empty if it is malformed
    (void)ps_pairs_decode(c->trailing, &r.trailing_metadata);
    c->unary(c->data, &r);
  }
  forget(c);
}
