// A plugin that changes headers, bodies and trailers as the field x-do of a request says: all
// parts of a message that the SDK has.
#include "penstock.h"

typedef struct {
  char none;
} plugin;

typedef struct {
  ps_str action;
  int parts;
} stream;

static ps_status configure(plugin *p, ps_str config) {
  (void)p, (void)config;
  return PS_OK;
}

static void new_stream(plugin *p, stream *s) { (void)p, (void)s; }

static ps_str truth(bool b) { return b ? PS_STR("true") : PS_STR("false"); }

static bool is(const stream *s, ps_str action) { return ps_equal(s->action, action); }

// allocations counts those of functions that make none, and those of ps_header_get.
static ps_str allocations(void) {
  ps_str value, address;
  ps_address client;
  int64_t port;
  uint32_t before = ps_memory_now().allocations;
  for (int i = 0; i < 5; i++) {
    ps_must(ps_header_set(PS_REQUEST_HEADER, PS_STR("x-a"), PS_STR("1")));
    ps_must(ps_header_add(PS_REQUEST_HEADER, PS_STR("x-a"), PS_STR("2")));
    ps_must(ps_header_del(PS_REQUEST_HEADER, PS_STR("x-a")));
    (void)ps_header_set(PS_RESPONSE_TRAILER, PS_STR("x-a"), PS_STR("1")); // too early
    (void)ps_property(PS_PATH("source", "address"), &address);
    (void)ps_property_int(PS_PATH("source", "port"), &port);
    ps_must(ps_client_address(&client));
    (void)ps_log_enabled(PS_INFO);
  }
  uint32_t between = ps_memory_now().allocations;
  for (int i = 0; i < 5; i++) ps_must(ps_header_get(PS_REQUEST_HEADER, PS_STR("x-long"), &value));
  return PS_CAT(ps_int(between - before), PS_STR(" "), ps_int(ps_memory_now().allocations - between));
}

static void set_all(void) {
  ps_pairs list;
  size_t size, wanted = 4;
  ps_must(ps_header_all(PS_REQUEST_HEADER, &list));
  ps_must(ps_header_size(PS_REQUEST_HEADER, &size));
  ps_pair *changed = ps_alloc(PS_FOR_CALLBACK, (list.len + 3) * sizeof *changed);
  for (size_t i = 0; i < list.len; i++) {
    ps_pair h = list.items[i];
    wanted += 8 + h.name.len + 1 + h.value.len + 1;
    if (ps_equal(h.name, PS_STR(":path"))) h.value = PS_STR("/bodies/set");
    changed[i] = h;
  }
  changed[list.len] = (ps_pair)PS_PAIR("x-many", "1");
  changed[list.len + 1] = (ps_pair)PS_PAIR("x-many", "2");
  changed[list.len + 2] = (ps_pair){PS_STR("x-size-right"), truth(size == wanted)};
  ps_must(ps_header_set_all(PS_REQUEST_HEADER, (ps_pairs){changed, list.len + 3}));
}

static ps_action request_headers(stream *s, bool end) {
  ps_str value;
  size_t size;
  (void)end;
  (void)ps_header_get(PS_REQUEST_HEADER, PS_STR("x-do"), &value);
  ps_must(ps_copy(PS_FOR_STREAM, value, &s->action));
  ps_must(ps_header_del(PS_REQUEST_HEADER, PS_STR("content-length")));
  if (is(s, PS_STR("all"))) set_all();
  if (is(s, PS_STR("allocations"))) ps_must(ps_header_set(PS_REQUEST_HEADER, PS_STR("x-allocations"), allocations()));
  if (is(s, PS_STR("grpc"))) ps_must(ps_respond_grpc(7, PS_PAIRS(PS_PAIR("x-why", "asked")), PS_STR("not this one"), PS_STR("")));
  if (ps_buffer_size(PS_REQUEST_BODY, &size) != PS_ERR_NOT_FOUND || ps_buffer_all(PS_REQUEST_BODY, &value) != PS_ERR_NOT_FOUND) ps_panic(PS_STR("a body in the callback of the headers"));
  return PS_CONTINUE;
}

static ps_str upper(ps_str text) {
  char *p = ps_alloc(PS_FOR_CALLBACK, text.len);
  for (size_t i = 0; i < text.len; i++) p[i] = text.data[i] >= 'a' && text.data[i] <= 'z' ? (char)(text.data[i] - 'a' + 'A') : text.data[i];
  return (ps_str){p, text.len};
}

