// Tests of what the SDK does by itself, with a host that answers as it is told to, also
// wrongly. Built for this machine, with sanitizers.
#include "unit.h"

int failures;

ps_str str(const char *s) { return (ps_str){s, strlen(s)}; }

ps_str text(size_t n) {
  static char xs[(1 << 20) + 1];
  memset(xs, 'x', sizeof xs);
  return (ps_str){xs, n};
}

int done_streams, finished;

static ps_status configure(plugin *p, ps_str config) {
  if (ps_equal(config, PS_STR("refuse me"))) return ps_refuse(PS_CAT(PS_STR("refused: "), config));
  return ps_copy(PS_FOR_PLUGIN, config, &p->kept);
}
static void new_stream(plugin *p, stream *s) { s->plugin = p; }
static ps_action request_headers(stream *s, bool end) {
  ps_str value;
  (void)ps_header_get(PS_REQUEST_HEADER, PS_STR("a"), &value);
  s->plugin->seen++;
  return end ? PS_PAUSE : PS_CONTINUE;
}
static void done(stream *s) { done_streams += s->plugin->seen > 0; }
static bool finish(plugin *p) { return (void)p, finished++ > 0; }

PS_PLUGIN(plugin, stream, configure, new_stream);
PS_ON_REQUEST_HEADERS(request_headers);
PS_ON_DONE(done);
PS_ON_FINISH(finish);

// begin makes a plugin, and stream 2 of it.

void begin(void) {
  fake = (struct fake){.answer = PS_STR("")};
  proxy_on_context_create(1, 0);
  proxy_on_context_create(2, 1);
}

stream *state_of(uint32_t id) { return ps_enter_stream(id); }

void end(void) {
  fake.status = 0;
  proxy_on_delete(2);
  proxy_on_delete(1);
  (void)ps_enter(0);
  CHECK(ps_memory_now().used <= 64 * 1024, "%zu bytes are left", ps_memory_now().used); // tables stay
}

// ---- Texts and numbers ----

static void statuses(void) {
  static const ps_status all[] = {PS_ERR_NOT_FOUND, PS_ERR_BAD_ARGUMENT, PS_ERR_SERIALIZATION, PS_ERR_PARSE, PS_ERR_BAD_EXPRESSION, PS_ERR_INVALID_MEMORY, PS_ERR_EMPTY, PS_ERR_CAS_MISMATCH, PS_ERR_RESULT_MISMATCH, PS_ERR_INTERNAL, PS_ERR_BROKEN_CONNECTION, PS_ERR_UNIMPLEMENTED};
  for (uint32_t i = 0; i < sizeof all / sizeof *all; i++) {
    CHECK(ps_failure(i + 1) == all[i], "status %u", i + 1);
    CHECK(ps_err_host(all[i]), "status %u", i + 1);
    CHECK(ps_starts_with(ps_status_text(all[i]), PS_STR("the proxy refused: ")), "status %u", i + 1);
  }
  CHECK(!ps_err_host(PS_OK) && !ps_err_host(PS_ERR_MEMORY) && !ps_err_host(PS_ERR_CACHE_ARGUMENT) && !ps_err_host(PS_ERR_CONFIG), "they are the host's");
  CHECK(ps_err_host(ps_failure(PS_ERR_CONFIG)) && ps_err_host(ps_failure(UINT32_MAX)), "a host gives statuses of ours");
  ps_str got = ps_status_text(PS_ERR_CAS_MISMATCH);
  CHECK_IS(got, "the proxy refused: compare and swap mismatch");
  got = ps_status_text(99);
  CHECK_IS(got, "the proxy refused: status 99");
  (void)!ps_refuse(PS_STR("why"));
  got = ps_status_text(PS_ERR_CONFIG);
  CHECK_IS(got, "why");
  (void)!ps_refuse(text(10000));
  CHECK(ps_status_text(PS_ERR_CONFIG).len == 2048, "a long reason is kept");
}

