// redirect sends clients to other places. See README.md.
#include "rules.h"

typedef struct {
  rules rules;
} plugin;

typedef struct {
  plugin *plugin;
} stream;

static ps_status configure(plugin *p, ps_str text) {
  ps_only(PS_ON_REQUEST_HEADERS);
  return rules_parse(text, &p->rules);
}

static void new_stream(plugin *p, stream *s) { s->plugin = p; }

// over_tls says whether the client uses TLS: with this proxy, or with a trusted one in front
// of it, which alone can have sent the field.
static bool over_tls(void) {
  ps_str value;
  if (ps_property(PS_PATH("request", "scheme"), &value) == PS_OK && ps_equal(value, PS_STR("https"))) return true;
  return ps_header_get(PS_REQUEST_HEADER, PS_STR("x-forwarded-proto"), &value) == PS_OK && ps_equal(value, PS_STR("https"));
}

static ps_action request_headers(stream *s, bool end) {
  ps_str location;
  (void)end;
  request q = {.tls = !s->plugin->rules.https || over_tls()};
  if (ps_header_get(PS_REQUEST_HEADER, PS_STR(":path"), &q.path) != PS_OK) return PS_CONTINUE;
  (void)ps_header_get(PS_REQUEST_HEADER, PS_STR(":authority"), &q.authority); // or it has none
  int status = rules_find(&s->plugin->rules, &q, &location);
  if (status == 0) return PS_CONTINUE;
  ps_must(ps_respond(status, PS_PAIRS({PS_STR("location"), location}), PS_STR(""), PS_STR("redirect"))); // or a trap: onError decides
  return PS_PAUSE;
}

PS_PLUGIN(plugin, stream, configure, new_stream);
PS_ON_REQUEST_HEADERS(request_headers);
