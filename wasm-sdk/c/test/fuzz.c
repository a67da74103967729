// What a host or an operator writes, read by the SDK: built for libFuzzer.
#include "host.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  ps_str name;
  PS_LIST_OF(ps_str) list;
  PS_MAP_OF(double) map;
  int16_t number;
  bool truth;
} inner;

typedef struct {
  PS_LIST_OF(inner) list;
  inner one;
  uint64_t u;
  float f;
} outer;

static const ps_type texts_type = PS_LIST(ps_type_text), floats_type = PS_MAP(ps_type_f64);
static const ps_field inner_fields[] = {PS_FIELD(inner, name), PS_FIELD_OF(inner, list, texts_type), PS_FIELD_OF(inner, map, floats_type), PS_FIELD(inner, number), PS_FIELD(inner, truth)};
static const ps_type inner_type = PS_OBJECT(inner, inner_fields), inners_type = PS_LIST(inner_type);
static const ps_field outer_fields[] = {PS_FIELD_OF(outer, list, inners_type), PS_FIELD_OF(outer, one, inner_type), PS_FIELD(outer, u), PS_FIELD(outer, f)};
static const ps_type outer_type = PS_OBJECT(outer, outer_fields);

static ps_status configure(void *p, ps_str config) { return (void)p, (void)config, PS_OK; }
static void new_stream(void *p, void *s) { (void)p, (void)s; }
PS_PLUGIN(char, char, configure, new_stream);

static void expect(bool b) {
  if (!b) abort();
}

static void read_pairs(ps_str text) {
  ps_pairs pairs;
  ps_str encoded;
  if (ps_pairs_decode(text, &pairs) != PS_OK) {
    expect(pairs.len == 0);
    return;
  }
  expect(ps_pairs_encode(pairs, &encoded) == PS_OK);
  expect(pairs.len == 0 || ps_equal(encoded, text));
}

static void read_json(ps_str text) {
  const ps_json *v;
  outer config = {0};
  ps_status status = ps_json_parse(text, &v);
  expect(status == PS_OK ? v != NULL : status == PS_ERR_CONFIG && v == NULL);
  status = ps_parse_config(text, &outer_type, &config);
  expect(v != NULL || status != PS_OK || text.len == 0);
  expect(status == PS_OK || ps_starts_with(ps_status_text(status), PS_STR("config")));
  for (size_t i = 0; i < config.list.len; i++) { // a text is whole characters
    ps_str name = config.list.items[i].name;
    for (size_t at = 0, n; at < name.len; at += n) expect((n = ps_utf8(name.data + at, name.len - at)) > 0);
  }
  double d;
  if (v && v->kind == PS_JSON_NUMBER && ps_to_double(v->text, &d)) {
    char copy[512];
    if (v->text.len < sizeof copy && v->text.len < 64) { // what has more digits may be rounded otherwise
      memcpy(copy, v->text.data, v->text.len);
      copy[v->text.len] = 0;
      double want = strtod(copy, NULL);
      expect(memcmp(&d, &want, sizeof d) == 0);
    }
  }
}

// read_address reads the text of an address, as inet_pton does where it has no port.
static void read_address(ps_str text) {
  char copy[64];
  unsigned char want[16];
  ps_address a;
  bool ok = ps_address_parse(text, &a) == PS_OK;
  expect(ok ? a.len == 4 || a.len == 16 : a.len == 0);
  if (text.len >= sizeof copy || memchr(text.data, 0, text.len) || memchr(text.data, '[', text.len)) return;
  memcpy(copy, text.data, text.len);
  copy[text.len] = 0;
  const char *colon = strchr(copy, ':');
  if (colon && !strchr(colon + 1, ':')) return; // a port
  int family = colon ? AF_INET6 : AF_INET;
  expect(ok == (inet_pton(family, copy, want) == 1));
  if (ok) expect(memcmp(a.bytes, want + (family == AF_INET6 && a.len == 4 ? 12 : 0), a.len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  if (n == 0) return 0;
  char *copy = malloc(n); // of its size alone, so that what is read behind it is seen
  memcpy(copy, data, n);
  ps_str text = {copy + 1, n - 1};
  fake = (struct fake){.answer = PS_STR("")};
  proxy_on_context_create(1, 0);
  (void)ps_enter(1);
  if (data[0] & 1) read_pairs(text);
  else read_json(text);
  ps_cache_object object;
  int64_t number;
  bool truth;
  ps_identity who;
  (void)ps_cache_object_decode(text, &object);
  (void)ps_identity_decode(text, &who);
  (void)ps_cache_purged_decode(text, &number);
  read_address(text);
  (void)ps_read_int(text, &number);
  (void)ps_read_bool(text, &truth);
  (void)ps_parse_int(text, &number);
  proxy_on_delete(1);
  free(copy);
  return 0;
}
