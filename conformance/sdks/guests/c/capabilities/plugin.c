// A plugin that does what the field X-Do says, and answers with what came of it.
#include "penstock.h"

typedef struct {
  int unused;
} plugin;

typedef struct {
  int unused;
} stream;

// Of "open sesame".
static const char hash_of_it[] = "$2a$04$FssefhEog8zzlV77fK6iD.fbSuvarTdzAUxZhIWrS2924pwmOidQS";

static ps_status configure(plugin *p, ps_str text) { return (void)p, (void)text, PS_OK; }

static void new_stream(plugin *p, stream *s) { (void)p, (void)s; }

static ps_str told(ps_status status) { return status == PS_OK ? PS_STR("ok") : ps_status_text(status); }

static ps_str truth(bool is) { return is ? PS_STR("true") : PS_STR("false"); }

static ps_str yes(ps_status status, bool is) { return status == PS_OK ? truth(is) : ps_status_text(status); }

static ps_str number(int64_t n) { return ps_int(n); }

static void answer(ps_str text) { ps_must(ps_respond(200, PS_NO_PAIRS, text, PS_STR(""))); }

static ps_str rate(ps_status status, const ps_rate_answer *a) {
  if (status != PS_OK) return ps_status_text(status);
  return PS_CAT(truth(a->allowed), PS_STR(" "), number(a->remaining), PS_STR(" "), truth(a->reset_ms > 0), PS_STR(" "), truth(a->retry_ms > 0));
}

static void counted(void *data, ps_status error, const ps_rate_answer *a) {
  (void)data;
  answer(rate(error, a));
}

static void checked(void *data, ps_status error, bool right) {
  (void)data;
  answer(yes(error, right));
}

static ps_str then(ps_str said, ps_str more) { return said.len > 0 ? PS_CAT(said, PS_STR("; "), more) : more; }

static ps_str kv(ps_str key) {
  ps_kv_value v;
  int64_t sum;
  ps_str said = told(ps_kv_put(key, PS_STR("value"), 60, true));
  bool found = ps_kv_get(key, &v) == PS_OK;
  said = then(then(said, v.value), truth(found && v.left_ms > 50000 && v.left_ms <= 60000));
  said = then(said, told(ps_kv_put(key, PS_STR("other"), 60, true)));
  said = then(said, told(ps_kv_add(key, 1, 60, &sum)));
  said = then(said, told(ps_kv_delete(key)));
  said = then(said, truth(ps_kv_get(key, &v) == PS_OK));
  for (int i = 0; i < 2; i++) {
    ps_status status = ps_kv_add(key, i == 0 ? 5 : -7, 60, &sum);
    said = then(said, PS_CAT(number(sum), PS_STR(" "), told(status)));
  }
  said = then(said, told(ps_kv_delete(key)));
  return then(said, told(ps_kv_put(PS_STR(""), PS_STR(""), 60, false)));
}

static ps_str hex(ps_str s) {
  static const char digits[] = "0123456789abcdef";
  ps_str said = PS_STR("");
  for (size_t i = 0; i < s.len; i++) {
    unsigned char c = (unsigned char)s.data[i];
    said = PS_CAT(said, ((ps_str){digits + (c >> 4), 1}), ((ps_str){digits + (c & 15), 1}));
  }
  return said;
}

