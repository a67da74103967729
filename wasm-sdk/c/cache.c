// The functions of Penstock's response cache, and what they are on the wire.
#include "abi.h"

enum { MAX_STEER_TTL = 365 * 24 * 3600, MAX_OBJECT_TTL = 30 * 24 * 3600 };

// write_list writes a byte with the number of elements, and each with its length before it,
// in 16 bits; false: it passes a bound.
static bool write_list(struct ps_writer *w, ps_strs list, size_t elements, size_t least, size_t most) {
  if (list.len > elements) return false;
  ps_write_u8(w, (uint8_t)list.len);
  for (size_t i = 0; i < list.len; i++) {
    if (list.items[i].len < least || list.items[i].len > most) return false;
    ps_write_text(w, list.items[i]);
  }
  return true;
}

// A byte of flags (1 bypass, 2 force), the seconds in 32 bits, the key's parts, the tags.
static bool write_steering(struct ps_writer *w, const ps_steering *s) {
  if (s->ttl_s < 0 || s->ttl_s > MAX_STEER_TTL || (s->force && s->ttl_s == 0)) return false;
  ps_write_u8(w, (uint8_t)((s->bypass ? 1 : 0) | (s->force ? 2 : 0)));
  ps_write_u32(w, (uint32_t)s->ttl_s);
  return write_list(w, s->key, PS_MAX_CACHE_PARTS, 0, PS_MAX_CACHE_PART) && write_list(w, s->tags, PS_MAX_CACHE_TAGS, 1, PS_MAX_CACHE_TAG);
}

ps_status ps_steering_encode(const ps_steering *s, ps_life life, ps_str *encoded) {
  *encoded = PS_EMPTY;
  struct ps_writer w = {NULL, 0, 0}; // first only counts
  if (!write_steering(&w, s)) return PS_ERR_CACHE_ARGUMENT;
  w = (struct ps_writer){(char *)ps_alloc(life, w.len), 0, w.len};
  if (!w.data) return PS_ERR_MEMORY;
  (void)write_steering(&w, s);
  *encoded = (ps_str){w.data, w.len};
  return PS_OK;
}

static bool is_key(ps_str key) { return key.len > 0 && key.len <= PS_MAX_CACHE_KEY; }

// Seconds in 32 bits, the key with its length in 16 bits, the tags, the value.
static bool write_put(struct ps_writer *w, ps_str key, ps_str value, int64_t ttl_s, ps_strs tags) {
  if (!is_key(key) || value.len > PS_MAX_CACHE_VALUE || ttl_s < 1 || ttl_s > MAX_OBJECT_TTL) return false;
  ps_write_u32(w, (uint32_t)ttl_s);
  ps_write_text(w, key);
  if (!write_list(w, tags, PS_MAX_CACHE_TAGS, 1, PS_MAX_CACHE_TAG)) return false;
  ps_write(w, value);
  return true;
}

ps_status ps_cache_put_encode(ps_str key, ps_str value, int64_t ttl_s, ps_strs tags, ps_str *encoded) {
  *encoded = PS_EMPTY;
  struct ps_writer w = {NULL, 0, 0};
  if (!write_put(&w, key, value, ttl_s, tags)) return PS_ERR_CACHE_ARGUMENT;
  w = (struct ps_writer){(char *)ps_temp(w.len), 0, w.len};
  if (!w.data) return PS_ERR_MEMORY;
  (void)write_put(&w, key, value, ttl_s, tags);
  *encoded = (ps_str){w.data, w.len};
  return PS_OK;
}

// A byte of flags (1 soft), the tags.
ps_status ps_cache_purge_encode(bool soft, ps_strs tags, ps_str *encoded) {
  *encoded = PS_EMPTY;
  struct ps_writer w = {NULL, 0, 0};
  if (tags.len == 0 || !write_list(&w, tags, PS_MAX_CACHE_TAGS, 1, PS_MAX_CACHE_TAG)) return PS_ERR_CACHE_ARGUMENT;
  w = (struct ps_writer){(char *)ps_temp(w.len + 1), 0, w.len + 1};
  if (!w.data) return PS_ERR_MEMORY;
  ps_write_u8(&w, soft);
  (void)write_list(&w, tags, PS_MAX_CACHE_TAGS, 1, PS_MAX_CACHE_TAG);
  *encoded = (ps_str){w.data, w.len};
  return PS_OK;
}

// A byte of flags (1 stale), milliseconds in 64 bits, the value.
ps_status ps_cache_object_decode(ps_str answer, ps_cache_object *object) {
  *object = (ps_cache_object){PS_EMPTY, 0, false};
  if (answer.len < 9) return PS_ERR_RESULT_MISMATCH;
  *object = (ps_cache_object){{answer.data + 9, answer.len - 9}, ps_read_u64(answer.data + 1), (answer.data[0] & 1) != 0};
  return PS_OK;
}

// How much it was in 32 bits, all ones for -1.
ps_status ps_cache_purged_decode(ps_str answer, int64_t *removed) {
  *removed = 0;
  if (answer.len < 4) return PS_ERR_RESULT_MISMATCH;
  *removed = (int32_t)ps_read_u32(answer.data);
  return PS_OK;
}

ps_status ps_steer_cache(const ps_steering *s) {
  ps_str encoded;
  ps_status status = ps_steering_encode(s, PS_FOR_CALLBACK, &encoded);
  return status == PS_OK ? ps_send_steering(encoded) : status;
}

ps_status ps_send_steering(ps_str encoded) {
  ps_str none;
  return ps_call_foreign(PS_STR("penstock.cache_steer"), encoded, &none);
}

ps_status ps_cache_get(ps_str key, ps_cache_object *object) {
  ps_str answer;
  *object = (ps_cache_object){PS_EMPTY, 0, false};
  if (!is_key(key)) return PS_ERR_CACHE_ARGUMENT;
  ps_status status = ps_call_foreign(PS_STR("penstock.cache_get"), key, &answer);
  return status == PS_OK ? ps_cache_object_decode(answer, object) : status;
}

ps_status ps_cache_put(ps_str key, ps_str value, int64_t ttl_s, ps_strs tags) {
  ps_str encoded, none;
  ps_status status = ps_cache_put_encode(key, value, ttl_s, tags, &encoded);
  return status == PS_OK ? ps_call_foreign(PS_STR("penstock.cache_put"), encoded, &none) : status;
}

ps_status ps_cache_delete(ps_str key) {
  ps_str none;
  return is_key(key) ? ps_call_foreign(PS_STR("penstock.cache_delete"), key, &none) : PS_ERR_CACHE_ARGUMENT;
}

ps_status ps_cache_purge(bool soft, ps_strs tags, int64_t *removed) {
  ps_str encoded, answer;
  *removed = 0;
  ps_status status = ps_cache_purge_encode(soft, tags, &encoded);
  if (status == PS_OK) status = ps_call_foreign(PS_STR("penstock.cache_purge"), encoded, &answer);
  return status == PS_OK ? ps_cache_purged_decode(answer, removed) : status;
}
