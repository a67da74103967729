// Texts, numbers and lists, and what they are on the wire to the host. Pure.
#include "abi.h"

bool ps_equal(ps_str a, ps_str b) { return a.len == b.len && (a.len == 0 || __builtin_memcmp(a.data, b.data, a.len) == 0); }

bool ps_starts_with(ps_str text, ps_str prefix) { return text.len >= prefix.len && ps_equal((ps_str){text.data, prefix.len}, prefix); }

static char *must_temp(size_t size) {
  char *p = (char *)ps_temp(size);
  if (!p) ps_panic(PS_STR("no memory for a text"));
  return p;
}

ps_str ps_cat(ps_strs parts) {
  size_t size = 0;
  for (size_t i = 0; i < parts.len; i++)
    if (__builtin_add_overflow(size, parts.items[i].len, &size)) ps_panic(PS_STR("no memory for a text"));
  struct ps_writer w = {must_temp(size), 0, size};
  for (size_t i = 0; i < parts.len; i++) ps_write(&w, parts.items[i]);
  return (ps_str){w.data, w.len};
}

ps_str ps_path(ps_strs segments) {
  size_t size = segments.len;
  for (size_t i = 0; i < segments.len; i++)
    if (__builtin_add_overflow(size, segments.items[i].len, &size)) ps_panic(PS_STR("no memory for a path"));
  struct ps_writer w = {must_temp(size), 0, size};
  for (size_t i = 0; i < segments.len; i++) {
    if (i > 0) ps_write_u8(&w, 0);
    ps_write(&w, segments.items[i]);
  }
  return (ps_str){w.data, w.len};
}

ps_str ps_int(int64_t n) {
  enum { DIGITS = 20 };
  char *p = must_temp(DIGITS);
  uint64_t rest = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
  size_t at = DIGITS;
  do {
    p[--at] = (char)('0' + rest % 10);
    rest /= 10;
  } while (rest);
  if (n < 0) p[--at] = '-';
  return (ps_str){p + at, DIGITS - at};
}

bool ps_parse_int(ps_str text, int64_t *n) {
  *n = 0;
  bool negative = text.len > 0 && text.data[0] == '-';
  size_t i = text.len > 0 && (negative || text.data[0] == '+');
  uint64_t sum = 0, most = (uint64_t)INT64_MAX + negative;
  if (i == text.len) return false;
  for (; i < text.len; i++) {
    unsigned digit = (unsigned)(unsigned char)text.data[i] - '0';
    if (digit > 9 || sum > (most - digit) / 10) return false;
    sum = sum * 10 + digit;
  }
  *n = (int64_t)(negative ? 0 - sum : sum);
  return true;
}

// ---- Statuses ----

static char reason[2048]; // of PS_ERR_CONFIG
static size_t reason_len;

void ps_reason_begin(void) { reason_len = 0; }

void ps_reason(ps_str s) {
  struct ps_writer w = {reason, reason_len, sizeof reason};
  if (s.len > sizeof reason - reason_len) s.len = sizeof reason - reason_len;
  ps_write(&w, s);
  reason_len = w.len;
}

ps_status ps_refuse(ps_str why) {
  ps_reason_begin();
  ps_reason(why);
  return PS_ERR_CONFIG;
}

bool ps_err_host(ps_status s) { return s != PS_OK && s < PS_ERR_MEMORY; }

ps_str ps_status_text(ps_status s) {
#define PS_REFUSED(text) PS_STR("the proxy refused: " text)
  switch (s) {
  case PS_OK: return PS_STR("ok");
  case PS_ERR_NOT_FOUND: return PS_REFUSED("not found");
  case PS_ERR_BAD_ARGUMENT: return PS_REFUSED("bad argument");
  case PS_ERR_SERIALIZATION: return PS_REFUSED("serialization failure");
  case PS_ERR_PARSE: return PS_REFUSED("parse failure");
  case PS_ERR_BAD_EXPRESSION: return PS_REFUSED("bad expression");
  case PS_ERR_INVALID_MEMORY: return PS_REFUSED("invalid memory access");
  case PS_ERR_EMPTY: return PS_REFUSED("empty");
  case PS_ERR_CAS_MISMATCH: return PS_REFUSED("compare and swap mismatch");
  case PS_ERR_RESULT_MISMATCH: return PS_REFUSED("result mismatch");
  case PS_ERR_INTERNAL: return PS_REFUSED("internal failure");
  case PS_ERR_BROKEN_CONNECTION: return PS_REFUSED("broken connection");
  case PS_ERR_UNIMPLEMENTED: return PS_REFUSED("unimplemented");
  case PS_ERR_MEMORY: return PS_STR("no memory");
  case PS_ERR_CACHE_ARGUMENT: return PS_STR("beyond the bounds of the cache's functions");
  case PS_ERR_CONFIG: return (ps_str){reason, reason_len};
  default: return PS_CAT(PS_REFUSED("status "), ps_int(s));
  }
}