static ps_str crypto(ps_str message) {
  ps_key key;
  ps_str signature, sealed, text, said;
  bool right;
  ps_str s32 = PS_STR("ssssssssssssssssssssssssssssssss"), k32 = PS_STR("kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk");
  ps_status status = ps_new_key(PS_STR("HS256"), PS_KEY_RAW, s32, &key);
  if (status != PS_OK) return ps_status_text(status);
  status = ps_key_sign(key, message, &signature);
  said = PS_CAT(number((int64_t)signature.len), PS_STR(" "), told(status));
  status = ps_key_verify(key, signature, message, &right);
  said = then(said, yes(status, right));
  status = ps_key_verify(key, signature, PS_STR("else"), &right);
  said = then(said, yes(status, right));
  said = then(said, told(ps_key_seal(key, message, PS_STR(""), &sealed)));
  ps_key_delete(key);
  said = then(said, told(ps_key_sign(key, message, &signature)));
  said = then(said, told(ps_new_key(PS_STR("HS256"), PS_KEY_RAW, PS_STR("short"), &key)));
  status = ps_new_key(PS_STR("A256GCM"), PS_KEY_RAW, k32, &key);
  if (status != PS_OK) return ps_status_text(status);
  status = ps_key_seal(key, message, PS_STR("with"), &sealed);
  said = then(said, PS_CAT(number((int64_t)sealed.len - (int64_t)message.len), PS_STR(" "), told(status)));
  status = ps_key_open(key, sealed, PS_STR("with"), &right, &text);
  said = then(said, PS_CAT(text, PS_STR(" "), yes(status, right)));
  status = ps_key_open(key, sealed, PS_STR("else"), &right, &text);
  said = then(said, yes(status, right));
  ps_key_delete(key);
  status = ps_hash(PS_STR("sha256"), message, &text);
  said = then(said, PS_CAT(hex(text), PS_STR(" "), told(status)));
  return then(said, told(ps_hash(PS_STR("md5"), message, &text)));
}

static ps_str field(ps_str name) {
  ps_str value;
  return ps_header_get(PS_REQUEST_HEADER, name, &value) == PS_OK ? value : PS_STR("");
}

static ps_str refused(void) {
  ps_str gzip = PS_STR("gzip"), none = PS_STR("");
  ps_str said = told(ps_encode_body(PS_REQUEST_BODY, gzip, 0));
  said = then(said, told(ps_encode_body(PS_REQUEST_BODY, PS_STR("foo"), 0)));
  said = then(said, told(ps_encode_body(PS_REQUEST_BODY, gzip, 10)));
  said = then(said, told(ps_decode_body(PS_REQUEST_BODY, 100, none)));
  said = then(said, told(ps_decode_body(PS_REQUEST_BODY, 0, none)));
  return then(said, told(ps_encode_body(PS_RESPONSE_BODY, gzip, 0)));
}

static ps_action response_headers(stream *s, bool end) {
  (void)s, (void)end;
  if (ps_equal(field(PS_STR("x-do")), PS_STR("encode"))) {
    ps_status status = ps_encode_body(PS_RESPONSE_BODY, field(PS_STR("x-with")), 5);
    ps_must(ps_header_set(PS_RESPONSE_HEADER, PS_STR("x-said"), told(status)));
  }
  return PS_CONTINUE;
}

static ps_action request_headers(stream *s, bool end) {
  ps_str step = field(PS_STR("x-do")), with = field(PS_STR("x-with"));
  ps_rate bucket = {2, 60000, 2, false}, window = {1, 3600000, 0, true};
  ps_rate_answer a;
  bool now, right;
  (void)s, (void)end;
  if (ps_equal(step, PS_STR("rate"))) {
    ps_status status = ps_take_rate(&bucket, with, 1, &a);
    answer(rate(status, &a));
  } else if (ps_equal(step, PS_STR("window"))) {
    ps_status status = ps_take_rate(&window, with, 1, &a);
    answer(rate(status, &a));
  } else if (ps_equal(step, PS_STR("shared"))) {
    ps_status status = ps_take_shared_rate(&bucket, with, 1, counted, NULL, &now, &a);
    if (now || status != PS_OK) answer(rate(status, &a));
  } else if (ps_equal(step, PS_STR("kv"))) {
    answer(kv(with));
  } else if (ps_equal(step, PS_STR("encode"))) {
    answer(refused());
  } else if (ps_equal(step, PS_STR("crypto"))) {
    answer(crypto(with));
  } else if (ps_equal(step, PS_STR("password"))) {
    ps_status status = ps_check_password((ps_str){hash_of_it, sizeof hash_of_it - 1}, with, checked, NULL, &now, &right);
    if (now || status != PS_OK) answer(yes(status, right));
  }
  return PS_PAUSE;
}

PS_PLUGIN(plugin, stream, configure, new_stream);
PS_ON_REQUEST_HEADERS(request_headers);
PS_ON_RESPONSE_HEADERS(response_headers);
