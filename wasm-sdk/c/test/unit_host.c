// Tests of memory, contexts and calls, and of hosts that answer wrongly.
#include "unit.h"

#include <sys/wait.h>
#include <unistd.h>

// traps says that a function traps.
static bool traps(void (*f)(void)) {
  int status;
  pid_t child = fork();
  if (child == 0) {
    (void)!freopen("/dev/null", "w", stderr);
    f();
    _exit(0);
  }
  return waitpid(child, &status, 0) == child && !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

// ---- Memory ----

void test_heap(void) {
  enum { BLOCKS = 400 };
  static struct {
    unsigned char *p;
    size_t n;
  } blocks[BLOCKS];
  struct ps_region r = {NULL};
  size_t before = ps_memory_now().used, taken = ps_memory_now().size;
  uint64_t seed = 42;
  for (int round = 0; round < 60000; round++) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    size_t i = (seed >> 33) % BLOCKS, n = (seed >> 43) % ((seed >> 60) == 0 ? 60000 : 600);
    unsigned char *p = blocks[i].p;
    if (p) {
      for (size_t at = 0; at < blocks[i].n; at += 97)
        if (p[at] != (unsigned char)i) CHECK(false, "block %zu is overwritten", i);
      ps_free(p);
      blocks[i].p = NULL;
      continue;
    }
    p = ps_region_alloc(&r, n);
    if (!p || (uintptr_t)p % 16 != 0) CHECK(false, "%zu bytes: got %p", n, (void *)p);
    memset(p, (int)i, n);
    blocks[i].p = p;
    blocks[i].n = n;
  }
  CHECK(ps_memory_now().size - taken <= 4 << 20, "%zu bytes more are taken", ps_memory_now().size - taken);
  ps_region_end(&r);
  CHECK(ps_memory_now().used == before, "%zu bytes are in use, %zu before", ps_memory_now().used, before);
  // There is a bound, and all that was used is of use again.
  CHECK(!ps_region_alloc(&r, (size_t)64 << 20) && !ps_region_alloc(&r, SIZE_MAX) && !ps_region_alloc(&r, SIZE_MAX - 8) && !ps_temp(SIZE_MAX) && !ps_temp(SIZE_MAX - 8), "there is no bound");
  for (int round = 0; round < 3; round++) {
    size_t n = 0;
    while (ps_region_alloc(&r, 1 << 20)) n++;
    CHECK(n >= 55 && n <= 64, "%zu MiB", n);
    CHECK(ps_memory_now().size <= (size_t)64 << 20, "%zu bytes", ps_memory_now().size);
    ps_region_end(&r);
  }
  void *large = ps_region_alloc(&r, 50 << 20);
  CHECK(large, "the runs are not joined");
  ps_free(large);
  ps_free(NULL);
}

static void twice(void) {
  struct ps_region r = {NULL};
  void *p = ps_region_alloc(&r, 10);
  ps_free(p);
  ps_free(p);
}

void test_lives(void) {
  begin();
  stream *s = state_of(2);
  char *of_plugin = ps_alloc(PS_FOR_PLUGIN, 100), *of_stream = ps_alloc(PS_FOR_STREAM, 100);
  memset(of_plugin, 'p', 100);
  memset(of_stream, 's', 100);
  for (size_t i = 0; i < 1000; i++) {
    unsigned char *p = ps_alloc(PS_FOR_CALLBACK, i);
    for (size_t at = 0; at < i; at++) CHECK(p[at] == 0, "it is not zeroed");
    memset(p, 0xff, i);
  }
  CHECK(state_of(2) == s && of_plugin[99] == 'p' && of_stream[99] == 's', "it is gone");
  size_t used = ps_memory_now().used;
  proxy_on_delete(2);
  CHECK(ps_memory_now().used < used && of_plugin[99] == 'p', "the stream's is still there");
  (void)ps_enter(77);
  CHECK(!ps_alloc(PS_FOR_STREAM, 1) && !ps_alloc(PS_FOR_PLUGIN, 1) && ps_alloc(PS_FOR_CALLBACK, 1), "memory of a context that is not there");
  end();
}

// ---- Hosts ----

