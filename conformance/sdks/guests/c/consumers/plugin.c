// A plugin that does what the field X-Do says, step by step, and tells in X-Said what came
// of each.
#include "penstock.h"

typedef struct {
  ps_consumer somebody;
} plugin;

typedef struct {
  plugin *plugin;
} stream;

static ps_status configure(plugin *p, ps_str text) {
  (void)text;
  ps_only(PS_ON_REQUEST_HEADERS | PS_SET_RESPONSE_HEADERS);
  return ps_new_consumer(PS_STR("somebody"), PS_STRS(PS_STR("g"), PS_STR("h")), &p->somebody);
}

static void new_stream(plugin *p, stream *s) { s->plugin = p; }

static ps_str told(ps_status status) { return status == PS_OK ? PS_STR("ok") : ps_status_text(status); }

// shown says who it is; the NUL in the data becomes a space.
static ps_str shown(ps_status status, const ps_identity *who) {
  ps_str said, data = PS_STR("");
  if (status != PS_OK) return ps_status_text(status);
  for (size_t i = 0; i < who->data.len; i++) data = PS_CAT(data, who->data.data[i] ? ((ps_str){who->data.data + i, 1}) : PS_STR(" "));
  said = PS_CAT(who->username, PS_STR("/"), data, PS_STR(" ["));
  for (size_t i = 0; i < who->groups.len; i++) said = PS_CAT(said, i > 0 ? PS_STR(" ") : PS_STR(""), who->groups.items[i]);
  return PS_CAT(said, PS_STR("]"));
}

static ps_str client(void) {
  ps_address a;
  if (ps_client_address(&a) != PS_OK) return PS_STR("unknown");
  char *hex = ps_alloc(PS_FOR_CALLBACK, 2 * a.len);
  for (size_t i = 0; i < 2 * a.len; i++) hex[i] = "0123456789abcdef"[i % 2 ? a.bytes[i / 2] & 15 : a.bytes[i / 2] >> 4];
  return (ps_str){hex, 2 * a.len};
}

static ps_str step(plugin *p, ps_str name, ps_str kind, ps_str key) {
  ps_identity who;
  ps_status status;
  if (ps_equal(name, PS_STR("set"))) return told(ps_set_consumer(p->somebody));
  if (ps_equal(name, PS_STR("use"))) return told(ps_use_consumer());
  if (ps_equal(name, PS_STR("identify"))) return told(ps_identify_consumer(kind, key, PS_STRS(PS_STR("partners"))));
  if (ps_equal(name, PS_STR("claim"))) return told(ps_set_claims(key));
  if (ps_equal(name, PS_STR("claims"))) return ps_property(PS_PATH("penstock", "claims"), &kind) == PS_OK ? kind : PS_STR("");
  if (ps_equal(name, PS_STR("client"))) return client();
  if (ps_equal(name, PS_STR("fields"))) return told(ps_set_response_headers(PS_PAIRS(PS_PAIR("x-set", "at the request"), {PS_STR("x-got-x-kind"), key})));
  if (ps_equal(name, PS_STR("pseudo"))) return told(ps_set_response_headers(PS_PAIRS(PS_PAIR("x-unset", "1"), PS_PAIR(":status", "200"))));
  if (ps_equal(name, PS_STR("find"))) status = ps_find_consumer(kind, key, PS_STRS(PS_STR("partners")), &who);
  else if (ps_equal(name, PS_STR("own"))) status = ps_find_consumer(kind, key, PS_NO_STRS, &who);
  else status = ps_current_consumer(&who);
  return shown(status, &who);
}

static ps_str field(ps_str name) {
  ps_str value;
  return ps_header_get(PS_REQUEST_HEADER, name, &value) == PS_OK ? value : PS_STR("");
}

static ps_action request_headers(stream *s, bool end) {
  ps_str steps = field(PS_STR("x-do")), kind = field(PS_STR("x-kind")), key = field(PS_STR("x-key")), said = PS_STR("");
  (void)end;
  for (size_t i = 0; i < steps.len;) {
    size_t n = 0;
    while (i + n < steps.len && steps.data[i + n] != ' ') n++;
    ps_str one = step(s->plugin, (ps_str){steps.data + i, n}, kind, key);
    said = said.len > 0 ? PS_CAT(said, PS_STR("; "), one) : one;
    i += n + 1;
  }
  ps_must(ps_header_set(PS_REQUEST_HEADER, PS_STR("x-said"), said));
  return PS_CONTINUE;
}

PS_PLUGIN(plugin, stream, configure, new_stream);
PS_ON_REQUEST_HEADERS(request_headers);
