// Tests of the reader of JSON and of configurations.
#include "unit.h"

// ---- JSON ----

void test_json(void) {
  static const struct {
    const char *text;
    const char *refused; // "" is accepted
  } tests[] = {
    {"null", ""}, {" \t\r\n[ ] ", ""}, {"{\"a\":[1,-0,0.5,1e5,1E+5,2e-3,-12.50],\"b\":{\"c\":true,\"d\":false,\"\":null}}", ""},
    {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude00\"", ""}, {"\"\xf0\x9f\x98\x80\"", ""}, {"\"\\u0000\"", ""},
    {"", "no JSON: at byte 0"}, {" ", "no JSON: at byte 1"}, {"nul", "no JSON: at byte 3"}, {"nulL", "no JSON: at byte 4"}, {"tru}", "no JSON: at byte 4"}, {"{", "no JSON: at byte 1"}, {"[1,]", "no JSON: at byte 4"}, {"[,1]", "no JSON: at byte 2"}, {"[1 2]", "no JSON: at byte 4"},
    {"{a:1}", "no JSON: at byte 2"}, {"{\"a\" 1}", "no JSON: at byte 6"}, {"{\"a\":1,}", "no JSON: at byte 8"}, {"[1}", "no JSON: at byte 3"}, {"'a'", "no JSON: at byte 1"},
    {"01", "more follows the JSON value"}, {"-", "no JSON: at byte 1"}, {"+1", "no JSON: at byte 1"}, {".5", "no JSON: at byte 1"}, {"1.", "no JSON: at byte 2"}, {"1e", "no JSON: at byte 2"}, {"1e+", "no JSON: at byte 3"}, {"0x1", "more follows the JSON value"}, {"NaN", "no JSON: at byte 1"}, {"{} {}", "more follows the JSON value"},
    {"\"", "no JSON: at byte 1"}, {"\"a\n\"", "no JSON: at byte 3"}, {"\"\\x\"", "no JSON: at byte 3"}, {"\"\\u12g4\"", "no JSON: at byte 6"}, {"\"\\", "no JSON: at byte 2"}, {"\"\\u", "no JSON: at byte 3"}, {"\"\x7f\"", ""},
    {"\"\\ud800\"", "half a surrogate pair: at byte 8"}, {"\"\\ud800\\n\"", "half a surrogate pair: at byte 9"}, {"\"\\ud800\\u0041\"", "half a surrogate pair: at byte 14"}, {"\"\\udc00\"", "half a surrogate pair: at byte 8"},
    {"\"\xff\"", "no UTF-8: at byte 2"}, {"\"\xc3\"", "no UTF-8: at byte 2"}, {"\"\xc0\x80\"", "no UTF-8: at byte 2"}, {"\"\xe0\x80\x80\"", "no UTF-8: at byte 2"}, {"\"\xed\xa0\x80\"", "no UTF-8: at byte 2"}, {"\"\xf4\x90\x80\x80\"", "no UTF-8: at byte 2"}, {"\"\xf0\x80\x80\x80\"", "no UTF-8: at byte 2"}, {"\"\xf5\x80\x80\x80\"", "no UTF-8: at byte 2"},
    {"{\"a\":1,\"a\":2}", "a name that comes twice in an object: at byte 13"}, {"{\"a\":1,\"b\":1,\"\\u0061\":2}", "a name that comes twice in an object: at byte 24"}, {"[{\"a\":1},{\"a\":1}]", ""},
  };
  for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
    const ps_json *v;
    size_t n = strlen(tests[i].text);
    char *copy = malloc(n ? n : 1); // so that what is read behind it is seen
    memcpy(copy, tests[i].text, n);
    ps_temp_begin();
    ps_status status = ps_json_parse((ps_str){copy, n}, &v);
    ps_str why = status == PS_OK ? PS_STR("") : ps_status_text(status);
    CHECK(ps_equal(why, str(tests[i].refused)) && (status == PS_OK) == (v != NULL), "%s: got \"%.*s\"", tests[i].text, (int)why.len, why.data);
    free(copy);
  }
  const ps_json *v;
  int64_t n;
  CHECK(ps_json_parse(PS_STR("{\"a\":\"\\\"\\u00e9\\ud83d\\ude00z\",\"b\":[1,\"2\"],\"c\":true}"), &v) == PS_OK && v->len == 3, "it is refused");
  ps_str a = ps_json_get(v, PS_STR("a"))->text;
  CHECK_IS(a, "\"\xc3\xa9\xf0\x9f\x98\x80z");
  const ps_json *b = ps_json_get(v, PS_STR("b"));
  CHECK(b->kind == PS_JSON_LIST && b->len == 2 && ps_json_int(b->first, &n) && n == 1 && ps_json_int(b->first->next, &n) && n == 2 && !ps_json_int(b, &n), "the list is another one");
  CHECK(ps_json_get(v, PS_STR("c"))->truth && !ps_json_get(v, PS_STR("d")) && !ps_json_get(b, PS_STR("d")) && !ps_json_int(NULL, &n), "the fields are others");
  for (size_t depth = 64; depth <= 65; depth++) {
    char deep[200];
    memset(deep, '[', depth);
    memset(deep + depth, ']', depth);
    CHECK(ps_json_parse((ps_str){deep, 2 * depth}, &v) == (depth == 64 ? PS_OK : PS_ERR_CONFIG), "%zu deep", depth);
  }
  // Many names: they are compared in n log n steps.
  char *wide = malloc(40 * 20000), *p = wide;
  p += sprintf(p, "{");
  for (int i = 0; i < 20000; i++) p += sprintf(p, "\"name %d\":%d,", i * 7919 % 20000, i);
  p[-1] = '}';
  CHECK(ps_json_parse((ps_str){wide, (size_t)(p - wide)}, &v) == PS_OK && v->len == 20000, "many names are refused");
  const ps_json **sorted = ps_json_sorted(v);
  for (size_t i = 1; i < v->len; i++) {
    ps_str x = sorted[i - 1]->name, y = sorted[i]->name;
    int c = memcmp(x.data, y.data, x.len < y.len ? x.len : y.len);
    if (c > 0 || (c == 0 && x.len >= y.len)) {
      CHECK(false, "not sorted at %zu", i);
      break;
    }
  }
  free(wide);
}

