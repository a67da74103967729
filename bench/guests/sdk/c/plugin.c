// A header plugin on our SDK: four host calls an exchange, as bench/guests/c/header.c makes.
#include "penstock.h"

typedef struct {
  int unused;
} plugin;

typedef struct {
  int unused;
} stream;

static ps_status configure(plugin *p, ps_str text) {
  (void)p, (void)text;
  ps_only(PS_ON_REQUEST_HEADERS | PS_ON_RESPONSE_HEADERS);
  return PS_OK;
}

static void new_stream(plugin *p, stream *s) { (void)p, (void)s; }

PS_PLUGIN(plugin, stream, configure, new_stream);

static ps_action request_headers(stream *s, bool end) {
  ps_str agent;
  (void)s, (void)end;
  const bool known = ps_header_get(PS_REQUEST_HEADER, PS_STR("user-agent"), &agent) == PS_OK && agent.len > 0;
  ps_must(ps_header_add(PS_REQUEST_HEADER, PS_STR("x-agent"), known ? PS_STR("known") : PS_STR("none")));
  return PS_CONTINUE;
}
PS_ON_REQUEST_HEADERS(request_headers);

static ps_action response_headers(stream *s, bool end) {
  (void)s, (void)end;
  ps_must(ps_header_set(PS_RESPONSE_HEADER, PS_STR("x-served-by"), PS_STR("edge")));
  ps_must(ps_header_del(PS_RESPONSE_HEADER, PS_STR("server")));
  return PS_CONTINUE;
}
PS_ON_RESPONSE_HEADERS(response_headers);
