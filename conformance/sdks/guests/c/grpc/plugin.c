// A plugin that makes the gRPC call that a request's fields describe, and answers with what
// came.
#include "penstock.h"

enum { FIELDS = 8, MESSAGES = 8 };

typedef struct {
  char none;
} plugin;

typedef struct {
  ps_pair fields[FIELDS];
  size_t fields_len;
  ps_str body; // of the messages, in hexadecimal
  bool has_body;
  ps_grpc call;
  bool cancels;
} stream;

static ps_status configure(plugin *p, ps_str config) {
  (void)p, (void)config;
  return PS_OK;
}

static void new_stream(plugin *p, stream *s) { (void)p, (void)s; }

static ps_str get(ps_str name) {
  ps_str value;
  (void)ps_header_get(PS_REQUEST_HEADER, name, &value);
  return value;
}

static char digit_of(char c) { return (char)(c >= 'a' ? c - 'a' + 10 : c - '0'); }

// messages reads a list of messages in hexadecimal.
static size_t messages(ps_str text, ps_str *list) {
  size_t n = 0;
  for (size_t at = 0;; at++) {
    size_t begun = at;
    while (at < text.len && text.data[at] != ',') at++;
    if (n == MESSAGES || (at - begun) % 2 != 0) ps_panic(PS_STR("the messages are malformed"));
    char *p = ps_alloc(PS_FOR_CALLBACK, (at - begun) / 2);
    for (size_t i = begun; i < at; i += 2) p[(i - begun) / 2] = (char)(digit_of(text.data[i]) << 4 | digit_of(text.data[i + 1]));
    list[n++] = (ps_str){p, (at - begun) / 2};
    if (at == text.len) return n;
  }
}

// add puts a message behind the others.
static void add(stream *s, ps_str message) {
  static const char digits[] = "0123456789abcdef";
  size_t before = s->body.len + s->has_body;
  char *p = ps_alloc(PS_FOR_STREAM, before + 2 * message.len);
  if (!p) ps_panic(PS_STR("no memory"));
  for (size_t i = 0; i < s->body.len; i++) p[i] = s->body.data[i];
  if (s->has_body) p[s->body.len] = ',';
  for (size_t i = 0; i < message.len; i++) {
    p[before + 2 * i] = digits[(unsigned char)message.data[i] >> 4];
    p[before + 2 * i + 1] = digits[message.data[i] & 15];
  }
  if (s->body.len > 0) ps_free((void *)s->body.data);
  s->body = (ps_str){p, before + 2 * message.len};
  s->has_body = true;
}

static void note(stream *s, ps_str name, ps_str value) {
  if (s->fields_len == FIELDS) return;
  ps_pair *f = &s->fields[s->fields_len++];
  ps_must(ps_copy(PS_FOR_STREAM, PS_CAT(PS_STR("x-"), name), &f->name));
  ps_must(ps_copy(PS_FOR_STREAM, value, &f->value));
}

// answer ends the exchange that the call is for.
static void answer(stream *s, ps_str outcome) {
  ps_pair fields[FIELDS + 1];
  for (size_t i = 0; i < s->fields_len; i++) fields[i] = s->fields[i];
  fields[s->fields_len] = (ps_pair){PS_STR("x-outcome"), outcome};
  ps_must(ps_respond(200, (ps_pairs){fields, s->fields_len + 1}, s->body, PS_STR("")));
}

static void closed(void *data, ps_grpc_status status) {
  ps_str code = ps_int(status.code), space = PS_STR(" ");
  answer(data, PS_CAT(PS_STR("closed "), code, space, code, status.message.len > 0 ? space : PS_STR(""), status.message));
}

static void note_all(stream *s, ps_pairs list) {
  for (size_t i = 0; i < list.len; i++)
    if (ps_starts_with(list.items[i].name, PS_STR("x-"))) note(s, list.items[i].name, list.items[i].value);
}

static void answered(void *data, const ps_grpc_response *r) {
  stream *s = data;
  note_all(s, r->initial_metadata);
  note_all(s, r->trailing_metadata);
  if (r->has_message) add(s, r->message);
  closed(s, r->status);
}

static void note_one(stream *s, ps_header h, ps_str name) {
  ps_str value;
  if (ps_header_get(h, name, &value) == PS_OK) note(s, name, value);
}

static void initial_metadata(void *data, ps_header h) { note_one(data, h, PS_STR("x-grpc-test-echo-initial")); }
static void trailing_metadata(void *data, ps_header h) { note_one(data, h, PS_STR("x-grpc-test-echo-trailing-bin")); }

static void message(void *data, ps_str m) {
  stream *s = data;
  add(s, m);
  if (!s->cancels) return;
  ps_must(ps_grpc_cancel(s->call));
  if (ps_grpc_send(s->call, PS_STR(""), false) != PS_ERR_NOT_FOUND) ps_panic(PS_STR("it is not cancelled"));
  answer(s, PS_STR("cancelled 0"));
}

static ps_action request_headers(stream *s, bool end) {
  ps_str list[MESSAGES], upstream = get(PS_STR("x-upstream")), method = get(PS_STR("x-method")), cancel = get(PS_STR("x-cancel"));
  const ps_str service = PS_STR("grpc.testing.TestService");
  const ps_pairs metadata = PS_PAIRS(PS_PAIR("x-grpc-test-echo-initial", "hello"), PS_PAIR("x-grpc-test-echo-trailing-bin", "q6ur"));
  size_t n = messages(get(PS_STR("x-messages")), list);
  ps_status status;
  (void)end;
  s->cancels = ps_equal(cancel, PS_STR("yes"));
  if (ps_equal(get(PS_STR("x-kind")), PS_STR("unary"))) {
    int64_t ms;
    if (!ps_parse_int(get(PS_STR("x-timeout")), &ms)) ms = 0;
    status = ps_grpc_call(upstream, service, method, metadata, list[0], ms, answered, s, &s->call);
    if (status == PS_OK && ps_grpc_send(s->call, PS_STR(""), true) != PS_ERR_BAD_ARGUMENT) ps_panic(PS_STR("a unary call has sent two messages"));
  } else {
    status = ps_grpc_stream(upstream, service, method, metadata, (ps_grpc_handler){initial_metadata, message, trailing_metadata, closed}, s, &s->call);
    for (size_t i = 0; status == PS_OK && i < n; i++) ps_must(ps_grpc_send(s->call, list[i], false));
    if (status == PS_OK && cancel.len == 0) ps_must(ps_grpc_end(s->call));
  }
  if (status != PS_OK) answer(s, PS_CAT(PS_STR("refused "), ps_int(status)));
  return ps_equal(cancel, PS_STR("leave")) ? PS_CONTINUE : PS_PAUSE; // and what was opened with it
}

PS_PLUGIN(plugin, stream, configure, new_stream);
PS_ON_REQUEST_HEADERS(request_headers);