void test_floats(void) {
  static const char *const tests[] = {
    "0", "-0", "1", "-1", "0.1", "0.2", "0.3", "1.5", "3.141592653589793", "123456789012345678901234567890", "1e22", "1e23", "9007199254740993", "9007199254740992.5", "9007199254740993.0000000000000000000000000000000000001", "9007199254740993.0000000000000000000000000000000000000000000000000000000000000000000000000001", "1.7976931348623157e308", "2.2250738585072014e-308", "2.2250738585072011e-308", "4.9406564584124654e-324", "5e-324", "2.4703282292062327e-324", "2.4703282292062328e-324", "2.5e-324", "1e-400", "0e999999999999", "0.000000000000000000000000000000000000000000000000000000000000001e60", "1e-323", "6.25e-310", "8.98846567431158e307",
  };
  for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
    double got, want = strtod(tests[i], NULL);
    CHECK(ps_to_double(str(tests[i]), &got) && memcmp(&got, &want, sizeof got) == 0, "%s: got %.17g; want %.17g", tests[i], got, want);
  }
  double d;
  static const char *const large[] = {"1e309", "1.7976931348623159e308", "-1e400", "1e999999999999999999999"};
  for (size_t i = 0; i < sizeof large / sizeof *large; i++) CHECK(!ps_to_double(str(large[i]), &d), "%s: got %g", large[i], d);
  uint64_t seed = 1;
  for (int i = 0; i < 200000; i++) {
    char text[80];
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    uint64_t r = seed >> 11;
    if (i % 2) {
      double v;
      uint64_t bits = seed ^ seed >> 31;
      memcpy(&v, &bits, sizeof v);
      if (!isfinite(v)) continue;
      snprintf(text, sizeof text, i % 4 == 1 ? "%.17e" : "%.25e", v);
    } else {
      snprintf(text, sizeof text, "%llu.%llue%d", (unsigned long long)r % 100000, (unsigned long long)r, (int)(r >> 20) % 650 - 340);
    }
    double got, want = strtod(text, NULL);
    bool ok = ps_to_double(str(text), &got);
    if (ok != (bool)isfinite(want) || (ok && memcmp(&got, &want, sizeof got) != 0)) CHECK(false, "%s: got %d, %.17g; want %.17g", text, ok, got, want);
  }
}

// ---- Configurations ----

typedef struct {
  int32_t weight;
} rule;

typedef struct {
  ps_str consumer;
  PS_LIST_OF(ps_str) groups;
  PS_MAP_OF(int64_t) labels;
  PS_MAP_OF(rule) rules;
} inner;