// ---- Numbers and lists ----

void ps_write(struct ps_writer *w, ps_str s) {
  if (s.len > 0 && w->len <= w->size && s.len <= w->size - w->len) __builtin_memcpy(w->data + w->len, s.data, s.len);
  w->len += s.len;
}

static void write_little(struct ps_writer *w, uint32_t n, size_t bytes) {
  char b[4];
  for (size_t i = 0; i < bytes; i++) b[i] = (char)(n >> (8 * i));
  ps_write(w, (ps_str){b, bytes});
}

void ps_write_u8(struct ps_writer *w, uint8_t n) { write_little(w, n, 1); }
void ps_write_u16(struct ps_writer *w, uint16_t n) { write_little(w, n, 2); }
void ps_write_u32(struct ps_writer *w, uint32_t n) { write_little(w, n, 4); }

void ps_write_text(struct ps_writer *w, ps_str s) {
  ps_write_u16(w, (uint16_t)s.len);
  ps_write(w, s);
}

uint64_t ps_read_u64(const char *p) {
  uint64_t n = 0;
  for (size_t i = 8; i > 0; i--) n = n << 8 | (unsigned char)p[i - 1];
  return n;
}

uint32_t ps_read_u32(const char *p) {
  uint32_t n = 0;
  for (size_t i = 4; i > 0; i--) n = n << 8 | (unsigned char)p[i - 1];
  return n;
}

ps_status ps_read_int(ps_str bytes, int64_t *n) {
  *n = 0;
  if (bytes.len != 8) return PS_ERR_RESULT_MISMATCH;
  *n = (int64_t)ps_read_u64(bytes.data);
  return PS_OK;
}

ps_status ps_read_bool(ps_str bytes, bool *value) {
  *value = false;
  if (bytes.len != 1) return PS_ERR_RESULT_MISMATCH;
  *value = bytes.data[0] != 0;
  return PS_OK;
}

ps_status ps_milliseconds(int64_t ms, uint32_t *out) {
  *out = 0;
  if (ms < 0 || ms > INT32_MAX) return PS_ERR_BAD_ARGUMENT;
  *out = (uint32_t)ms;
  return PS_OK;
}

ps_status ps_pairs_encode(ps_pairs pairs, ps_str *encoded) {
  *encoded = PS_EMPTY;
  if (pairs.len == 0) return PS_OK;
  uint64_t size = 4;
  for (size_t i = 0; i < pairs.len; i++) {
    size += 8 + (uint64_t)pairs.items[i].name.len + 1 + pairs.items[i].value.len + 1;
    if (size > INT32_MAX) return PS_ERR_MEMORY;
  }
  struct ps_writer w = {(char *)ps_temp((size_t)size), 0, (size_t)size};
  if (!w.data) return PS_ERR_MEMORY;
  ps_write_u32(&w, (uint32_t)pairs.len);
  for (size_t i = 0; i < pairs.len; i++) {
    ps_write_u32(&w, (uint32_t)pairs.items[i].name.len);
    ps_write_u32(&w, (uint32_t)pairs.items[i].value.len);
  }
  for (size_t i = 0; i < pairs.len; i++) {
    ps_write(&w, pairs.items[i].name);
    ps_write_u8(&w, 0);
    ps_write(&w, pairs.items[i].value);
    ps_write_u8(&w, 0);
  }
  *encoded = (ps_str){w.data, w.len};
  return PS_OK;
}