void test_hostile(void) {
  ps_str value;
  ps_pairs list;
  int64_t n;
  begin();
  (void)ps_enter(2);
  fake.answer = PS_STR("value");
  fake.gives = HONEST;
  CHECK(ps_header_get(PS_REQUEST_HEADER, PS_STR("a"), &value) == PS_OK, "refused");
  CHECK_IS(value, "value");
  for (int how = TOO_LONG; how <= OF_BEFORE; how++) {
    fake.gives = HONEST;
    CHECK(ps_header_get(PS_REQUEST_HEADER, PS_STR("a"), &value) == PS_OK, "refused");
    fake.gives = how;
    CHECK(ps_header_get(PS_REQUEST_HEADER, PS_STR("a"), &value) == PS_ERR_RESULT_MISMATCH && value.len == 0, "%d passes", how);
    CHECK(ps_buffer_all(PS_REQUEST_BODY, &value) == PS_ERR_RESULT_MISMATCH && value.len == 0, "%d passes", how);
    CHECK(ps_header_all(PS_REQUEST_HEADER, &list) == PS_ERR_RESULT_MISMATCH && list.len == 0, "%d passes", how);
    CHECK(ps_property_int(PS_PATH("a"), &n) == PS_ERR_RESULT_MISMATCH && n == 0, "%d passes", how);
    CHECK(ps_call_foreign(PS_STR("f"), PS_STR(""), &value) == PS_ERR_RESULT_MISMATCH && value.len == 0, "%d passes", how);
  }
  fake.gives = HONEST;
  fake.answer = PS_STR("");
  CHECK(ps_header_get(PS_REQUEST_HEADER, PS_STR("a"), &value) == PS_OK && value.len == 0 && value.data, "an empty value");
  CHECK(ps_property_int(PS_PATH("a"), &n) == PS_ERR_RESULT_MISMATCH, "an empty number");
  fake.answer = PS_STR("\7\0\0\0x");
  CHECK(ps_header_all(PS_REQUEST_HEADER, &list) == PS_ERR_RESULT_MISMATCH && list.len == 0, "a malformed list passes");
  for (uint32_t status = 1; status < 20; status++) {
    uint32_t cas;
    size_t size;
    ps_queue q;
    ps_counter c;
    fake.status = status;
    fake.number = 5;
    CHECK(ps_header_get(PS_REQUEST_HEADER, PS_STR("a"), &value) == status && value.len == 0, "status %u", status);
    CHECK(ps_shared_data(PS_STR("k"), &value, &cas) == status && cas == 0, "status %u", status);
    CHECK(ps_buffer_size(PS_REQUEST_BODY, &size) == status && size == 0, "status %u", status);
    CHECK(ps_register_queue(PS_STR("q"), &q) == status && q.id == 0, "status %u", status);
    CHECK(ps_define_counter(PS_STR("q"), &c) == status && c.id == 0, "status %u", status);
    CHECK(ps_resume(PS_REQUEST) == status && ps_log_level() == PS_TRACE && ps_now() == 0, "status %u", status);
  }
  CHECK(!proxy_on_memory_allocate(UINT32_MAX), "there is room for all");
  end();
}

static void of_nobody(void) { (void)ps_enter_stream(99); }
static void of_plugin(void) { (void)ps_enter_stream(1); }
static void again(void) { proxy_on_context_create(2, 1); }
static void orphan(void) { proxy_on_context_create(3, 99); }
static void of_stream(void) { proxy_on_context_create(3, 2); }
static void no_plugin(void) { (void)proxy_on_configure(99, 0); }
static void no_success(void) { ps_must(PS_ERR_EMPTY); }
static void no_capability(void) { ps_must(PS_ERR_INTERNAL); }
uint32_t proxy_on_request_headers(uint32_t id, uint32_t n, uint32_t end);

