// Configurations: a JSON value into C types, strictly. Pure.
#include "abi.h"

#define PS_NUMBER(kind, c_type) {kind, #c_type, sizeof(c_type), _Alignof(c_type), NULL, NULL, 0, NULL}
const ps_type ps_type_text = PS_NUMBER(PS_TYPE_TEXT, ps_str);
const ps_type ps_type_bool = PS_NUMBER(PS_TYPE_BOOL, bool);
const ps_type ps_type_i8 = PS_NUMBER(PS_TYPE_INT, int8_t);
const ps_type ps_type_i16 = PS_NUMBER(PS_TYPE_INT, int16_t);
const ps_type ps_type_i32 = PS_NUMBER(PS_TYPE_INT, int32_t);
const ps_type ps_type_i64 = PS_NUMBER(PS_TYPE_INT, int64_t);
const ps_type ps_type_u8 = PS_NUMBER(PS_TYPE_UINT, uint8_t);
const ps_type ps_type_u16 = PS_NUMBER(PS_TYPE_UINT, uint16_t);
const ps_type ps_type_u32 = PS_NUMBER(PS_TYPE_UINT, uint32_t);
const ps_type ps_type_u64 = PS_NUMBER(PS_TYPE_UINT, uint64_t);
const ps_type ps_type_f32 = PS_NUMBER(PS_TYPE_FLOAT, float);
const ps_type ps_type_f64 = PS_NUMBER(PS_TYPE_FLOAT, double);

// step is a part of a path: a name, or the place in a list.
struct step {
  const struct step *up;
  ps_str name;
  size_t index;
  bool list;
};

static ps_str text_of(const char *s) { return (ps_str){s, __builtin_strlen(s)}; }

static void write_path(const struct step *s) {
  if (!s->up) {
    ps_reason(PS_STR("config"));
    return;
  }
  write_path(s->up);
  if (s->list) ps_reason(PS_CAT(PS_STR("["), ps_int((int64_t)s->index), PS_STR("]")));
  else ps_reason(PS_CAT(PS_STR("."), s->name));
}

// look is what compares a value with a type, and then reads it.
struct look {
  bool misfits; // there are some
  bool memory;  // there was none left
};

static void misfit(struct look *l, const struct step *at) {
  if (l->misfits) ps_reason(PS_STR("; "));
  l->misfits = true;
  write_path(at);
  ps_reason(PS_STR(": "));
}

static const ps_field *field(const ps_type *t, ps_str name) {
  for (size_t i = 0; i < t->fields_len; i++)
    if (ps_equal(text_of(t->fields[i].name), name)) return &t->fields[i];
  return NULL;
}

// place is where in an entry of a PS_MAP_OF the value is, and stride how large the entry is.
static size_t align_to(size_t n, size_t to) { return (n + to - 1) / to * to; }
static size_t place(const ps_type *element) { return align_to(sizeof(ps_str), element->align); }
static size_t stride(const ps_type *element) {
  size_t align = element->align > _Alignof(ps_str) ? element->align : _Alignof(ps_str);
  return align_to(place(element) + element->size, align);
}

static bool fits(ps_json_kind k, ps_type_kind t) {
  switch (t) {
  case PS_TYPE_TEXT: return k == PS_JSON_TEXT;
  case PS_TYPE_BOOL: return k == PS_JSON_BOOL;
  case PS_TYPE_INT:
  case PS_TYPE_UINT:
  case PS_TYPE_FLOAT: return k == PS_JSON_NUMBER;
  case PS_TYPE_LIST: return k == PS_JSON_LIST;
  case PS_TYPE_OBJECT:
  case PS_TYPE_MAP: return k == PS_JSON_OBJECT;
  case PS_TYPE_OWN: return true;
  }
  return false;
}

static ps_str wanted(ps_type_kind t) {
  switch (t) {
  case PS_TYPE_TEXT: return PS_STR("a text");
  case PS_TYPE_BOOL: return PS_STR("true or false");
  case PS_TYPE_LIST: return PS_STR("a list");
  case PS_TYPE_OBJECT:
  case PS_TYPE_MAP: return PS_STR("an object");
  default: return PS_STR("a number");
  }
}

static ps_str got(ps_json_kind k) {
  static const ps_type_kind like[] = {PS_TYPE_OWN, PS_TYPE_BOOL, PS_TYPE_INT, PS_TYPE_TEXT, PS_TYPE_LIST, PS_TYPE_OBJECT};
  return wanted(like[k]);
}

// compare names all places where a value does not fit a type.
static void compare(struct look *l, const ps_json *v, const ps_type *t, const struct step *at) {
  if (v->kind == PS_JSON_NULL) return;
  if (!fits(v->kind, t->kind)) {
    misfit(l, at);
    ps_reason(PS_CAT(got(v->kind), PS_STR("; want "), wanted(t->kind)));
    return;
  }
  struct step under = {at, PS_EMPTY, 0, t->kind == PS_TYPE_LIST};
  if (t->kind == PS_TYPE_LIST)
    for (const ps_json *e = v->first; e; e = e->next, under.index++) compare(l, e, t->element, &under);
  if (t->kind != PS_TYPE_OBJECT && t->kind != PS_TYPE_MAP) return;
  const ps_json **sorted = ps_json_sorted(v);
  if (!sorted) {
    l->memory = true;
    return;
  }
  for (size_t i = 0; i < v->len; i++) {
    under.name = sorted[i]->name;
    const ps_field *f = t->kind == PS_TYPE_OBJECT ? field(t, under.name) : NULL;
    if (t->kind == PS_TYPE_MAP) compare(l, sorted[i], t->element, &under);
    else if (f) compare(l, sorted[i], f->type, &under);
    else {
      misfit(l, &under);
      ps_reason(PS_STR("unknown field"));
    }
  }
}

