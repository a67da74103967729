// Memory: a heap, regions of it that go together, and what is for one callback.
#include "abi.h"

#ifndef PS_HEAP_MAX
#define PS_HEAP_MAX ((size_t)64 << 20)
#endif

enum {
  UNIT = 4096,    // of large blocks, and what small ones are cut from
  GROW = 1 << 16, // a page of WebAssembly
  SMALLEST = 32,
  CLASSES = 8, // 32, 64, ... 4096 bytes
  ALIGN = 16
};

// ps_block is the head of a block that is in use.
struct ps_block {
  struct ps_block **link; // what points to it
  struct ps_block *next;
  size_t size; // of all of it
  size_t used; // USED, or it is none
};
#define USED ((size_t)0x70656e73)
_Static_assert(sizeof(struct ps_block) % ALIGN == 0, "blocks would not be aligned");

// A run is memory that is free: small blocks of one size in a list, large ones by address.
struct run {
  struct run *next;
  size_t size;
};

static struct run *small[CLASSES];
static struct run *large;
static ps_memory stats;

#ifdef __wasm__
static char *grow(size_t size) {
  size_t page = __builtin_wasm_memory_grow(0, size / GROW);
  return page == (size_t)-1 ? NULL : (char *)(page * GROW);
}
#else
char *ps_test_grow(size_t size); // of the tests
static char *grow(size_t size) { return ps_test_grow(size); }
#endif

// give_large puts a run back, and joins it with its neighbours.
static void give_large(char *p, size_t size) {
  struct run **at = &large, *before = NULL;
  while (*at && (char *)*at < p) before = *at, at = &(*at)->next;
  struct run *r = (struct run *)(void *)p;
  r->size = size;
  r->next = *at;
  *at = r;
  if (r->next && p + size == (char *)r->next) {
    r->size += r->next->size;
    r->next = r->next->next;
  }
  if (before && (char *)before + before->size == p) {
    before->size += r->size;
    before->next = r->next;
  }
}

// take_large takes a multiple of UNIT: the first run that has it, or memory of the host.
static char *take_large(size_t size) {
  for (int tries = 0; tries < 2; tries++) {
    for (struct run **at = &large; *at; at = &(*at)->next) {
      struct run *r = *at;
      if (r->size < size) continue;
      *at = r->next;
      if (r->size > size) {
        struct run *rest = (struct run *)(void *)((char *)r + size);
        rest->size = r->size - size;
        rest->next = *at;
        *at = rest;
      }
      return (char *)r;
    }
    size_t more = (size + GROW - 1) / GROW * GROW;
    if (more > PS_HEAP_MAX - stats.size) return NULL;
    char *p = grow(more);
    if (!p) return NULL;
    stats.size += more;
    give_large(p, more);
  }
  return NULL;
}

// class_of returns the class that has so many bytes; CLASSES: none.
static int class_of(size_t size) {
  int c = 0;
  while (c < CLASSES && (size_t)SMALLEST << c < size) c++;
  return c;
}

static char *take_small(int c) {
  size_t size = (size_t)SMALLEST << c;
  if (!small[c]) {
    char *p = take_large(UNIT);
    if (!p) return NULL;
    for (size_t at = 0; at < UNIT; at += size) {
      struct run *r = (struct run *)(void *)(p + at);
      r->next = small[c];
      small[c] = r;
    }
  }
  struct run *r = small[c];
  small[c] = r->next;
  return (char *)r;
}

void *ps_region_alloc(struct ps_region *r, size_t size) {
  if (size > PS_HEAP_MAX - UNIT) return NULL;
  size += sizeof(struct ps_block);
  int c = class_of(size);
  size = c < CLASSES ? (size_t)SMALLEST << c : (size + UNIT - 1) / UNIT * UNIT;
  struct ps_block *b = (struct ps_block *)(void *)(c < CLASSES ? take_small(c) : take_large(size));
  if (!b) return NULL;
  b->size = size;
  b->used = USED;
  b->link = &r->first;
  b->next = r->first;
  if (b->next) b->next->link = &b->next;
  r->first = b;
  stats.allocations++;
  stats.used += size;
  return b + 1;
}

void ps_free(void *memory) {
  if (!memory) return;
  struct ps_block *b = (struct ps_block *)memory - 1;
  if (b->used != USED) ps_panic(PS_STR("memory is freed that is not in use"));
  *b->link = b->next;
  if (b->next) b->next->link = b->link;
  b->used = 0;
  size_t size = b->size;
  stats.used -= size;
  int c = class_of(size);
  if (c == CLASSES) {
    give_large((char *)b, size);
    return;
  }
  struct run *r = (struct run *)(void *)b;
  r->next = small[c];
  small[c] = r;
}

void ps_region_end(struct ps_region *r) {
  while (r->first) ps_free(r->first + 1);
}

ps_memory ps_memory_now(void) { return stats; }

// ---- For one callback ----

enum { FIRST = 8192, CHUNK = 1 << 15 };

static _Alignas(ALIGN) char first[FIRST]; // enough for headers
static struct ps_region chunks;            // beyond it
static char *room = first;
static size_t left = FIRST;
static char *given; // to the host, last
static size_t given_size;