static void integers(void) {
  static const struct {
    const char *text;
    bool ok;
    int64_t n;
  } tests[] = {
    {"0", true, 0}, {"-0", true, 0}, {"+7", true, 7}, {"007", true, 7}, {"-42", true, -42}, {"9223372036854775807", true, INT64_MAX}, {"-9223372036854775808", true, INT64_MIN},
    {"9223372036854775808", false, 0}, {"-9223372036854775809", false, 0}, {"99999999999999999999999", false, 0}, {"", false, 0}, {"-", false, 0}, {"+", false, 0}, {"1 ", false, 0}, {" 1", false, 0}, {"1.0", false, 0}, {"0x1", false, 0}, {"--1", false, 0},
  };
  for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
    int64_t n;
    bool ok = ps_parse_int(str(tests[i].text), &n);
    CHECK(ok == tests[i].ok && (!ok || n == tests[i].n), "\"%s\": got %d, %lld", tests[i].text, ok, (long long)n);
    if (ok && tests[i].text[0] != '+' && tests[i].text[0] != '0' && strcmp(tests[i].text, "-0") != 0) CHECK(ps_equal(ps_int(n), str(tests[i].text)), "%s is written as another one", tests[i].text);
  }
  int64_t n;
  bool b;
  uint32_t ms;
  CHECK(ps_read_int((ps_str){"\1\2\0\0\0\0\0\0", 8}, &n) == PS_OK && n == 513, "got %lld", (long long)n);
  CHECK(ps_read_int((ps_str){"\377\377\377\377\377\377\377\377", 8}, &n) == PS_OK && n == -1, "got %lld", (long long)n);
  for (size_t size = 0; size < 10; size++) CHECK(size == 8 || ps_read_int((ps_str){"\1\2\3\4\5\6\7\10\11", size}, &n) == PS_ERR_RESULT_MISMATCH, "%zu bytes are a number", size);
  CHECK(ps_read_bool((ps_str){"\1", 1}, &b) == PS_OK && b, "it is not true");
  CHECK(ps_read_bool((ps_str){"\0", 1}, &b) == PS_OK && !b, "it is true");
  CHECK(ps_read_bool(PS_STR(""), &b) == PS_ERR_RESULT_MISMATCH && ps_read_bool(PS_STR("11"), &b) == PS_ERR_RESULT_MISMATCH, "it is true or false");
  CHECK(ps_milliseconds(INT32_MAX, &ms) == PS_OK && ms == INT32_MAX && ps_milliseconds(0, &ms) == PS_OK && ms == 0, "got %u", ms);
  CHECK(ps_milliseconds(-1, &ms) == PS_ERR_BAD_ARGUMENT && ps_milliseconds((int64_t)INT32_MAX + 1, &ms) == PS_ERR_BAD_ARGUMENT && ps_milliseconds(INT64_MIN, &ms) == PS_ERR_BAD_ARGUMENT, "got %u", ms);
}

static void texts(void) {
  ps_str empty = {NULL, 0}, got = PS_PATH("a", "1b", "c");
  CHECK(got.len == 6 && memcmp(got.data, "a\0" "1b\0" "c", 6) == 0, "a path has %zu bytes", got.len);
  CHECK(ps_equal(got, ps_path(PS_STRS(PS_STR("a"), PS_STR("1b"), PS_STR("c")))), "two paths differ");
  CHECK(ps_path(PS_NO_STRS).len == 0 && ps_path(PS_STRS(PS_STR("a"), empty, PS_STR("b"))).len == 4, "paths of nothing");
  CHECK(ps_equal(empty, PS_STR("")) && ps_starts_with(PS_STR("ab"), empty) && ps_starts_with(PS_STR("ab"), PS_STR("ab")) && !ps_starts_with(PS_STR("a"), PS_STR("ab")) && !ps_equal(PS_STR("a"), PS_STR("b")), "comparisons");
  got = PS_CAT(PS_STR("a"), empty, PS_STR("bc"));
  CHECK_IS(got, "abc");
  CHECK(ps_cat(PS_NO_STRS).len == 0, "nothing is something");
}