static ps_action request_body(stream *s, size_t size, bool end) {
  ps_str all, parts[3];
  size_t n;
  s->parts++;
  ps_must(ps_buffer_size(PS_REQUEST_BODY, &n));
  if (n != size) ps_panic(PS_STR("the size is another one"));
  if (is(s, PS_STR("upper"))) { // part by part
    ps_must(ps_buffer_all(PS_REQUEST_BODY, &all));
    ps_must(ps_buffer_set(PS_REQUEST_BODY, upper(all)));
    return PS_CONTINUE;
  }
  bool append = is(s, PS_STR("append")), prepend = is(s, PS_STR("prepend")), replace = is(s, PS_STR("replace"));
  bool range = is(s, PS_STR("range")), whole = is(s, PS_STR("whole")), trailers = is(s, PS_STR("trailers"));
  if ((append || prepend || replace || range || whole || trailers) && !end) return PS_PAUSE;
  if (append) ps_must(ps_buffer_append(PS_REQUEST_BODY, PS_STR("(end)")));
  if (prepend) ps_must(ps_buffer_prepend(PS_REQUEST_BODY, PS_STR("(start)")));
  if (replace) ps_must(ps_buffer_replace(PS_REQUEST_BODY, 1, 2, PS_STR("-")));
  if (range) {
    ps_must(ps_buffer_get(PS_REQUEST_BODY, 2, 3, &parts[0]));
    ps_must(ps_buffer_get(PS_REQUEST_BODY, size - 1, 10, &parts[1]));
    ps_must(ps_buffer_get(PS_REQUEST_BODY, size, 1, &parts[2]));
    ps_must(ps_buffer_set(PS_REQUEST_BODY, PS_CAT(parts[0], PS_STR(","), parts[1], PS_STR(","), parts[2], PS_STR(","))));
  }
  if (whole) {
    ps_must(ps_buffer_all(PS_REQUEST_BODY, &all));
    ps_must(ps_buffer_set(PS_REQUEST_BODY, ps_int((int64_t)all.len)));
  }
  if (trailers) ps_must(ps_header_set(PS_REQUEST_TRAILER, PS_STR("x-added"), PS_STR("by bodies")));
  return PS_CONTINUE;
}

static ps_action request_trailers(stream *s) {
  ps_str sent;
  ps_pairs all;
  (void)s;
  (void)ps_header_get(PS_REQUEST_TRAILER, PS_STR("x-sent"), &sent);
  ps_must(ps_header_all(PS_REQUEST_TRAILER, &all));
  ps_must(ps_header_set_all(PS_REQUEST_TRAILER, PS_PAIRS({PS_STR("x-sent"), PS_CAT(sent, PS_STR(", seen"))}, {PS_STR("x-all"), ps_int((int64_t)all.len)})));
  return PS_CONTINUE;
}

static ps_action response_headers(stream *s, bool end) {
  (void)end;
  ps_must(ps_header_del(PS_RESPONSE_HEADER, PS_STR("content-length")));
  ps_must(ps_header_set(PS_RESPONSE_HEADER, PS_STR("x-parts"), truth(s->parts > 0)));
  if (ps_header_set(PS_REQUEST_HEADER, PS_STR("x-late"), PS_STR("1")) != PS_ERR_BAD_ARGUMENT) ps_panic(PS_STR("the request has gone on, and is changed"));
  return PS_CONTINUE;
}

static ps_action response_body(stream *s, size_t size, bool end) {
  (void)size;
  if (end && is(s, PS_STR("append"))) ps_must(ps_buffer_append(PS_RESPONSE_BODY, PS_STR("!")));
  return PS_CONTINUE;
}

static ps_action response_trailers(stream *s) {
  (void)s;
  ps_must(ps_header_add(PS_RESPONSE_TRAILER, PS_STR("x-more"), PS_STR("of them")));
  return PS_CONTINUE;
}

PS_PLUGIN(plugin, stream, configure, new_stream);
PS_ON_REQUEST_HEADERS(request_headers);
PS_ON_REQUEST_BODY(request_body);
PS_ON_REQUEST_TRAILERS(request_trailers);
PS_ON_RESPONSE_HEADERS(response_headers);
PS_ON_RESPONSE_BODY(response_body);
PS_ON_RESPONSE_TRAILERS(response_trailers);
