// A strict reader of JSON (RFC 8259) into a tree, for configurations. Pure.
#include "abi.h"

enum { DEPTH = 64 };

struct parser {
  ps_str text;
  size_t at;
  unsigned depth;
  const char *wrong; // what is, NULL: nothing yet
};

static bool wrong(struct parser *p, const char *what) {
  if (!p->wrong) p->wrong = what;
  return false;
}

static bool no_json(struct parser *p) { return wrong(p, "no JSON"); }

// peek returns the next byte; -1: there is none.
static int peek(const struct parser *p) { return p->at < p->text.len ? (unsigned char)p->text.data[p->at] : -1; }

static void space(struct parser *p) {
  for (int c = peek(p); c == ' ' || c == '\t' || c == '\n' || c == '\r'; c = peek(p)) p->at++;
}

static bool word(struct parser *p, ps_str w) {
  for (size_t i = 0; i < w.len; i++, p->at++)
    if (peek(p) != w.data[i]) return no_json(p);
  return true;
}

static bool digits(struct parser *p) {
  size_t begun = p->at;
  while (peek(p) >= '0' && peek(p) <= '9') p->at++;
  return p->at > begun || no_json(p);
}

static bool number(struct parser *p, ps_str *text) {
  size_t begun = p->at;
  if (peek(p) == '-') p->at++;
  if (peek(p) == '0') p->at++;
  else if (!digits(p)) return false;
  if (peek(p) == '.') {
    p->at++;
    if (!digits(p)) return false;
  }
  if (peek(p) == 'e' || peek(p) == 'E') {
    p->at++;
    if (peek(p) == '+' || peek(p) == '-') p->at++;
    if (!digits(p)) return false;
  }
  *text = (ps_str){p->text.data + begun, p->at - begun};
  return true;
}

static bool hex4(struct parser *p, uint32_t *n) {
  *n = 0;
  for (int i = 0; i < 4; i++, p->at++) {
    int c = peek(p);
    if (c >= '0' && c <= '9') c -= '0';
    else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f') c = (c | 0x20) - 'a' + 10;
    else return no_json(p);
    *n = *n << 4 | (uint32_t)c;
  }
  return true;
}

// escape reads what follows a backslash into to, at most 4 bytes.
static bool escape(struct parser *p, struct ps_writer *to) {
  static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
  int c = peek(p);
  for (size_t i = 0; i < sizeof from - 1; i++)
    if (c == from[i]) {
      p->at++;
      ps_write_u8(to, (uint8_t)into[i]);
      return true;
    }
  uint32_t n, low;
  if (c != 'u') return no_json(p);
  p->at++;
  if (!hex4(p, &n)) return false;
  if (n >= 0xdc00 && n < 0xe000) return wrong(p, "half a surrogate pair");
  if (n >= 0xd800 && n < 0xdc00) {
    if (peek(p) != '\\') return wrong(p, "half a surrogate pair");
    p->at++;
    if (peek(p) != 'u') return wrong(p, "half a surrogate pair");
    p->at++;
    if (!hex4(p, &low)) return false;
    if (low < 0xdc00 || low >= 0xe000) return wrong(p, "half a surrogate pair");
    n = 0x10000 + ((n - 0xd800) << 10) + (low - 0xdc00);
  }
  if (n < 0x80) {
    ps_write_u8(to, (uint8_t)n);
    return true;
  }
  if (n < 0x800) {
    ps_write_u8(to, (uint8_t)(0xc0 | n >> 6));
  } else if (n < 0x10000) {
    ps_write_u8(to, (uint8_t)(0xe0 | n >> 12));
    ps_write_u8(to, (uint8_t)(0x80 | (n >> 6 & 0x3f)));
  } else {
    ps_write_u8(to, (uint8_t)(0xf0 | n >> 18));
    ps_write_u8(to, (uint8_t)(0x80 | (n >> 12 & 0x3f)));
    ps_write_u8(to, (uint8_t)(0x80 | (n >> 6 & 0x3f)));
  }
  ps_write_u8(to, (uint8_t)(0x80 | (n & 0x3f)));
  return true;
}

// string reads a text: one without escapes stays where it is.
static bool string(struct parser *p, ps_str *text) {
  if (peek(p) != '"') return no_json(p);
  const size_t begun = ++p->at;
  size_t end = begun;
  bool escapes = false;
  while (end < p->text.len && p->text.data[end] != '"') {
    escapes |= p->text.data[end] == '\\';
    end += p->text.data[end] == '\\' ? 2 : 1;
  }
  struct ps_writer w = {NULL, 0, 0};
  if (escapes) { // what is decoded is no longer than what is not
    w.size = (end < p->text.len ? end : p->text.len) - begun;
    w.data = (char *)ps_temp(w.size);
    if (!w.data) return wrong(p, "no memory");
  }
  for (int c; (c = peek(p)) != '"';) {
    if (c < 0x20) return no_json(p); // also the end
    if (c == '\\') {
      p->at++;
      if (!escape(p, &w)) return false;
      continue;
    }
    size_t n = ps_utf8(p->text.data + p->at, p->text.len - p->at);
    if (n == 0) return wrong(p, "no UTF-8");
    if (escapes) ps_write(&w, (ps_str){p->text.data + p->at, n});
    p->at += n;
  }
  *text = escapes ? (ps_str){w.data, w.len} : (ps_str){p->text.data + begun, p->at - begun};
  p->at++;
  return true;
}