static void pairs(void) {
  ps_str encoded;
  ps_pairs got;
  CHECK(ps_pairs_encode(PS_PAIRS(PS_PAIR("a", "1"), PS_PAIR("b", "22")), &encoded) == PS_OK && encoded.len == 29 && memcmp(encoded.data, "\2\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\2\0\0\0a\0" "1\0b\0" "22\0", 29) == 0, "%zu bytes", encoded.len);
  CHECK(ps_pairs_decode(encoded, &got) == PS_OK && got.len == 2 && ps_equal(got.items[1].name, PS_STR("b")) && ps_equal(got.items[1].value, PS_STR("22")), "%zu pairs", got.len);
  CHECK(ps_pairs_encode(PS_NO_PAIRS, &encoded) == PS_OK && encoded.len == 0 && ps_pairs_decode(encoded, &got) == PS_OK && got.len == 0, "none");
  CHECK(ps_pairs_decode((ps_str){"\0\0\0\0", 4}, &got) == PS_OK && got.len == 0, "none, said");
  static const ps_str malformed[] = {
    BYTES("\1"), BYTES("\1\0\0"), BYTES("\1\0\0\0"), BYTES("\1\0\0\0\1\0\0\0"), BYTES("\1\0\0\0\1\0\0\0\1\0\0\0a"), BYTES("\1\0\0\0\1\0\0\0\1\0\0\0a\0" "1"), BYTES("\1\0\0\0\1\0\0\0\1\0\0\0ax1\0"), BYTES("\1\0\0\0\1\0\0\0\1\0\0\0a\0" "1x"), BYTES("\1\0\0\0\1\0\0\0\1\0\0\0a\0" "1\0more"),
    BYTES("\1\0\0\0\377\377\377\377\1\0\0\0a\0" "1\0"), BYTES("\1\0\0\0\1\0\0\0\377\377\377\377a\0" "1\0"), BYTES("\377\377\377\377\1\0\0\0\1\0\0\0a\0" "1\0"), BYTES("\0\0\0\40\1\0\0\0\1\0\0\0a\0" "1\0"), BYTES("\0\0\0\0more"),
  };
  for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++) {
    char *copy = malloc(malformed[i].len); // so that what is read behind it is seen
    memcpy(copy, malformed[i].data, malformed[i].len);
    CHECK(ps_pairs_decode((ps_str){copy, malformed[i].len}, &got) == PS_ERR_RESULT_MISMATCH && got.len == 0, "malformed %zu passes", i);
    free(copy);
  }
}

static void consumers(void) {
  ps_str got;
  CHECK(ps_consumer_encode(PS_STR("a\"\\\n\xc3\xa9"), PS_STRS(PS_STR("g"), PS_STR("")), PS_FOR_CALLBACK, &got) == PS_OK, "it is refused");
  CHECK_IS(got, "{\"name\":\"a\\\"\\\\\\u000a\xc3\xa9\",\"groups\":[\"g\",\"\"]}");
  CHECK(ps_consumer_encode(PS_STR("a"), PS_NO_STRS, PS_FOR_CALLBACK, &got) == PS_OK, "it is refused");
  CHECK_IS(got, "{\"name\":\"a\"}");
  CHECK(ps_consumer_encode(PS_STR("a\xff"), PS_NO_STRS, PS_FOR_CALLBACK, &got) == PS_ERR_BAD_ARGUMENT, "no UTF-8");
}

// ---- The cache ----

