// Tests of the rules, built for this machine with sanitizers and the SDK's host for tests.
#include "../rules.h"
#include "../sdk/test/host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void ps_temp_begin(void);

typedef struct {
  int unused;
} none;
static ps_status configure(none *p, ps_str text) { return (void)p, (void)text, PS_OK; }
static void new_stream(none *p, none *s) { (void)p, (void)s; }
PS_PLUGIN(none, none, configure, new_stream);

static int failures;

// copied is a text whose end the sanitizer knows.
static ps_str copied(const char *s) {
  size_t n = strlen(s);
  char *copy = malloc(n ? n : 1);
  memcpy(copy, s, n);
  return (ps_str){copy, n};
}

static void test_parse(void) {
  static const struct {
    const char *text, *refused;
  } tests[] = {
    {"{\"https\":true}", ""},
    {"{\"rules\":[{\"from\":{\"exact\":\"/a\"},\"to\":\"/b?c\",\"status\":301,\"query\":\"drop\"}]}", ""},
    {"{\"rules\":[{\"from\":{\"hostname\":\"a.example\"},\"to\":\"https://b.example:8443\"}]}", ""},
    {"{\"rules\":[{\"from\":{\"hostname\":\"a.example\",\"prefix\":\"/a/\"},\"to\":\"/b/\"}]}", ""},
    {"", "config.rules: none, and https is not true"},
    {"{\"rules\":[]}", "config.rules: none, and https is not true"},
    {"{\"https\":1}", "config.https: "},
    {"{\"https\":true,\"httpsPort\":0}", "config.httpsPort: want 1 to 65535"},
    {"{\"https\":true,\"httpsPort\":65536}", "config.httpsPort: want 1 to 65535"},
    {"{\"https\":true,\"httpsStatus\":200}", "config.httpsStatus: want 301"},
    {"{\"rules\":[{}]}", "config.rules[0].from: want exact, prefix or hostname"},
    {"{\"rules\":[{\"from\":{\"exact\":\"/a\",\"prefix\":\"/b\"},\"to\":\"/c\"}]}", "config.rules[0].from: exact and prefix exclude each other"},
    {"{\"rules\":[{\"from\":{\"exact\":\"a\"},\"to\":\"/c\"}]}", "config.rules[0].from.exact: want a path"},
    {"{\"rules\":[{\"from\":{\"exact\":\"/a?b\"},\"to\":\"/c\"}]}", "config.rules[0].from.exact: want a path"},
    {"{\"rules\":[{\"from\":{\"prefix\":\"\"},\"to\":\"/c\"}]}", "config.rules[0].from.prefix: want a path"},
    {"{\"rules\":[{\"from\":{\"hostname\":\"A.example\"},\"to\":\"/c\"}]}", "config.rules[0].from.hostname: want a hostname"},
    {"{\"rules\":[{\"from\":{\"hostname\":\"a..example\"},\"to\":\"/c\"}]}", "config.rules[0].from.hostname: want a hostname"},
    {"{\"rules\":[{\"from\":{\"hostname\":\"a.example:80\"},\"to\":\"/c\"}]}", "config.rules[0].from.hostname: want a hostname"},
    {"{\"rules\":[{\"from\":{\"exact\":\"/a\"}}]}", "config.rules[0].to: want a path"},
    {"{\"rules\":[{\"from\":{\"exact\":\"/a\"},\"to\":\"//b.example\"}]}", "config.rules[0].to: want a path"},
    {"{\"rules\":[{\"from\":{\"exact\":\"/a\"},\"to\":\"/\\\\b.example\"}]}", "config.rules[0].to: want a path"},
    {"{\"rules\":[{\"from\":{\"exact\":\"/a\"},\"to\":\"javascript:alert(1)\"}]}", "config.rules[0].to: want a path"},
    {"{\"rules\":[{\"from\":{\"exact\":\"/a\"},\"to\":\"https://\"}]}", "config.rules[0].to: want a path"},
    {"{\"rules\":[{\"from\":{\"exact\":\"/a\"},\"to\":\"https://u@b.example\"}]}", "config.rules[0].to: want a path"},
    {"{\"rules\":[{\"from\":{\"exact\":\"/a\"},\"to\":\"https://b.example:0\"}]}", "config.rules[0].to: want a path"},
    {"{\"rules\":[{\"from\":{\"exact\":\"/a\"},\"to\":\"https://b.example:65536/\"}]}", "config.rules[0].to: want a path"},
    {"{\"rules\":[{\"from\":{\"exact\":\"/a\"},\"to\":\"/b\\r\\nc\"}]}", "config.rules[0].to: want a path"},
    {"{\"rules\":[{\"from\":{\"exact\":\"/a\"},\"to\":\"/b#c\"}]}", "config.rules[0].to: want a path"},
    {"{\"rules\":[{\"from\":{\"prefix\":\"/a\"},\"to\":\"/b?c\"}]}", "config.rules[0].to: what follows a prefix"},
    {"{\"rules\":[{\"from\":{\"exact\":\"/a\"},\"to\":\"/a\"}]}", "config.rules[0].to: it leads back"},
    {"{\"rules\":[{\"from\":{\"exact\":\"/a\"},\"to\":\"/a?b\"}]}", "config.rules[0].to: it leads back"},
    {"{\"rules\":[{\"from\":{\"prefix\":\"/a\"},\"to\":\"/a/b\"}]}", "config.rules[0].to: it leads back"},
    {"{\"rules\":[{\"from\":{\"hostname\":\"a.example\"},\"to\":\"/b\"}]}", "config.rules[0].to: it leads back"},
    {"{\"rules\":[{\"from\":{\"exact\":\"/a\"},\"to\":\"/b\",\"status\":300}]}", "config.rules[0].status: want 301"},
    {"{\"rules\":[{\"from\":{\"exact\":\"/a\"},\"to\":\"/b\",\"query\":\"\"}]}", "config.rules[0].query: want keep or drop"},
    {"{\"rules\":[{\"from\":{\"exact\":\"/a\"},\"to\":\"/b\"},{\"from\":{\"path\":\"/a\"}}]}", "config.rules[1].from.path: unknown field"},
  };
  for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
    rules r;
    ps_temp_begin();
    ps_str text = copied(tests[i].text);
    ps_status status = rules_parse(text, &r);
    ps_str why = status == PS_OK ? PS_STR("") : ps_status_text(status);
    ps_str want = {tests[i].refused, strlen(tests[i].refused)};
    if ((want.len == 0) != (status == PS_OK) || !ps_starts_with(why, want)) {
      failures++;
      fprintf(stderr, "%s: got \"%.*s\"\n", tests[i].text, (int)why.len, why.data);
    }
    free((char *)text.data);
  }
}