// whole reads a whole number into to; false: it is none, or does not fit.
static bool whole(ps_str text, const ps_type *t, void *to) {
  int64_t n = 0;
  uint64_t u = 0;
  if (t->kind == PS_TYPE_UINT && t->size == 8) {
    for (size_t i = 0; i < text.len; i++) {
      unsigned digit = (unsigned)(unsigned char)text.data[i] - '0';
      if (digit > 9 || u > (UINT64_MAX - digit) / 10) return false;
      u = u * 10 + digit;
    }
  } else {
    int64_t most = t->kind == PS_TYPE_UINT ? (INT64_C(1) << (8 * t->size)) - 1 : (int64_t)(UINT64_MAX >> (65 - 8 * t->size));
    int64_t least = t->kind == PS_TYPE_UINT ? 0 : -most - 1;
    if (!ps_parse_int(text, &n) || n < least || n > most) return false;
    u = (uint64_t)n;
  }
  __builtin_memcpy(to, &u, t->size); // little endian, as WebAssembly is
  return true;
}

static bool floating(ps_str text, const ps_type *t, void *to) {
  double d;
  if (!ps_to_double(text, &d)) return false;
  if (t->size == sizeof d) {
    __builtin_memcpy(to, &d, sizeof d);
    return true;
  }
  if (d > 3.4028234663852886e38 || d < -3.4028234663852886e38) return false;
  float f = (float)d;
  __builtin_memcpy(to, &f, sizeof f);
  return true;
}

static void fill(struct look *l, const ps_json *v, const ps_type *t, void *to, const struct step *at);

// fill_many reads a list or a map into memory of the plugin.
static void fill_many(struct look *l, const ps_json *v, const ps_type *t, void *to, const struct step *at) {
  bool list = t->kind == PS_TYPE_LIST;
  size_t size = list ? t->element->size : stride(t->element), bytes;
  const ps_json **sorted = list ? NULL : ps_json_sorted(v);
  char *items = NULL;
  if (__builtin_mul_overflow(size, v->len, &bytes) || (!list && !sorted) || !(items = (char *)ps_alloc(PS_FOR_PLUGIN, bytes))) {
    l->memory = true;
    return;
  }
  struct step under = {at, PS_EMPTY, 0, list};
  const ps_json *e = v->first;
  for (size_t i = 0; i < v->len && !l->memory; i++) {
    char *item = items + i * size;
    under.index = i;
    if (!list) {
      ps_str key;
      e = sorted[i];
      under.name = e->name;
      if (ps_copy(PS_FOR_PLUGIN, e->name, &key) != PS_OK) l->memory = true;
      __builtin_memcpy(item, &key, sizeof key);
      item += place(t->element);
    }
    fill(l, e, t->element, item, &under);
    e = e->next;
  }
  struct {
    void *items;
    size_t len;
  } made = {items, v->len};
  __builtin_memcpy(to, &made, sizeof made);
}

// fill reads a value that compare has found nothing against.
static void fill(struct look *l, const ps_json *v, const ps_type *t, void *to, const struct step *at) {
  ps_str text;
  if (v->kind == PS_JSON_NULL || l->memory) return;
  switch (t->kind) {
  case PS_TYPE_TEXT:
    if (ps_copy(PS_FOR_PLUGIN, v->text, &text) != PS_OK) l->memory = true;
    __builtin_memcpy(to, &text, sizeof text);
    return;
  case PS_TYPE_BOOL:
    __builtin_memcpy(to, &v->truth, sizeof v->truth);
    return;
  case PS_TYPE_INT:
  case PS_TYPE_UINT:
  case PS_TYPE_FLOAT:
    if (t->kind == PS_TYPE_FLOAT ? floating(v->text, t, to) : whole(v->text, t, to)) return;
    misfit(l, at);
    ps_reason(PS_CAT(PS_STR("does not fit "), text_of(t->name)));
    return;
  case PS_TYPE_LIST:
  case PS_TYPE_MAP:
    fill_many(l, v, t, to, at);
    return;
  case PS_TYPE_OWN:
    text = t->read(v, to);
    if (text.len == 0) return;
    misfit(l, at);
    ps_reason(text);
    return;
  case PS_TYPE_OBJECT:
    for (const ps_json *e = v->first; e; e = e->next) {
      const ps_field *f = field(t, e->name);
      struct step under = {at, e->name, 0, false};
      fill(l, e, f->type, (char *)to + f->offset, &under);
    }
  }
}

ps_status ps_parse_config(ps_str text, const ps_type *type, void *config) {
  const ps_json *v;
  const struct step root = {NULL, PS_EMPTY, 0, false};
  struct look l = {false, false};
  if (text.len == 0) return PS_OK;
  ps_status status = ps_json_parse(text, &v);
  if (status == PS_ERR_CONFIG) return ps_refuse(PS_CAT(PS_STR("config: "), ps_status_text(status)));
  if (status != PS_OK) return status;
  ps_reason_begin();
  compare(&l, v, type, &root);
  void *made = ps_temp(type->size);
  if (l.memory || !made) return PS_ERR_MEMORY;
  if (l.misfits) return PS_ERR_CONFIG;
  __builtin_memcpy(made, config, type->size);
  fill(&l, v, type, made, &root);
  if (l.memory) return PS_ERR_MEMORY;
  if (l.misfits) return PS_ERR_CONFIG;
  __builtin_memcpy(config, made, type->size);
  return PS_OK;
}