void test_contexts(void) {
  begin();
  CHECK(traps(of_nobody) && traps(of_plugin) && traps(again) && traps(orphan) && traps(of_stream) && traps(no_plugin) && traps(no_success) && traps(no_capability) && traps(twice), "it does not trap");
  CHECK(!ps_find_plugin(2) && !ps_find_plugin(99) && !ps_find_stream(1) && !ps_find_stream(99) && ps_find_plugin(1) && ps_find_stream(2), "contexts are mistaken");
  // Many configurations in one instance, each with its streams.
  for (uint32_t root = 100; root < 1100; root += 10) {
    proxy_on_context_create(root, 0);
    char config[16];
    fake.answer = (ps_str){config, (size_t)snprintf(config, sizeof config, "%u", root)};
    CHECK(proxy_on_configure(root, (uint32_t)fake.answer.len) == 1, "plugin %u", root);
    for (uint32_t i = 1; i < 10; i++) proxy_on_context_create(root + i, root);
  }
  fake.answer = PS_STR("");
  for (uint32_t root = 100; root < 1100; root += 10) {
    for (uint32_t i = 1; i < 10; i++) {
      CHECK(proxy_on_request_headers(root + i, 0, i % 2) == i % 2 && ps_effective_context() == root + i, "stream %u", root + i);
      const stream *s = ps_find_stream(root + i);
      CHECK(s->plugin == ps_find_plugin(root) && s->plugin->seen == (int)i && ps_equal(s->plugin->kept, ps_int(root)), "stream %u is of another plugin", root + i);
    }
    for (uint32_t i = 1; i < 5; i++) CHECK(proxy_on_done(root + i) == 1, "stream %u", root + i);
  }
  CHECK(done_streams == 400, "%d streams are done", done_streams);
  for (uint32_t root = 100; root < 1100; root += 10) {
    for (uint32_t i = 1; i < 5; i++) proxy_on_delete(root + i);
    CHECK(proxy_on_done(root) == (root > 100), "plugin %u", root);
    proxy_on_delete(root); // with streams of it
    CHECK(!ps_find_stream(root + 9) && !ps_find_plugin(root), "plugin %u goes on", root);
    proxy_on_delete(root + 9); // and late
  }
  fake.answer = PS_STR("refuse me");
  CHECK(proxy_on_configure(1, 9) == 0 && strcmp(fake.said, "refused: refuse me") == 0, "got %s", fake.said);
  fake.status = PS_ERR_NOT_FOUND;
  CHECK(proxy_on_configure(1, 9) == 0 && strcmp(fake.said, "the proxy refused: not found") == 0, "got %s", fake.said);
  CHECK(proxy_on_vm_start(1, 9) == 1, "a plugin that is not told refuses");
  fake.status = 0;
  (void)ps_enter(1);
  CHECK(ps_set_effective_context(2) == PS_OK && ps_effective_context() == 2 && ps_set_effective_context(99) == PS_ERR_BAD_ARGUMENT && ps_effective_context() == 2, "the effective context is %u", ps_effective_context());
  end();
}

// ---- Calls ----

static void answered(void *data, const ps_http_response *r) {
  stream *s = data;
  ps_str status = ps_int(ps_http_status(r));
  s->answers++;
  s->last_status = ps_http_status(r);
  s->last_error = r->error;
  snprintf(s->got, sizeof s->got, "%.*s %.*s", (int)r->message.len, r->message.data, (int)status.len, status.data);
}

static void unary(void *data, const ps_grpc_response *r) {
  stream *s = data;
  s->closed++;
  snprintf(s->got, sizeof s->got, "%u %d %.*s %zu %zu", r->status.code, r->has_message, (int)r->message.len, r->message.data, r->initial_metadata.len, r->trailing_metadata.len);
}

static void on_metadata(void *data, ps_header h) { (void)h, ((stream *)data)->metadata++; }
static void on_message(void *data, ps_str m) {
  stream *s = data;
  s->messages++;
  if (ps_equal(m, PS_STR("enough"))) ps_must(ps_grpc_cancel(s->call));
}
static void on_close(void *data, ps_grpc_status status) { (void)status, ((stream *)data)->closed++; }

static ps_status call(uint32_t id) {
  fake.number = id;
  return ps_http_call(PS_STR("u"), PS_PAIRS(PS_PAIR(":path", "/")), PS_STR(""), PS_NO_PAIRS, 100, answered, state_of(2));
}