static void test_find(void) {
  static const char text[] =
    "{\"rules\":["
    "{\"from\":{\"exact\":\"/old\"},\"to\":\"/new\"},"
    "{\"from\":{\"exact\":\"/search\"},\"to\":\"/find?kind=all\",\"status\":302},"
    "{\"from\":{\"prefix\":\"/docs/\"},\"to\":\"https://docs.example/v2/\",\"status\":301},"
    "{\"from\":{\"prefix\":\"/top\"},\"to\":\"/\",\"status\":307,\"query\":\"drop\"},"
    "{\"from\":{\"hostname\":\"shop.example.com\"},\"to\":\"https://www.example.com\"}]}";
  static const struct {
    const char *authority, *path;
    int status;
    const char *location;
  } tests[] = {
    {"a.example", "/old", 308, "/new"},
    {"a.example", "/old?x=1&y=2", 308, "/new?x=1&y=2"},
    {"a.example", "/old?", 308, "/new"},
    {"a.example", "/old/", 0, ""},
    {"a.example", "/older", 0, ""},
    {"a.example", "/search?q=tea", 302, "/find?kind=all&q=tea"},
    {"a.example", "/docs", 301, "https://docs.example/v2/"},
    {"a.example", "/docs/a/b?c", 301, "https://docs.example/v2/a/b?c"},
    {"a.example", "/docs//evil.example", 301, "https://docs.example/v2//evil.example"},
    {"a.example", "/docsx", 0, ""},
    {"a.example", "/docs/@evil.example", 301, "https://docs.example/v2/@evil.example"},
    {"a.example", "/top", 307, "/"},
    {"a.example", "/top/a?b", 307, "/a"},
    {"a.example", "/top//evil.example/x", 307, "/evil.example/x"},
    {"a.example", "/top///evil.example", 307, "/evil.example"},
    {"a.example", "/top/\\evil.example", 307, "/%5Cevil.example"},
    {"a.example", "/top/\r\nSet-Cookie: a=b", 307, "/%0D%0ASet-Cookie:%20a=b"},
    {"a.example", "/top/\x80\xff<\">#", 307, "/%80%FF%3C%22%3E%23"},
    {"a.example", "/old?\r\nA: b\\", 308, "/new?%0D%0AA:%20b%5C"},
    {"shop.example.com", "/a?b=c", 308, "https://www.example.com/a?b=c"},
    {"SHOP.example.com:8080", "/", 308, "https://www.example.com/"},
    {"shop.example.com", "//evil.example", 308, "https://www.example.com//evil.example"},
    {"shop.example.comx", "/", 0, ""},
    {"shop.example.com:x", "/", 0, ""},
    {"", "/", 0, ""},
    {"a.example", "*", 0, ""},
    {"a.example", "", 0, ""},
  };
  rules r;
  ps_temp_begin();
  if (rules_parse((ps_str){text, sizeof text - 1}, &r) != PS_OK) {
    failures++;
    fprintf(stderr, "the rules are refused\n");
    return;
  }
  for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
    ps_str location, authority = copied(tests[i].authority), path = copied(tests[i].path);
    request q = {.authority = authority, .path = path};
    int status = rules_find(&r, &q, &location);
    ps_str want = {tests[i].location, strlen(tests[i].location)};
    if (status != tests[i].status || !ps_equal(location, want)) {
      failures++;
      fprintf(stderr, "%s%s: got %d \"%.*s\"\n", tests[i].authority, tests[i].path, status, (int)location.len, location.data);
    }
    free((char *)authority.data), free((char *)path.data);
  }
}