static void steering(void) {
  ps_str got, parts[PS_MAX_CACHE_TAGS + 1];
  for (size_t i = 0; i < PS_MAX_CACHE_TAGS + 1; i++) parts[i] = PS_STR("x");
  static const struct {
    bool ok;
    ps_steering s;
    ps_str want;
  } tests[] = {
    {true, {0}, BYTES("\0\0\0\0\0\0\0")},
    {false, {.ttl_s = -1}, BYTES("")},
    {false, {.ttl_s = 365 * 24 * 3600 + 1}, BYTES("")},
    {false, {.force = true}, BYTES("")},
  };
  for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
    ps_status status = ps_steering_encode(&tests[i].s, PS_FOR_CALLBACK, &got);
    CHECK(status == (tests[i].ok ? PS_OK : PS_ERR_CACHE_ARGUMENT) && (!tests[i].ok || ps_equal(got, tests[i].want)), "%zu: got %x, %zu bytes", i, status, got.len);
  }
  ps_steering all = {.bypass = true, .force = true, .ttl_s = 258, .key = PS_STRS(PS_STR("ab"), PS_STR("")), .tags = PS_STRS(PS_STR("t"))};
  CHECK(ps_steering_encode(&all, PS_FOR_CALLBACK, &got) == PS_OK && got.len == 16 && memcmp(got.data, "\3\2\1\0\0\2\2\0ab\0\0\1\1\0t", 16) == 0, "%zu bytes", got.len);
  const ps_steering refused[] = {
    {.key = {parts, PS_MAX_CACHE_PARTS + 1}}, {.key = PS_STRS(text(PS_MAX_CACHE_PART + 1))}, {.tags = {parts, PS_MAX_CACHE_TAGS + 1}}, {.tags = PS_STRS(PS_STR(""))}, {.tags = PS_STRS(text(PS_MAX_CACHE_TAG + 1))},
  };
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) CHECK(ps_steering_encode(&refused[i], PS_FOR_CALLBACK, &got) == PS_ERR_CACHE_ARGUMENT && got.len == 0, "%zu passes", i);
}

static void objects(void) {
  ps_str got, many[33];
  int64_t removed;
  ps_cache_object o;
  for (size_t i = 0; i < 33; i++) many[i] = PS_STR("x");
  CHECK(ps_cache_put_encode(PS_STR("k"), PS_STR("value"), 258, PS_STRS(PS_STR("t")), &got) == PS_OK && got.len == 16 && memcmp(got.data, "\2\1\0\0\1\0k\1\1\0tvalue", 16) == 0, "%zu bytes", got.len);
  CHECK(ps_cache_purge_encode(true, PS_STRS(PS_STR("a"), PS_STR("bc")), &got) == PS_OK && got.len == 9 && memcmp(got.data, "\1\2\1\0a\2\0bc", 9) == 0, "%zu bytes", got.len);
  CHECK(ps_cache_put_encode(PS_STR(""), PS_STR(""), 60, PS_NO_STRS, &got) == PS_ERR_CACHE_ARGUMENT, "no key");
  CHECK(ps_cache_put_encode(text(1025), PS_STR(""), 60, PS_NO_STRS, &got) == PS_ERR_CACHE_ARGUMENT, "a long key");
  CHECK(ps_cache_put_encode(PS_STR("k"), text((1 << 20) + 1), 60, PS_NO_STRS, &got) == PS_ERR_CACHE_ARGUMENT, "a large value");
  CHECK(ps_cache_put_encode(PS_STR("k"), PS_STR(""), 0, PS_NO_STRS, &got) == PS_ERR_CACHE_ARGUMENT, "no time");
  CHECK(ps_cache_put_encode(PS_STR("k"), PS_STR(""), 30 * 24 * 3600 + 1, PS_NO_STRS, &got) == PS_ERR_CACHE_ARGUMENT, "too long a time");
  CHECK(ps_cache_put_encode(PS_STR("k"), PS_STR(""), 60, PS_STRS(PS_STR("")), &got) == PS_ERR_CACHE_ARGUMENT, "an empty tag");
  CHECK(ps_cache_get(PS_STR(""), &o) == PS_ERR_CACHE_ARGUMENT && ps_cache_get(text(1025), &o) == PS_ERR_CACHE_ARGUMENT && ps_cache_delete(PS_STR("")) == PS_ERR_CACHE_ARGUMENT, "a look without a key");
  CHECK(ps_cache_purge_encode(false, PS_NO_STRS, &got) == PS_ERR_CACHE_ARGUMENT && ps_cache_purge_encode(false, (ps_strs){many, 33}, &got) == PS_ERR_CACHE_ARGUMENT, "a purge of none");
  CHECK(ps_cache_purged_decode((ps_str)BYTES("\7\1\0\0"), &removed) == PS_OK && removed == 263, "got %lld", (long long)removed);
  CHECK(ps_cache_purged_decode((ps_str)BYTES("\377\377\377\377"), &removed) == PS_OK && removed == -1, "got %lld", (long long)removed);
  CHECK(ps_cache_purged_decode((ps_str)BYTES("\1"), &removed) == PS_ERR_RESULT_MISMATCH, "it ends early");
  CHECK(ps_cache_object_decode((ps_str)BYTES("\1\xdc\5\0\0\0\0\0\0value"), &o) == PS_OK && o.stale && o.left_ms == 1500 && ps_equal(o.value, PS_STR("value")), "got %llu", (unsigned long long)o.left_ms);
  CHECK(ps_cache_object_decode((ps_str)BYTES("\0\0"), &o) == PS_ERR_RESULT_MISMATCH, "it ends early");
}