void test_http_calls(void) {
  begin();
  stream *s = state_of(2);
  CHECK(call(7) == PS_OK && fake.sent_len == 20, "%zu bytes of headers", fake.sent_len);
  fake.answer = PS_STR("200");
  proxy_on_http_call_response(1, 8, 1, 0, 0); // of nobody
  CHECK(s->answers == 0, "another one's answer");
  proxy_on_http_call_response(1, 7, 1, 0, 0);
  CHECK(s->answers == 1 && s->last_status == 200 && s->last_error == PS_OK && fake.effective == 2 && ps_effective_context() == 2, "got %d answers, %d", s->answers, s->last_status);
  proxy_on_http_call_response(1, 7, 1, 0, 0); // twice
  CHECK(s->answers == 1, "it is answered twice");
  CHECK(call(9) == PS_OK, "refused");
  fake.answer = PS_STR("no endpoint");
  fake.number = 0;
  proxy_on_http_call_response(1, 9, 0, 0, 0);
  CHECK(s->answers == 2 && s->last_error == PS_ERR_BROKEN_CONNECTION && s->last_status == 0 && strcmp(s->got, "no endpoint 0") == 0, "got %s", s->got);
  fake.status = PS_ERR_INTERNAL;
  CHECK(call(10) == PS_ERR_INTERNAL, "begun");
  fake.status = 0;
  CHECK(ps_http_call(PS_STR("u"), PS_NO_PAIRS, PS_STR(""), PS_NO_PAIRS, -1, answered, s) == PS_ERR_BAD_ARGUMENT, "a negative time");
  proxy_on_http_call_response(1, 10, 1, 0, 0);
  CHECK(s->answers == 2, "a call that was not begun is answered");
  CHECK(call(11) == PS_OK && call(11) == PS_OK, "a host numbers two calls the same");
  proxy_on_http_call_response(1, 11, 1, 0, 0);
  proxy_on_http_call_response(1, 11, 1, 0, 0);
  CHECK(s->answers == 3, "got %d answers", s->answers);
  static const char *const odd[] = {"", "abc", "-1", "1000", "99999999999999999999"};
  for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
    fake.answer = str(odd[i]);
    CHECK(ps_http_status(&(ps_http_response){.header = PS_HTTP_CALL_HEADER}) == 0, "%s is a status", odd[i]);
  }
  CHECK(call(12) == PS_OK, "refused");
  proxy_on_delete(2); // s is gone
  proxy_on_http_call_response(1, 12, 1, 0, 0);
  (void)ps_enter(1);
  CHECK(ps_http_call(PS_STR("u"), PS_NO_PAIRS, PS_STR(""), PS_NO_PAIRS, 0, answered, NULL) == PS_OK, "a plugin calls");
  proxy_on_delete(1);
  proxy_on_http_call_response(1, fake.number, 1, 0, 0);
  (void)ps_enter(99);
  CHECK(ps_http_call(PS_STR("u"), PS_NO_PAIRS, PS_STR(""), PS_NO_PAIRS, 0, answered, NULL) == PS_ERR_MEMORY, "nobody calls");
  end();
}