static void test_https(void) {
  static const struct {
    const char *config, *authority, *path;
    bool tls;
    const char *location;
  } tests[] = {
    {"{\"https\":true}", "shop.example", "/a?b", false, "https://shop.example/a?b"},
    {"{\"https\":true}", "shop.example:8080", "/", false, "https://shop.example/"},
    {"{\"https\":true,\"httpsPort\":8443}", "[2001:db8::1]:80", "/a", false, "https://[2001:db8::1]:8443/a"},
    {"{\"https\":true}", "shop.example", "//evil.example", false, "https://shop.example//evil.example"},
    {"{\"https\":true}", "shop.example", "/a", true, ""},
    {"{\"https\":true}", "evil.example/?", "/a", false, ""},
    {"{\"https\":true}", "a@evil.example", "/a", false, ""},
    {"{\"https\":true}", "", "/a", false, ""},
  };
  for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
    rules r;
    ps_str location;
    ps_temp_begin();
    request q = {.authority = {tests[i].authority, strlen(tests[i].authority)}, .path = {tests[i].path, strlen(tests[i].path)}, .tls = tests[i].tls};
    if (rules_parse((ps_str){tests[i].config, strlen(tests[i].config)}, &r) != PS_OK) {
      failures++;
      continue;
    }
    int status = rules_find(&r, &q, &location);
    if (status != (tests[i].location[0] ? 308 : 0) || !ps_equal(location, (ps_str){tests[i].location, strlen(tests[i].location)})) {
      failures++;
      fprintf(stderr, "%s %s%s: got %d \"%.*s\"\n", tests[i].config, tests[i].authority, tests[i].path, status, (int)location.len, location.data);
    }
  }
}

// test_any: whatever a path is, a Location leads to a hostname of the configuration, or
// stays, and cannot end its field.
static void test_any(void) {
  static const char text[] =
    "{\"rules\":[{\"from\":{\"prefix\":\"/a\"},\"to\":\"/\"},{\"from\":{\"prefix\":\"/b/\"},\"to\":\"/c\"},"
    "{\"from\":{\"prefix\":\"/\"},\"to\":\"https://www.example\"}]}";
  static const char bytes[] = "//\\ab:@?#%.\r\n\t \x00\x7f\xff";
  rules r;
  ps_temp_begin();
  if (rules_parse((ps_str){text, sizeof text - 1}, &r) != PS_OK) {
    failures++;
    return;
  }
  uint32_t seed = 1;
  for (int round = 0; round < 200000; round++) {
    char path[16] = "/a/b";
    seed = seed * 1664525 + 1013904223;
    size_t n = 1 + (seed >> 16) % sizeof path;
    for (size_t i = (seed >> 8) % 4; i < n; i++) {
      seed = seed * 1664525 + 1013904223;
      path[i] = bytes[(seed >> 16) % (sizeof bytes - 1)];
    }
    ps_temp_begin();
    ps_str l;
    request q = {.authority = PS_STR("a.example"), .path = {path, n}};
    if (rules_find(&r, &q, &l) == 0) continue;
    bool stays = l.len > 0 && l.data[0] == '/' && (l.len == 1 || (l.data[1] != '/' && l.data[1] != '\\'));
    ps_str after = ps_starts_with(l, PS_STR("https://www.example")) ? (ps_str){l.data + 19, l.len - 19} : PS_STR("x");
    bool visible = true;
    for (size_t i = 0; i < l.len; i++) visible = visible && l.data[i] > ' ' && l.data[i] < 0x7f;
    if (!visible || (!stays && after.len > 0 && after.data[0] != '/' && after.data[0] != '?')) {
      failures++;
      fprintf(stderr, "leads to \"%.*s\"\n", (int)l.len, l.data);
      return;
    }
  }
}

int main(void) {
  proxy_on_context_create(1, 0);
  (void)ps_find_plugin(1);
  test_parse();
  test_find();
  test_https();
  test_any();
  return failures > 0;
}
