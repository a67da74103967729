// A plugin for raw connections: what conformance/tcp's guest lines does, with the functions of
// the SDK. It holds what the client says until a line is whole, and hands it on in upper case.
// What the upstream says is put into brackets. Its configuration is a client that is refused.
#include "penstock.h"

enum { WAITING = 16 };

typedef struct {
  ps_str refused;
  ps_context waiting[WAITING];
  size_t waiting_len;
} plugin;

typedef struct {
  plugin *plugin;
} stream;

static ps_status configure(plugin *p, ps_str config) {
  ps_status status = ps_copy(PS_FOR_PLUGIN, config, &p->refused);
  return status == PS_OK ? ps_set_tick_period(20) : status;
}

static void new_stream(plugin *p, stream *s) { s->plugin = p; }

// tick: the connections go on that said "later".
static void tick(plugin *p) {
  for (size_t i = 0; i < p->waiting_len; i++) {
    ps_must(ps_set_effective_context(p->waiting[i]));
    ps_must(ps_resume(PS_DOWNSTREAM));
  }
  p->waiting_len = 0;
}

static ps_action new_connection(stream *s) {
  ps_str source;
  ps_must(ps_property_string(PS_PATH("source", "address"), &source));
  if (s->plugin->refused.len > 0 && ps_starts_with(source, s->plugin->refused)) ps_must(ps_reset(PS_DOWNSTREAM));
  return PS_CONTINUE;
}

static ps_action downstream_data(stream *s, size_t size, bool end) {
  ps_str b;
  plugin *p = s->plugin;
  if (size == 0) return PS_CONTINUE;
  ps_must(ps_buffer_get(PS_DOWNSTREAM_DATA, 0, size, &b));
  if (ps_starts_with(b, PS_STR("trap"))) ps_panic(PS_STR("asked for"));
  if (ps_starts_with(b, PS_STR("close"))) {
    ps_must(ps_reset(PS_DOWNSTREAM));
  } else if (ps_starts_with(b, PS_STR("later"))) {
    if (p->waiting_len == WAITING) ps_panic(PS_STR("too many wait"));
    p->waiting[p->waiting_len++] = ps_effective_context();
    return PS_PAUSE;
  } else if (!end && b.data[b.len - 1] != '\n') {
    return PS_PAUSE;
  }
  char *upper = ps_alloc(PS_FOR_CALLBACK, b.len);
  for (size_t i = 0; i < b.len; i++) upper[i] = b.data[i] >= 'a' && b.data[i] <= 'z' ? (char)(b.data[i] - 'a' + 'A') : b.data[i];
  ps_must(ps_buffer_set(PS_DOWNSTREAM_DATA, (ps_str){upper, b.len}));
  return PS_CONTINUE;
}

static ps_action upstream_data(stream *s, size_t size, bool end) {
  (void)s, (void)end;
  if (size > 0) {
    ps_must(ps_buffer_prepend(PS_UPSTREAM_DATA, PS_STR("[")));
    ps_must(ps_buffer_append(PS_UPSTREAM_DATA, PS_STR("]")));
  }
  return PS_CONTINUE;
}

static void downstream_close(stream *s, ps_peer by) {
  (void)s;
  ps_log(PS_WARN, PS_CAT(PS_STR("client closed by "), ps_int(by)));
}

static void upstream_close(stream *s, ps_peer by) {
  (void)s;
  ps_log(PS_WARN, PS_CAT(PS_STR("upstream closed by "), ps_int(by)));
}

static void done(stream *s) {
  (void)s;
  ps_log(PS_WARN, PS_STR("stream done"));
}

PS_PLUGIN(plugin, stream, configure, new_stream);
PS_ON_TICK(tick);
PS_ON_NEW_CONNECTION(new_connection);
PS_ON_DOWNSTREAM_DATA(downstream_data);
PS_ON_UPSTREAM_DATA(upstream_data);
PS_ON_DOWNSTREAM_CLOSE(downstream_close);
PS_ON_UPSTREAM_CLOSE(upstream_close);
PS_ON_DONE(done);