// ---- Consumer objects ----

static void identities(void) {
  ps_str got, many[PS_MAX_CONSUMER_NAMESPACES + 1];
  ps_identity who;
  for (size_t i = 0; i < sizeof many / sizeof *many; i++) many[i] = PS_STR("n");
  CHECK(ps_find_encode(1, PS_STR("key-auth"), (ps_str)BYTES("k\xff"), PS_STRS(PS_STR("ab"), PS_STR("c")), &got) == PS_OK && ps_equal(got, (ps_str)BYTES("\1\10\0key-auth\2\0k\xff\2\2\0ab\1\0c")), "%zu bytes", got.len);
  const struct {
    ps_str kind, lookup;
    ps_strs namespaces;
  } refused[] = {
    {PS_STR(""), PS_STR("k"), PS_NO_STRS}, {text(65), PS_STR("k"), PS_NO_STRS}, {PS_STR("t"), PS_STR(""), PS_NO_STRS}, {PS_STR("t"), text(4097), PS_NO_STRS},
    {PS_STR("t"), PS_STR("k"), {many, PS_MAX_CONSUMER_NAMESPACES + 1}}, {PS_STR("t"), PS_STR("k"), PS_STRS(PS_STR(""))}, {PS_STR("t"), PS_STR("k"), PS_STRS(text(64))},
  };
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
    CHECK(ps_find_encode(0, refused[i].kind, refused[i].lookup, refused[i].namespaces, &got) == PS_ERR_BAD_ARGUMENT && got.len == 0, "%zu passes", i);

  const ps_str whole = BYTES("\4\0shop\2\1\0a\2\0bc\xff data");
  CHECK(ps_identity_decode(whole, &who) == PS_OK && ps_equal(who.username, PS_STR("shop")) && who.groups.len == 2 && ps_equal(who.groups.items[1], PS_STR("bc")) && ps_equal(who.data, (ps_str)BYTES("\xff data")), "%zu groups", who.groups.len);
  for (size_t n = 0; n < whole.len - 6; n++) CHECK(ps_identity_decode((ps_str){whole.data, n}, &who) == PS_ERR_RESULT_MISMATCH && who.username.len == 0, "%zu bytes", n);
  CHECK(ps_identity_decode((ps_str)BYTES("\1\0a\0"), &who) == PS_OK && who.groups.len == 0 && who.data.len == 0, "%zu groups", who.groups.len);

  // A proxy that does not have the functions says the same as one that finds nobody.
  fake = (struct fake){.answer = PS_STR(""), .status = 1};
  CHECK(ps_find_consumer(PS_STR("t"), PS_STR("k"), PS_NO_STRS, &who) == PS_ERR_UNIMPLEMENTED && ps_use_consumer() == PS_ERR_UNIMPLEMENTED, "it is Penstock");
  CHECK(ps_identify_consumer(PS_STR("t"), PS_STR("k"), PS_NO_STRS) == PS_ERR_UNIMPLEMENTED && ps_current_consumer(&who) == PS_ERR_UNIMPLEMENTED, "it is Penstock");
  fake = (struct fake){.answer = PS_STR("")};
}

