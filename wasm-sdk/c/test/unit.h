// What the tests of unit*.c share.
#ifndef PENSTOCK_TEST_UNIT_H
#define PENSTOCK_TEST_UNIT_H

#include "host.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern int failures;

#define CHECK(condition, ...) \
  do { \
    if (!(condition)) { \
      failures++; \
      fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition); \
      fprintf(stderr, __VA_ARGS__); \
      fputc('\n', stderr); \
    } \
  } while (0)

#define CHECK_IS(got, want) CHECK(ps_equal(got, PS_STR(want)), "got \"%.*s\"", (int)(got).len, (got).data)

// BYTES are those of a literal, for a table.
#define BYTES(s) {s, sizeof(s) - 1}

ps_str str(const char *s);
// text repeats a character, at most a MiB and one.
ps_str text(size_t n);

// The plugin of the tests.
typedef struct {
  ps_str kept;
  int seen;
} plugin;

typedef struct {
  plugin *plugin;
  int answers, last_status;
  ps_status last_error;
  char got[256];
  int messages, closed, metadata;
  ps_grpc call;
} stream;

extern int done_streams, finished;

// begin makes a plugin, and stream 2 of it; end ends them, and all that is theirs.
void begin(void);
void end(void);
stream *state_of(uint32_t id);

// The tests.
void test_json(void);
void test_floats(void);
void test_configurations(void);
void test_lives(void);
void test_hostile(void);
void test_contexts(void);
void test_http_calls(void);
void test_grpc_calls(void);
void test_soak(void);
void test_heap(void);

#endif