typedef struct {
  int level;
} level;

typedef struct {
  ps_str name;
  PS_LIST_OF(inner) keys;
  bool on;
  uint8_t size;
  level level;
  double plain;
  float small;
  int8_t i8;
  int16_t i16;
  uint16_t u16;
  uint32_t u32;
  int64_t i64;
  uint64_t u64;
  rule rule;
  int own; // no field
  ps_str fallback;           // "default"
  PS_LIST_OF(ps_str) tokens; // "allow-tokens"
} settings;

static ps_str read_level(const ps_json *v, void *to) {
  if (v->kind != PS_JSON_TEXT || !ps_equal(v->text, PS_STR("high"))) return PS_STR("no such level");
  ((level *)to)->level = 7;
  return PS_STR("");
}

static const ps_field rule_fields[] = {PS_FIELD(rule, weight)};
static const ps_type rule_type = PS_OBJECT(rule, rule_fields);
static const ps_type texts_type = PS_LIST(ps_type_text), numbers_type = PS_MAP(ps_type_i64), rules_type = PS_MAP(rule_type);
static const ps_field inner_fields[] = {PS_FIELD(inner, consumer), PS_FIELD_OF(inner, groups, texts_type), PS_FIELD_OF(inner, labels, numbers_type), PS_FIELD_OF(inner, rules, rules_type)};
static const ps_type inner_type = PS_OBJECT(inner, inner_fields), inners_type = PS_LIST(inner_type), level_type = PS_OWN(level, read_level);
static const ps_field settings_fields[] = {
  PS_FIELD(settings, name), PS_FIELD_OF(settings, keys, inners_type), PS_FIELD(settings, on), PS_FIELD(settings, size), PS_FIELD_OF(settings, level, level_type), PS_FIELD(settings, plain), PS_FIELD(settings, small),
  PS_FIELD(settings, i8), PS_FIELD(settings, i16), PS_FIELD(settings, u16), PS_FIELD(settings, u32), PS_FIELD(settings, i64), PS_FIELD(settings, u64), PS_FIELD_OF(settings, rule, rule_type),
  PS_FIELD_AS(settings, fallback, "default"), PS_FIELD_AS_OF(settings, tokens, "allow-tokens", texts_type),
};
static const ps_type settings_type = PS_OBJECT(settings, settings_fields);