// ---- Addresses ----

// IS says that an address is so many bytes.
#define IS(a, b) ((a).len == sizeof(b) - 1 && memcmp((a).bytes, b, sizeof(b) - 1) == 0)
#define V6_1 "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1"
#define MAPPED "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\2\7"

static void addresses(void) {
  ps_address a;
  CHECK(ps_address_read((ps_str)BYTES("\xc0\0\2\7"), &a) == PS_OK && IS(a, "\xc0\0\2\7"), "%zu bytes", a.len);
  CHECK(ps_address_read((ps_str)BYTES(V6_1), &a) == PS_OK && IS(a, V6_1), "%zu bytes", a.len);
  CHECK(ps_address_read((ps_str)BYTES(MAPPED), &a) == PS_OK && IS(a, "\xc0\0\2\7"), "%zu bytes", a.len);
  for (size_t n = 0; n < 18; n++) CHECK(n == 4 || n == 16 || (ps_address_read((ps_str){MAPPED "x", n}, &a) == PS_ERR_RESULT_MISMATCH && a.len == 0), "%zu bytes pass", n);

  fake = (struct fake){.answer = BYTES(V6_1)};
  CHECK(ps_client_address(&a) == PS_OK && IS(a, V6_1) && fake.calls == 1, "%zu bytes", a.len);
  fake.answer = PS_STR("192.0.2.7:80"); // 12 bytes
  CHECK(ps_client_address(&a) == PS_ERR_RESULT_MISMATCH && a.len == 0 && fake.calls == 2, "a text of the first property passes");
  // Only a property that is missing leaves it to the source.
  fake = (struct fake){.answer = PS_STR("")};
  CHECK(ps_client_address(&a) == PS_ERR_RESULT_MISMATCH && a.len == 0 && fake.calls == 1, "what is known to be unknown is asked for elsewhere");
  fake = (struct fake){.answer = PS_STR(""), .status = PS_ERR_BAD_ARGUMENT};
  CHECK(ps_client_address(&a) == PS_ERR_BAD_ARGUMENT && a.len == 0 && fake.calls == 1, "%zu bytes", a.len);
  fake = (struct fake){.answer = PS_STR(""), .status = PS_ERR_NOT_FOUND};
  CHECK(ps_client_address(&a) == PS_ERR_NOT_FOUND && a.len == 0 && fake.calls == 2, "%zu bytes", a.len);
  fake = (struct fake){.answer = PS_STR("192.0.2.7:80"), .lacks = PS_PATH("penstock", "client_address")};
  CHECK(ps_client_address(&a) == PS_OK && IS(a, "\xc0\0\2\7") && fake.calls == 2, "%zu bytes", a.len);
  fake.answer = PS_STR("@");
  CHECK(ps_client_address(&a) == PS_ERR_RESULT_MISMATCH && a.len == 0, "%zu bytes", a.len);
  fake = (struct fake){.answer = PS_STR("")};
}

