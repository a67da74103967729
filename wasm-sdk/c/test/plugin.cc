// A plugin in C++ on the SDK: the header, its macros, and what is made before the first
// callback.
#include "penstock.h"

namespace {

struct config {
  ps_str hello;
  PS_LIST_OF(ps_str) more;
};

const ps_type texts_type = PS_LIST(ps_type_text);
const ps_field config_fields[] = {PS_FIELD(config, hello), PS_FIELD_OF(config, more, texts_type)};
const ps_type config_type = PS_OBJECT(config, config_fields);

struct plugin {
  config configured;
};

struct stream {
  plugin *of;
};

int64_t begun() {
  int64_t n, product;
  return ps_parse_int(PS_STR("-6000000000"), &n) && !__builtin_mul_overflow(n, int64_t{-7}, &product) && __builtin_mul_overflow(n, n, &n) ? product / 1000000000 : 0;
}

const int64_t made = begun();

ps_status configure(plugin *p, ps_str text) { return ps_parse_config(text, &config_type, &p->configured); }

void new_stream(plugin *p, stream *s) { s->of = p; }

ps_action request_headers(stream *s, bool) {
  ps_str all = PS_STR("");
  for (size_t i = 0; i < s->of->configured.more.len; i++) all = PS_CAT(all, s->of->configured.more.items[i]);
  ps_str path;
  (void)ps_property(PS_PATH("request", "path"), &path);
  if (ps_equal(path, PS_STR("/deny"))) ps_must(ps_respond(403, PS_PAIRS(PS_PAIR("x-why", "asked"), {PS_STR("x-path"), path}), PS_STR("no\n"), PS_STR("")));
  ps_must(ps_header_set(PS_REQUEST_HEADER, PS_STR("x-hello"), PS_CAT(s->of->configured.hello, all, PS_STR(" "), ps_int(made))));
  return PS_CONTINUE;
}

void done(stream *) {}
void tick(plugin *) {}
bool finish(plugin *) { return true; }
void foreign(plugin *, uint32_t, ps_str) {}

} // namespace

PS_PLUGIN(plugin, stream, configure, new_stream);
PS_ON_REQUEST_HEADERS(request_headers);
PS_ON_DONE(done);
PS_ON_TICK(tick);
PS_ON_FINISH(finish);
PS_ON_FOREIGN_FUNCTION(foreign);