// With the address sanitizer (in the tests) what is not handed out is poisoned.
#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define POISON(p, n) __asan_poison_memory_region(p, n)
#define UNPOISON(p, n) __asan_unpoison_memory_region(p, n)
void __asan_poison_memory_region(const volatile void *p, size_t n);
void __asan_unpoison_memory_region(const volatile void *p, size_t n);
enum { GAP = ALIGN };
#endif
#endif
#ifndef POISON
#define POISON(p, n) ((void)0)
#define UNPOISON(p, n) ((void)0)
enum { GAP = 0 };
#endif

void ps_temp_begin(void) {
  for (struct ps_block *b = chunks.first; b; b = b->next) UNPOISON(b + 1, b->size - sizeof *b);
  POISON(first, FIRST);
  ps_region_end(&chunks);
  room = first;
  left = FIRST;
  given = NULL;
  given_size = 0;
}

void *ps_temp(size_t size) {
  if (size > PS_HEAP_MAX) return NULL;
  size_t whole = (size + GAP + ALIGN - 1) / ALIGN * ALIGN;
  if (whole > left) {
    if (whole > CHUNK / 2) return ps_region_alloc(&chunks, size); // what is left stays of use
    char *p = (char *)ps_region_alloc(&chunks, CHUNK);
    if (!p) return NULL;
    POISON(p, CHUNK);
    room = p;
    left = CHUNK;
  }
  char *p = room;
  UNPOISON(p, size);
  room += whole;
  left -= whole;
  return p;
}

void *proxy_on_memory_allocate(uint32_t size) PS_EXPORT(proxy_on_memory_allocate);
void *proxy_on_memory_allocate(uint32_t size) {
  given = (char *)ps_temp(size);
  given_size = given ? size : 0;
  return given;
}

struct ps_given ps_expect(void) {
  given = NULL;
  given_size = 0;
  return (struct ps_given){NULL, 0};
}

ps_status ps_failure(uint32_t status) { return status < PS_ERR_MEMORY ? status : PS_ERR_MEMORY - 1; }

ps_status ps_take(uint32_t status, struct ps_given g, ps_str *result) {
  *result = PS_EMPTY;
  if (status != PS_OK) return ps_failure(status);
  if (g.len == 0) return PS_OK;
  // What lies before it is, as a distance, larger than anything.
  if (!given || g.len > given_size || (uintptr_t)g.data - (uintptr_t)given > given_size - g.len) return PS_ERR_RESULT_MISMATCH;
  *result = (ps_str){g.data, g.len};
  return PS_OK;
}

// ---- For plugins ----

void *ps_alloc(ps_life life, size_t size) {
  void *p = NULL;
  if (life == PS_FOR_CALLBACK) p = ps_temp(size);
  else if (ps_here) p = ps_region_alloc(life == PS_FOR_PLUGIN ? &ps_here->plugin->memory : &ps_here->memory, size);
  if (p) __builtin_memset(p, 0, size);
  return p;
}

ps_status ps_copy(ps_life life, ps_str text, ps_str *copy) {
  *copy = PS_EMPTY;
  if (text.len == 0) return PS_OK;
  char *p = (char *)ps_alloc(life, text.len);
  if (!p) return PS_ERR_MEMORY;
  __builtin_memcpy(p, text.data, text.len);
  *copy = (ps_str){p, text.len};
  return PS_OK;
}

// ---- What compilers call ----

#ifdef __wasm__

// A C library, if there is one, has its own.
#define PS_LIBRARY __attribute__((weak))

#ifdef __wasm_bulk_memory__
PS_LIBRARY void *memcpy(void *restrict to, const void *restrict from, size_t n) { return __builtin_memcpy(to, from, n); }
PS_LIBRARY void *memmove(void *to, const void *from, size_t n) { return __builtin_memmove(to, from, n); }
PS_LIBRARY void *memset(void *to, int c, size_t n) { return __builtin_memset(to, c, n); }
#else
#error "built without -mbulk-memory: see wasm.flags"
#endif

__attribute__((no_builtin)) PS_LIBRARY int memcmp(const void *a, const void *b, size_t n) {
  const unsigned char *x = (const unsigned char *)a, *y = (const unsigned char *)b;
  for (size_t i = 0; i < n; i++)
    if (x[i] != y[i]) return x[i] < y[i] ? -1 : 1;
  return 0;
}

__attribute__((no_builtin)) PS_LIBRARY size_t strlen(const char *s) {
  size_t n = 0;
  while (s[n]) n++;
  return n;
}

// The product of two numbers of 128 bits: also for 64 bits, where an overflow is looked for.
__extension__ typedef unsigned __int128 wide;
PS_LIBRARY wide __multi3(wide a, wide b);
PS_LIBRARY wide __multi3(wide a, wide b) {
  uint64_t x = (uint64_t)a, y = (uint64_t)b, low = (uint32_t)x * (uint64_t)(uint32_t)y;
  uint64_t middle = (x >> 32) * (uint32_t)y + (low >> 32), other = (uint32_t)x * (y >> 32) + (uint32_t)middle;
  uint64_t high = (x >> 32) * (y >> 32) + (middle >> 32) + (other >> 32) + (uint64_t)(a >> 64) * y + x * (uint64_t)(b >> 64);
  return (wide)high << 64 | (other << 32 | (uint32_t)low);
}

#endif