// ---- Order ----

static int compare(ps_str a, ps_str b) {
  size_t n = a.len < b.len ? a.len : b.len;
  int c = n > 0 ? __builtin_memcmp(a.data, b.data, n) : 0;
  return c ? c : (a.len > b.len) - (a.len < b.len);
}

// sink lets an element sink to its place in a heap of n (heapsort, as it has no worst case).
static void sink(const ps_json **list, size_t i, size_t n) {
  for (size_t child; (child = 2 * i + 1) < n; i = child) {
    if (child + 1 < n && compare(list[child]->name, list[child + 1]->name) < 0) child++;
    if (compare(list[i]->name, list[child]->name) >= 0) return;
    const ps_json *swapped = list[i];
    list[i] = list[child];
    list[child] = swapped;
  }
}

const ps_json **ps_json_sorted(const ps_json *object) {
  const ps_json **list = (const ps_json **)ps_temp((object->len + 1) * sizeof *list);
  size_t n = 0;
  if (!list) return NULL;
  for (const ps_json *f = object->first; f; f = f->next) list[n++] = f;
  for (size_t i = n / 2; i > 0; i--) sink(list, i - 1, n);
  for (size_t end = n; end > 1; end--) {
    const ps_json *largest = list[0];
    list[0] = list[end - 1];
    list[end - 1] = largest;
    sink(list, 0, end - 1);
  }
  return list;
}

// names_differ says that no name comes twice in an object.
static bool names_differ(struct parser *p, const ps_json *object) {
  if (object->len < 2) return true;
  const ps_json **list = ps_json_sorted(object);
  if (!list) return wrong(p, "no memory");
  for (size_t i = 1; i < object->len; i++)
    if (ps_equal(list[i - 1]->name, list[i]->name)) return wrong(p, "a name that comes twice in an object");
  return true;
}

// ---- Values ----

static bool value(struct parser *p, ps_json *v);

// members reads what a list or an object has, behind its bracket.
static bool members(struct parser *p, ps_json *v, char end) {
  const ps_json **at = &v->first;
  p->at++;
  space(p);
  if (peek(p) == end) {
    p->at++;
    return true;
  }
  for (;;) {
    ps_json *m = (ps_json *)ps_temp(sizeof *m);
    if (!m) return wrong(p, "no memory");
    *m = (ps_json){PS_JSON_NULL, false, PS_EMPTY, 0, NULL, NULL, PS_EMPTY};
    if (end == '}') {
      space(p);
      if (!string(p, &m->name)) return false;
      space(p);
      if (peek(p) != ':') return no_json(p);
      p->at++;
    }
    if (!value(p, m)) return false;
    *at = m;
    at = &m->next;
    v->len++;
    space(p);
    if (peek(p) == end) break;
    if (peek(p) != ',') return no_json(p);
    p->at++;
  }
  p->at++;
  return end == ']' || names_differ(p, v);
}

// value reads one value into an empty one, with the space before it.
static bool value(struct parser *p, ps_json *v) {
  bool ok;
  space(p);
  switch (peek(p)) {
  case 'n': return word(p, PS_STR("null"));
  case 't': v->kind = PS_JSON_BOOL, v->truth = true; return word(p, PS_STR("true"));
  case 'f': v->kind = PS_JSON_BOOL; return word(p, PS_STR("false"));
  case '"': v->kind = PS_JSON_TEXT; return string(p, &v->text);
  case '[':
  case '{':
    v->kind = peek(p) == '[' ? PS_JSON_LIST : PS_JSON_OBJECT;
    if (p->depth == DEPTH) return wrong(p, "too deep");
    p->depth++;
    ok = members(p, v, v->kind == PS_JSON_LIST ? ']' : '}');
    p->depth--;
    return ok;
  default: v->kind = PS_JSON_NUMBER; return number(p, &v->text);
  }
}

ps_status ps_json_parse(ps_str text, const ps_json **result) {
  struct parser p = {text, 0, 0, NULL};
  *result = NULL;
  ps_json *v = (ps_json *)ps_temp(sizeof *v);
  if (!v) return PS_ERR_MEMORY;
  *v = (ps_json){PS_JSON_NULL, false, PS_EMPTY, 0, NULL, NULL, PS_EMPTY};
  if (!value(&p, v)) {
    ps_reason_begin();
    ps_reason((ps_str){p.wrong, __builtin_strlen(p.wrong)});
    ps_reason(PS_STR(": at byte "));
    ps_reason(ps_int((int64_t)(p.at < text.len ? p.at + 1 : text.len)));
    return PS_ERR_CONFIG;
  }
  space(&p);
  if (p.at < text.len) return ps_refuse(PS_STR("more follows the JSON value"));
  *result = v;
  return PS_OK;
}

const ps_json *ps_json_get(const ps_json *object, ps_str name) {
  if (!object || object->kind != PS_JSON_OBJECT) return NULL;
  const ps_json *f = object->first;
  while (f && !ps_equal(f->name, name)) f = f->next;
  return f;
}

bool ps_json_int(const ps_json *v, int64_t *n) {
  *n = 0;
  return v && (v->kind == PS_JSON_NUMBER || v->kind == PS_JSON_TEXT) && ps_parse_int(v->text, n);
}