static void address_texts(void) {
  ps_address a;
  static const struct {
    const char *text;
    ps_str want;
  } tests[] = {
    {"192.0.2.7:40000", BYTES("\xc0\0\2\7")}, {"192.0.2.7", BYTES("\xc0\0\2\7")}, {"255.255.255.255:65535", BYTES("\xff\xff\xff\xff")}, {"[2001:db8::1]:40000", BYTES(V6_1)}, {"[2001:DB8::1]", BYTES(V6_1)}, {"2001:db8::1", BYTES(V6_1)}, {"2001:0db8:0:0:0:0:0:1", BYTES(V6_1)},
    {"[::ffff:192.0.2.7]:80", BYTES("\xc0\0\2\7")}, {"::ffff:c000:207", BYTES("\xc0\0\2\7")}, {"::", BYTES("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0")}, {"[::1]:0", BYTES("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1")}, {"1::", BYTES("\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0")}, {"1:2:3:4:5:6:7::", BYTES("\0\1\0\2\0\3\0\4\0\5\0\6\0\7\0\0")}, {"::2:3:4:5:6:7:8", BYTES("\0\0\0\2\0\3\0\4\0\5\0\6\0\7\0\10")},
    {"1::8:9", BYTES("\0\1\0\0\0\0\0\0\0\0\0\0\0\10\0\11")}, {"64:ff9b::192.0.2.7", BYTES("\0\x64\xff\x9b\0\0\0\0\0\0\0\0\xc0\0\2\7")}, {"1:2:3:4:5:6:192.0.2.7", BYTES("\0\1\0\2\0\3\0\4\0\5\0\6\xc0\0\2\7")},
  };
  for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
    CHECK(ps_address_parse(str(tests[i].text), &a) == PS_OK && ps_equal((ps_str){(const char *)a.bytes, a.len}, tests[i].want), "%s: got %zu bytes", tests[i].text, a.len);
  static const char *const refused[] = {
    "", "@", "\xff", "/run/socket", "localhost:80", " 192.0.2.7", "192.0.2.7 ", "192.0.2", "192.0.2.7.1", "192.0.2.256", "192.0.2.07", "192.0.2.", "192..2.7", "0xc0.0.2.7", "192.0.2.-7", "192.0.2.7:", "192.0.2.7:65536", "192.0.2.7:99999999999999999999", "192.0.2.7:+80", "192.0.2.7:80 ", "192.0.2.7:80:", "[192.0.2.7]:80", "[192.0.2.7]", ":80",
    "2001:db8::1:40000", "[2001:db8::1]:", "[2001:db8::1]:65536", "[2001:db8::1", "2001:db8::1]", "[2001:db8::1]80", "[[2001:db8::1]]:80", "[]", "[]:80", "[", "[:", "]", "[fe80::1%eth0]:80", "fe80::1%1",
    ":", ":::", "1", "1:", ":1", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:8::", "::1:2:3:4:5:6:7:8", "1::2::3", "1:::2", "1:2:3:4:5:6:7:", "12345::", "g::", "-1::", "1:2:3:4:5:6:7:192.0.2.7", "1:2:3:4:5:6::192.0.2.7", "::192.0.2.7:1", "::192.0.2", "::192.0.2.256", "::ffff:192.0.2.07",
  };
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
    size_t n = strlen(refused[i]);
    char *copy = malloc(n + 1); // so that what is read behind it is seen
    memcpy(copy + 1, refused[i], n);
    CHECK(ps_address_parse((ps_str){copy + 1, n}, &a) == PS_ERR_RESULT_MISMATCH && a.len == 0, "\"%s\" passes", refused[i]);
    free(copy);
  }
}

static void response_headers(void) {
  fake = (struct fake){.answer = PS_STR("")};
  CHECK(ps_set_response_headers(PS_PAIRS(PS_PAIR("a", "1"), PS_PAIR("b", ""))) == PS_OK && fake.sent_len == 27 && memcmp(fake.sent, "\2\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\0\0\0\0a\0" "1\0b\0\0", 27) == 0, "%zu bytes", fake.sent_len);
  fake.status = PS_ERR_NOT_FOUND;
  CHECK(ps_set_response_headers(PS_NO_PAIRS) == PS_ERR_NOT_FOUND && fake.sent_len == 0, "%zu bytes", fake.sent_len);
  fake = (struct fake){.answer = PS_STR("")};
  ps_only(PS_ON_REQUEST_HEADERS | PS_SET_RESPONSE_HEADERS);
  CHECK(fake.sent_len == 4 && memcmp(fake.sent, "\1\1\0\0", 4) == 0, "%zu bytes", fake.sent_len);
}

int main(void) {
  void (*const tests[])(void) = {statuses, integers, texts, pairs, addresses, address_texts, response_headers, consumers, identities, steering, objects, test_json, test_floats, test_configurations, test_lives, test_hostile, test_contexts, test_http_calls, test_grpc_calls, test_soak, test_heap};
  for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
    ps_temp_begin();
    tests[i]();
  }
  if (failures == 0) puts("ok");
  return failures > 0;
}
