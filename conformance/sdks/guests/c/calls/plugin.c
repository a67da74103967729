// A plugin that asks another Service by HTTP what becomes of a request, as its field x-do
// says: the calls, pauses and resets of the SDK.
#include "penstock.h"

enum { WAITING = 16 };

typedef struct {
  ps_str upstream;
  ps_counter answers;
  ps_context waiting[WAITING];
  size_t waiting_len;
  int beats;
} plugin;

typedef struct {
  plugin *plugin;
} stream;

static ps_status configure(plugin *p, ps_str config) {
  ps_status status = ps_copy(PS_FOR_PLUGIN, config, &p->upstream);
  if (status == PS_OK) status = ps_define_counter(PS_STR("answers"), &p->answers);
  return status == PS_OK ? ps_set_tick_period(20) : status;
}

static void new_stream(plugin *p, stream *s) { s->plugin = p; }

static ps_str truth(bool b) { return b ? PS_STR("true") : PS_STR("false"); }

static ps_status ask(const plugin *p, ps_str token, ps_str path, int64_t timeout_ms, ps_http_answered *answered, void *data) {
  return ps_http_call(p->upstream, PS_PAIRS(PS_PAIR(":method", "POST"), {PS_STR(":path"), path}, PS_PAIR(":authority", "auth.example"), {PS_STR("x-token"), token}),
    PS_STR("is this one allowed?"), PS_PAIRS(PS_PAIR("x-end", "of the question")), timeout_ms, answered, data);
}

static void beat(void *data, const ps_http_response *r) {
  (void)data;
  ps_log(PS_WARN, PS_CAT(PS_STR("the beat's answer: "), ps_int(ps_http_status(r))));
}

// tick: a call of its own, once, before it is about another stream; then those that wait go on.
static void tick(plugin *p) {
  ps_str none;
  if (++p->beats == 1) {
    ps_must(ask(p, PS_STR("beat"), PS_STR("/beat"), 0, beat, p));
    ps_must(ps_call_foreign(PS_STR("resolve_lua"), PS_STR("localhost"), &none));
  }
  for (size_t i = 0; i < p->waiting_len; i++) {
    if (ps_set_effective_context(p->waiting[i]) == PS_ERR_BAD_ARGUMENT) continue; // it has ended
    ps_must(ps_header_set(PS_REQUEST_HEADER, PS_STR("x-ticked"), truth(ps_effective_context() == p->waiting[i])));
    ps_must(ps_resume(PS_REQUEST));
  }
  p->waiting_len = 0;
}

// foreign_function: how long an address is, the address, its name.
static void foreign_function(plugin *p, uint32_t function, ps_str arguments) {
  (void)p;
  size_t at = 1 + (size_t)(unsigned char)arguments.data[0];
  ps_log(PS_WARN, PS_CAT(PS_STR("function "), ps_int(function), PS_STR(" found "), ((ps_str){arguments.data + at, arguments.len - at})));
}

static void answer(int status, ps_str body) { ps_must(ps_respond(status, PS_PAIRS(PS_PAIR("x-by", "calls")), body, PS_STR("asked"))); }

static void answered(void *data, const ps_http_response *r) {
  stream *s = data;
  ps_str body, user, sum, part;
  size_t size;
  ps_counter_increment(s->plugin->answers, 1);
  ps_status read = ps_buffer_all(r->body, &body);
  if (r->error != PS_OK) {
    answer(502, PS_CAT(truth(r->error == PS_ERR_BROKEN_CONNECTION), PS_STR(" "), ps_int(ps_http_status(r)), PS_STR(" "), truth(body.len == 0), PS_STR(" "), truth(r->message.len > 0)));
    return;
  }
  ps_must(read);
  if (ps_http_status(r) != 200) {
    answer(403, body);
    return;
  }
  (void)ps_header_get(r->header, PS_STR("x-user"), &user);
  (void)ps_header_get(r->trailer, PS_STR("x-sum"), &sum);
  ps_must(ps_buffer_size(r->body, &size));
  ps_must(ps_buffer_get(r->body, 1, 3, &part));
  if (ps_header_set(r->header, PS_STR("x-user"), PS_STR("forged")) != PS_ERR_BAD_ARGUMENT) ps_panic(PS_STR("an answer is changed"));
  ps_must(ps_header_set(PS_REQUEST_HEADER, PS_STR("x-user"), user));
  ps_must(ps_header_set(PS_REQUEST_HEADER, PS_STR("x-answer"), PS_CAT(sum, PS_STR(" "), ps_int((int64_t)size), PS_STR(" "), part)));
  ps_must(ps_resume(PS_REQUEST));
}

static void count(void *data, const ps_http_response *r) {
  const stream *s = data;
  (void)r;
  ps_counter_increment(s->plugin->answers, 1);
}

static void again(void *data, const ps_http_response *r) {
  stream *s = data;
  (void)r;
  ps_must(ask(s->plugin, PS_STR("good"), PS_STR("/again"), 0, answered, s));
}

static ps_action request_headers(stream *s, bool end) {
  ps_str what;
  plugin *p = s->plugin;
  (void)end;
  (void)ps_header_get(PS_REQUEST_HEADER, PS_STR("x-do"), &what);
  if (ps_equal(what, PS_STR("tick"))) {
    if (p->waiting_len == WAITING) ps_panic(PS_STR("too many wait"));
    p->waiting[p->waiting_len++] = ps_effective_context();
    return PS_PAUSE;
  }
  if (ps_equal(what, PS_STR("reset"))) {
    ps_must(ps_reset(PS_REQUEST));
    return PS_CONTINUE;
  }
  if (ps_equal(what, PS_STR("resume"))) { // wins over the pause
    ps_must(ps_resume(PS_REQUEST));
    return PS_PAUSE;
  }
  if (ps_equal(what, PS_STR("unknown"))) {
    ps_status status = ps_http_call(PS_STR("outbound|80||nobody.default.svc.cluster.local"), PS_PAIRS(PS_PAIR(":method", "GET"), PS_PAIR(":path", "/"), PS_PAIR(":authority", "a")),
      PS_STR(""), PS_NO_PAIRS, 1000, count, s);
    answer(400, PS_CAT(truth(status == PS_ERR_BAD_ARGUMENT), PS_STR(" "), truth(ps_err_host(status)), PS_STR(" "), ps_status_text(status)));
    return PS_CONTINUE;
  }
  if (ps_equal(what, PS_STR("never"))) {
    answer(400, ps_status_text(ask(p, PS_STR(""), PS_STR("/"), -1, count, s)));
    return PS_CONTINUE;
  }
  if (ps_equal(what, PS_STR("leave"))) { // and do not wait for the answer
    ps_must(ask(p, PS_STR("held"), PS_STR("/"), 0, count, s));
    return PS_CONTINUE;
  }
  if (ps_equal(what, PS_STR("twice"))) ps_must(ask(p, PS_STR("good"), PS_STR("/"), 0, again, s));
  else ps_must(ask(p, what, PS_STR("/check?a=b"), 500, answered, s));
  return PS_PAUSE;
}

PS_PLUGIN(plugin, stream, configure, new_stream);
PS_ON_TICK(tick);
PS_ON_FOREIGN_FUNCTION(foreign_function);
PS_ON_REQUEST_HEADERS(request_headers);