// take takes a text and the NUL behind it from what is left.
static bool take(ps_str *rest, uint32_t size, ps_str *text) {
  if (size >= rest->len || rest->data[size] != 0) return false;
  *text = (ps_str){rest->data, size};
  rest->data += (size_t)size + 1;
  rest->len -= (size_t)size + 1;
  return true;
}

ps_status ps_pairs_decode(ps_str encoded, ps_pairs *pairs) {
  *pairs = PS_NO_PAIRS;
  if (encoded.len == 0) return PS_OK;
  if (encoded.len < 4) return PS_ERR_RESULT_MISMATCH;
  uint32_t n = ps_read_u32(encoded.data);
  if (n > (encoded.len - 4) / 8) return PS_ERR_RESULT_MISMATCH;
  ps_str rest = {encoded.data + 4 + (size_t)8 * n, encoded.len - 4 - (size_t)8 * n};
  ps_pair *list = (ps_pair *)ps_temp(n * sizeof *list);
  if (!list) return PS_ERR_MEMORY;
  for (uint32_t i = 0; i < n; i++) {
    const char *sizes = encoded.data + 4 + (size_t)8 * i;
    if (!take(&rest, ps_read_u32(sizes), &list[i].name) || !take(&rest, ps_read_u32(sizes + 4), &list[i].value)) return PS_ERR_RESULT_MISMATCH;
  }
  if (rest.len > 0) return PS_ERR_RESULT_MISMATCH;
  *pairs = (ps_pairs){list, n};
  return PS_OK;
}

size_t ps_utf8(const char *text, size_t n) {
  const unsigned char *p = (const unsigned char *)text;
  if (n == 0) return 0;
  if (p[0] < 0x80) return 1;
  size_t size = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
  if (p[0] < 0xc2 || p[0] > 0xf4 || n < size) return 0; // 0x80 to 0xc1 begin nothing, or what is too long
  for (size_t i = 1; i < size; i++)
    if ((p[i] & 0xc0) != 0x80) return 0;
  if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xf0 && p[1] < 0x90)) return 0;     // too long
  if ((p[0] == 0xed && p[1] >= 0xa0) || (p[0] == 0xf4 && p[1] >= 0x90)) return 0;   // surrogates, beyond U+10FFFF
  return size;
}

// ---- The consumer ----

static bool write_json(struct ps_writer *w, ps_str s) {
  static const char hex[] = "0123456789abcdef";
  ps_write_u8(w, '"');
  for (size_t i = 0; i < s.len;) {
    size_t n = ps_utf8(s.data + i, s.len - i);
    unsigned char c = (unsigned char)s.data[i];
    if (n == 0) return false;
    if (c < 0x20) {
      char escape[] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
      ps_write(w, (ps_str){escape, sizeof escape});
    } else {
      if (c == '"' || c == '\\') ps_write_u8(w, '\\');
      ps_write(w, (ps_str){s.data + i, n});
    }
    i += n;
  }
  ps_write_u8(w, '"');
  return true;
}

static bool write_consumer(struct ps_writer *w, ps_str name, ps_strs groups) {
  ps_write(w, PS_STR("{\"name\":"));
  if (!write_json(w, name)) return false;
  for (size_t i = 0; i < groups.len; i++) {
    ps_write(w, i == 0 ? PS_STR(",\"groups\":[") : PS_STR(","));
    if (!write_json(w, groups.items[i])) return false;
  }
  ps_write(w, groups.len > 0 ? PS_STR("]}") : PS_STR("}"));
  return true;
}

ps_status ps_consumer_encode(ps_str name, ps_strs groups, ps_life life, ps_str *encoded) {
  *encoded = PS_EMPTY;
  struct ps_writer w = {NULL, 0, 0}; // first only counts
  if (!write_consumer(&w, name, groups)) return PS_ERR_BAD_ARGUMENT;
  w = (struct ps_writer){(char *)ps_alloc(life, w.len), 0, w.len};
  if (!w.data) return PS_ERR_MEMORY;
  (void)write_consumer(&w, name, groups);
  *encoded = (ps_str){w.data, w.len};
  return PS_OK;
}