void test_configurations(void) {
  const settings defaults = {.size = 3, .own = 9, .name = PS_STR("default"), .rule = {4}};
  static const struct {
    const char *text, *refused;
  } tests[] = {
    {"", ""}, {"{}", ""}, {"null", ""}, {"{\"keys\":null,\"on\":null,\"rule\":{\"weight\":null}}", ""},
    {"{\"kyes\":[]}", "config.kyes: unknown field"},
    {"{\"keys\":[{},{\"rules\":{\"r\":{\"weight\":1,\"wieght\":1}}}]}", "config.keys[1].rules.r.wieght: unknown field"},
    {"{\"b\":1,\"a\":{\"c\":1},\"keys\":[{\"d\":1}]}", "config.a: unknown field; config.b: unknown field; config.keys[0].d: unknown field"},
    {"{\"own\":1}", "config.own: unknown field"}, {"{\"fallback\":\"a\"}", "config.fallback: unknown field"}, {"{\"default\":1}", "config.default: a number; want a text"}, {"{\"allow-tokens\":[1]}", "config.allow-tokens[0]: a number; want a text"}, {"{\"On\":true}", "config.On: unknown field"},
    {"{\"keys\":[{\"consumer\":\"c\"},{\"consumer\":12345}]}", "config.keys[1].consumer: a number; want a text"},
    {"{\"keys\":{}}", "config.keys: an object; want a list"}, {"{\"keys\":[\"secret\"]}", "config.keys[0]: a text; want an object"}, {"{\"keys\":[{\"labels\":[1]}]}", "config.keys[0].labels: a list; want an object"},
    {"{\"on\":\"yes\"}", "config.on: a text; want true or false"}, {"{\"size\":true}", "config.size: true or false; want a number"}, {"[]", "config: a list; want an object"},
    {"{\"size\":12345}", "config.size: does not fit uint8_t"}, {"{\"size\":256}", "config.size: does not fit uint8_t"}, {"{\"size\":-1}", "config.size: does not fit uint8_t"}, {"{\"size\":1.5}", "config.size: does not fit uint8_t"}, {"{\"size\":1e1}", "config.size: does not fit uint8_t"},
    {"{\"i8\":128}", "config.i8: does not fit int8_t"}, {"{\"i8\":-129}", "config.i8: does not fit int8_t"}, {"{\"i16\":32768}", "config.i16: does not fit int16_t"}, {"{\"u16\":65536}", "config.u16: does not fit uint16_t"}, {"{\"u32\":4294967296}", "config.u32: does not fit uint32_t"},
    {"{\"i64\":9223372036854775808}", "config.i64: does not fit int64_t"}, {"{\"u64\":18446744073709551616}", "config.u64: does not fit uint64_t"}, {"{\"u64\":-1}", "config.u64: does not fit uint64_t"}, {"{\"plain\":1e309}", "config.plain: does not fit double"}, {"{\"small\":1e39}", "config.small: does not fit float"},
    {"{\"keys\":[{\"labels\":{\"l\":1.5}}],\"size\":300}", "config.keys[0].labels.l: does not fit int64_t; config.size: does not fit uint8_t"},
    {"{\"level\":\"low\"}", "config.level: no such level"}, {"{\"on\":tru}", "config: no JSON: at byte 10"}, {"{\"on\":", "config: no JSON: at byte 6"}, {"{} {}", "config: more follows the JSON value"}, {"{\"on\":true,\"on\":true}", "config: a name that comes twice in an object: at byte 21"},
  };
  begin();
  (void)ps_enter(1);
  for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
    settings got = defaults;
    ps_status status = ps_parse_config(str(tests[i].text), &settings_type, &got);
    ps_str why = status == PS_OK ? PS_STR("") : ps_status_text(status);
    CHECK(ps_equal(why, str(tests[i].refused)), "%s: got \"%.*s\"", tests[i].text, (int)why.len, why.data);
    CHECK(got.size == 3 && got.own == 9 && ps_equal(got.name, PS_STR("default")) && got.rule.weight == 4 && !got.on && got.keys.len == 0 && got.level.level == 0, "%s: it is changed", tests[i].text);
  }
  settings got = defaults;
  char *all = strdup("{\"name\":\"n\\u00e9\",\"keys\":[{\"consumer\":\"c\",\"groups\":[\"g\",\"h\"],\"labels\":{\"m\":2,\"l\":1},\"rules\":{\"r\":{\"weight\":-5}}},null,{}],\"on\":true,\"size\":255,\"level\":\"high\",\"plain\":1.5,\"small\":0.25,"
                     "\"i8\":-128,\"i16\":-32768,\"u16\":65535,\"u32\":4294967295,\"i64\":-9223372036854775808,\"u64\":18446744073709551615,\"rule\":{\"weight\":8},\"default\":\"d\",\"allow-tokens\":[\"t\"]}");
  CHECK(ps_parse_config(str(all), &settings_type, &got) == PS_OK, "%.*s", (int)ps_status_text(PS_ERR_CONFIG).len, ps_status_text(PS_ERR_CONFIG).data);
  memset(all, 'x', strlen(all)); // what was read stays
  free(all);
  ps_temp_begin();
  CHECK(got.keys.len == 3 && got.keys.items[0].groups.len == 2 && got.keys.items[0].labels.len == 2 && got.keys.items[0].rules.len == 1 && got.keys.items[1].groups.len == 0, "%zu keys", got.keys.len);
  const inner *first = &got.keys.items[0];
  CHECK_IS(got.name, "n\xc3\xa9");
  CHECK_IS(got.fallback, "d");
  CHECK(got.tokens.len == 1 && ps_equal(got.tokens.items[0], PS_STR("t")), "%zu tokens", got.tokens.len);
  CHECK(ps_equal(first->consumer, PS_STR("c")) && ps_equal(first->groups.items[1], PS_STR("h")) && ps_equal(first->labels.items[0].key, PS_STR("l")) && first->labels.items[0].value == 1 && first->labels.items[1].value == 2 && ps_equal(first->rules.items[0].key, PS_STR("r")) && first->rules.items[0].value.weight == -5, "the first key is another one");
  CHECK(got.on && got.size == 255 && got.level.level == 7 && got.plain == 1.5 && got.small == 0.25f && got.i8 == -128 && got.i16 == -32768 && got.u16 == 65535 && got.u32 == UINT32_MAX && got.i64 == INT64_MIN && got.u64 == UINT64_MAX && got.rule.weight == 8 && got.own == 9, "a value is another one");
  end();
}