void test_grpc_calls(void) {
  begin();
  stream *s = state_of(2);
  fake.number = 5;
  ps_grpc one;
  CHECK(ps_grpc_call(PS_STR("u"), PS_STR("s"), PS_STR("m"), PS_NO_PAIRS, PS_STR("q"), 100, unary, s, &one) == PS_OK && one.id == 5, "call %u", one.id);
  fake.answer = (ps_str)BYTES("\1\0\0\0\1\0\0\0\1\0\0\0a\0" "1\0");
  proxy_on_grpc_receive_initial_metadata(1, 5, 1);
  proxy_on_grpc_receive_trailing_metadata(1, 5, 1);
  fake.answer = PS_STR("first");
  proxy_on_grpc_receive(1, 5, 5);
  fake.answer = PS_STR("the answer");
  proxy_on_grpc_receive(1, 5, 10);
  fake.answer = PS_STR("");
  proxy_on_grpc_close(1, 5, 0);
  CHECK(s->closed == 1 && strcmp(s->got, "0 1 the answer 1 1") == 0, "got %s", s->got);
  proxy_on_grpc_close(1, 5, 0);
  CHECK(s->closed == 1, "it ends twice");

  (void)ps_enter(2);
  const ps_grpc_handler handler = {on_metadata, on_message, on_metadata, on_close};
  fake.number = 6;
  CHECK(ps_grpc_stream(PS_STR("u"), PS_STR("s"), PS_STR("m"), PS_NO_PAIRS, handler, s, &s->call) == PS_OK && s->call.id == 6, "stream %u", s->call.id);
  proxy_on_grpc_receive_initial_metadata(1, 6, 1);
  fake.answer = PS_STR("more");
  proxy_on_grpc_receive(1, 6, 4);
  fake.answer = PS_STR("enough");
  proxy_on_grpc_receive(1, 6, 6);
  proxy_on_grpc_receive(1, 6, 6);
  proxy_on_grpc_close(1, 6, 1);
  CHECK(s->messages == 2 && s->metadata == 1 && s->closed == 1 && fake.cancelled == 6 && fake.cancels == 1, "got %d messages, %d ends", s->messages, s->closed);

  (void)ps_enter(2);
  fake.number = 7;
  CHECK(ps_grpc_stream(PS_STR("u"), PS_STR("s"), PS_STR("m"), PS_NO_PAIRS, (ps_grpc_handler){.close = on_close}, s, &s->call) == PS_OK, "refused");
  proxy_on_grpc_receive(1, 7, 6);
  proxy_on_grpc_receive_trailing_metadata(1, 7, 6);
  proxy_on_grpc_close(1, 7, 14);
  CHECK(s->messages == 2 && s->closed == 2, "got %d messages, %d ends", s->messages, s->closed);

  (void)ps_enter(2);
  fake.number = 8;
  CHECK(ps_grpc_stream(PS_STR("u"), PS_STR("s"), PS_STR("m"), PS_NO_PAIRS, handler, s, &s->call) == PS_OK, "refused");
  fake.number = 9;
  CHECK(ps_grpc_call(PS_STR("u"), PS_STR("s"), PS_STR("m"), PS_NO_PAIRS, PS_STR(""), 0, unary, s, &one) == PS_OK, "refused");
  proxy_on_delete(2);
  CHECK(fake.cancelled == 8 && fake.cancels == 2, "a stream outlives what opened it, or a unary call does not");
  proxy_on_grpc_receive(1, 8, 6);
  proxy_on_grpc_close(1, 9, 0);
  end();
}

// soak: many exchanges with bodies, lists and calls, and the memory of few.
void test_soak(void) {
  size_t size = 0;
  begin();
  for (uint32_t i = 0; i < 20000; i++) {
    ps_str value;
    ps_pairs list;
    uint32_t id = 1000 + i;
    proxy_on_context_create(id, 1);
    (void)proxy_on_request_headers(id, 0, 0);
    fake.answer = (ps_str)BYTES("\1\0\0\0\1\0\0\0\1\0\0\0a\0" "1\0");
    stream *s = state_of(id);
    ps_must(ps_header_all(PS_REQUEST_HEADER, &list));
    fake.answer = text(i % 3 == 0 ? 100000 : 3000);
    ps_must(ps_buffer_all(PS_REQUEST_BODY, &value));
    ps_must(ps_copy(PS_FOR_STREAM, value, &value));
    fake.answer = PS_STR("200");
    fake.number = id;
    ps_must(ps_http_call(PS_STR("u"), list, PS_STR(""), list, 0, answered, s));
    ps_grpc one;
    ps_must(ps_grpc_call(PS_STR("u"), PS_STR("s"), PS_STR("m"), list, PS_STR(""), 0, unary, s, &one));
    if (i % 2) proxy_on_http_call_response(1, id, 1, 0, 0);
    fake.answer = text(i % 5 == 0 ? 50000 : 10);
    proxy_on_grpc_receive(1, id, (uint32_t)fake.answer.len);
    fake.answer = PS_STR("200");
    if (i % 4 == 0) proxy_on_grpc_close(1, id, 0);
    (void)proxy_on_done(id);
    proxy_on_delete(id);
    if (i == 1000) size = ps_memory_now().size;
  }
  CHECK(ps_memory_now().size == size, "%zu bytes; %zu at first", ps_memory_now().size, size);
  end();
}
