// Rate limits, the key-value store, and keys that the proxy holds, with what they are on
// the wire.
#include "abi.h"

enum { MAX_RATE_KEY = 1 << 10, MAX_RATE_WINDOW = 31 * 24 * 3600, MAX_KV_TTL = 31 * 24 * 3600, MAX_TEXT = 0xffff };

// begin makes room for an argument; false: there is none.
static bool begin(struct ps_writer *w, size_t size) {
  *w = (struct ps_writer){(char *)ps_temp(size), 0, size};
  return w->data != NULL;
}

static ps_str written(struct ps_writer *w) { return (ps_str){w->data, w->len}; }

static void write_u64(struct ps_writer *w, uint64_t n) {
  ps_write_u32(w, (uint32_t)n);
  ps_write_u32(w, (uint32_t)(n >> 32));
}

// call calls a function whose argument was put together, and drops what it returns.
static ps_status call(ps_str name, struct ps_writer *w) {
  ps_str none;
  return ps_call_foreign(name, written(w), &none);
}

// ---- Rate limits ----

// A byte of flags (1 sliding, 2 shared), the limit, the milliseconds, the burst, the cost in
// 32 bits each, the key.
ps_status ps_rate_encode(const ps_rate *r, bool shared, ps_str key, uint32_t cost, ps_str *encoded) {
  struct ps_writer w;
  *encoded = PS_EMPTY;
  if (r->limit == 0 || r->window_ms < 1 || r->window_ms > (int64_t)MAX_RATE_WINDOW * 1000 || (r->sliding && r->burst) || !ps_fits(key, MAX_RATE_KEY)) return PS_ERR_BAD_ARGUMENT;
  if (!begin(&w, 17 + key.len)) return PS_ERR_MEMORY;
  ps_write_u8(&w, (uint8_t)((r->sliding ? 1 : 0) | (shared ? 2 : 0)));
  ps_write_u32(&w, r->limit);
  ps_write_u32(&w, (uint32_t)r->window_ms);
  ps_write_u32(&w, r->burst);
  ps_write_u32(&w, cost);
  ps_write(&w, key);
  *encoded = written(&w);
  return PS_OK;
}

// A byte, and three numbers of 32 bits.
ps_status ps_rate_decode(ps_str answer, ps_rate_answer *a) {
  *a = (ps_rate_answer){false, 0, 0, 0};
  if (answer.len != 13) return PS_ERR_RESULT_MISMATCH;
  *a = (ps_rate_answer){answer.data[0] != 0, ps_read_u32(answer.data + 1), ps_read_u32(answer.data + 5), ps_read_u32(answer.data + 9)};
  return PS_OK;
}

ps_status ps_take_rate(const ps_rate *rate, ps_str key, uint32_t cost, ps_rate_answer *answer) {
  ps_str encoded, got;
  *answer = (ps_rate_answer){false, 0, 0, 0};
  ps_status status = ps_rate_encode(rate, false, key, cost, &encoded);
  if (status == PS_OK) status = ps_call_foreign(PS_STR("penstock.rate_limit"), encoded, &got);
  return status == PS_OK ? ps_rate_decode(got, answer) : status;
}

static void rate_came(ps_any_function *answered, void *data, ps_status error, ps_str got) {
  ps_rate_answer a = {false, 0, 0, 0};
  if (error == PS_OK) error = ps_rate_decode(got, &a);
  ((ps_rate_answered *)answered)(data, error, &a);
}

ps_status ps_take_shared_rate(const ps_rate *rate, ps_str key, uint32_t cost, ps_rate_answered *answered, void *data, bool *now, ps_rate_answer *answer) {
  ps_str encoded, got;
  *now = false;
  *answer = (ps_rate_answer){false, 0, 0, 0};
  ps_status status = ps_rate_encode(rate, true, key, cost, &encoded);
  if (status == PS_OK) status = ps_call_later(PS_STR("penstock.rate_limit"), encoded, rate_came, (ps_any_function *)answered, data, now, &got);
  return status == PS_OK && *now ? ps_rate_decode(got, answer) : status;
}

// ---- The key-value store ----

ps_status ps_kv_get(ps_str key, ps_kv_value *value) {
  ps_str got;
  *value = (ps_kv_value){PS_EMPTY, 0};
  if (!ps_fits(key, PS_MAX_KV_KEY)) return PS_ERR_BAD_ARGUMENT;
  ps_status status = ps_call_foreign(PS_STR("penstock.kv_get"), key, &got);
  if (status != PS_OK) return status;
  if (got.len < 8) return PS_ERR_RESULT_MISMATCH;
  *value = (ps_kv_value){{got.data + 8, got.len - 8}, ps_read_u64(got.data)};
  return PS_OK;
}

ps_status ps_kv_put(ps_str key, ps_str value, int64_t ttl_s, bool absent) {
  struct ps_writer w;
  if (!ps_fits(key, PS_MAX_KV_KEY) || value.len > PS_MAX_KV_VALUE || ttl_s < 1 || ttl_s > MAX_KV_TTL) return PS_ERR_BAD_ARGUMENT;
  if (!begin(&w, 7 + key.len + value.len)) return PS_ERR_MEMORY;
  ps_write_u8(&w, absent);
  ps_write_u32(&w, (uint32_t)ttl_s);
  ps_write_text(&w, key);
  ps_write(&w, value);
  return call(PS_STR("penstock.kv_put"), &w);
}

ps_status ps_kv_delete(ps_str key) {
  ps_str none;
  return ps_fits(key, PS_MAX_KV_KEY) ? ps_call_foreign(PS_STR("penstock.kv_delete"), key, &none) : PS_ERR_BAD_ARGUMENT;
}

ps_status ps_kv_add(ps_str key, int64_t delta, int64_t ttl_s, int64_t *sum) {
  struct ps_writer w;
  ps_str got;
  *sum = 0;
  if (!ps_fits(key, PS_MAX_KV_KEY) || ttl_s < 1 || ttl_s > MAX_KV_TTL) return PS_ERR_BAD_ARGUMENT;
  if (!begin(&w, 12 + key.len)) return PS_ERR_MEMORY;
  ps_write_u32(&w, (uint32_t)ttl_s);
  write_u64(&w, (uint64_t)delta);
  ps_write(&w, key);
  ps_status status = ps_call_foreign(PS_STR("penstock.kv_add"), written(&w), &got);
  return status == PS_OK ? ps_read_int(got, sum) : status;
}

// ---- Content codings ----

static bool is_body(ps_buffer body) { return body == PS_REQUEST_BODY || body == PS_RESPONSE_BODY; }

ps_status ps_encode_body(ps_buffer body, ps_str coding, int level) {
  struct ps_writer w;
  if (!is_body(body) || level < 0 || level > 9 || coding.len > MAX_TEXT) return PS_ERR_BAD_ARGUMENT;
  if (!begin(&w, 2 + coding.len)) return PS_ERR_MEMORY;
  ps_write_u8(&w, (uint8_t)body);
  ps_write_u8(&w, (uint8_t)level);
  ps_write(&w, coding);
  return call(PS_STR("penstock.encode_body"), &w);
}

ps_status ps_decode_body(ps_buffer body, int64_t limit, ps_str codings) {
  struct ps_writer w;
  if (!is_body(body) || limit <= 0 || codings.len > MAX_TEXT) return PS_ERR_BAD_ARGUMENT;
  if (!begin(&w, 9 + codings.len)) return PS_ERR_MEMORY;
  ps_write_u8(&w, (uint8_t)body);
  write_u64(&w, (uint64_t)limit);
  ps_write(&w, codings);
  return call(PS_STR("penstock.decode_body"), &w);
}

// ---- Keys, digests and passwords ----

ps_status ps_new_key(ps_str algorithm, ps_key_format format, ps_str key, ps_key *k) {
  struct ps_writer w;
  ps_str got;
  k->id = 0;
  if (algorithm.len > MAX_TEXT) return PS_ERR_BAD_ARGUMENT;
  if (!begin(&w, 3 + algorithm.len + key.len)) return PS_ERR_MEMORY;
  ps_write_text(&w, algorithm);
  ps_write_u8(&w, (uint8_t)format);
  ps_write(&w, key);
  ps_status status = ps_call_foreign(PS_STR("penstock.crypto_key"), written(&w), &got);
  if (status != PS_OK) return status;
  if (got.len < 4) return PS_ERR_RESULT_MISMATCH;
  k->id = ps_read_u32(got.data);
  return k->id ? PS_OK : ps_refuse((ps_str){got.data + 4, got.len - 4});
}

// with_key calls a function of a key with a text, unless that is NULL, and data.
static ps_status with_key(ps_str name, ps_key k, const ps_str *text, ps_str data, ps_str *got) {
  struct ps_writer w;
  *got = PS_EMPTY;
  if (text && text->len > MAX_TEXT) return PS_ERR_BAD_ARGUMENT;
  if (!begin(&w, 6 + (text ? text->len : 0) + data.len)) return PS_ERR_MEMORY;
  ps_write_u32(&w, k.id);
  if (text) ps_write_text(&w, *text);
  ps_write(&w, data);
  return ps_call_foreign(name, written(&w), got);
}

void ps_key_delete(ps_key k) {
  ps_str none;
  (void)with_key(PS_STR("penstock.crypto_key_delete"), k, NULL, PS_EMPTY, &none);
}

static bool is_yes(ps_str got) { return got.len > 0 && got.data[0] == 1; }

ps_status ps_key_verify(ps_key k, ps_str signature, ps_str message, bool *right) {
  ps_str got;
  ps_status status = with_key(PS_STR("penstock.crypto_verify"), k, &signature, message, &got);
  *right = status == PS_OK && got.len == 1 && is_yes(got);
  return status;
}

ps_status ps_key_sign(ps_key k, ps_str message, ps_str *signature) { return with_key(PS_STR("penstock.crypto_sign"), k, NULL, message, signature); }

ps_status ps_key_seal(ps_key k, ps_str text, ps_str with, ps_str *sealed) { return with_key(PS_STR("penstock.crypto_seal"), k, &with, text, sealed); }

ps_status ps_key_open(ps_key k, ps_str sealed, ps_str with, bool *right, ps_str *text) {
  ps_str got;
  ps_status status = with_key(PS_STR("penstock.crypto_open"), k, &with, sealed, &got);
  *right = status == PS_OK && is_yes(got);
  *text = *right ? (ps_str){got.data + 1, got.len - 1} : PS_EMPTY;
  return status;
}

ps_status ps_hash(ps_str name, ps_str data, ps_str *digest) {
  struct ps_writer w;
  *digest = PS_EMPTY;
  if (name.len > MAX_TEXT) return PS_ERR_BAD_ARGUMENT;
  if (!begin(&w, 2 + name.len + data.len)) return PS_ERR_MEMORY;
  ps_write_text(&w, name);
  ps_write(&w, data);
  return ps_call_foreign(PS_STR("penstock.crypto_hash"), written(&w), digest);
}

static void password_came(ps_any_function *answered, void *data, ps_status error, ps_str got) {
  ((ps_password_answered *)answered)(data, error, error == PS_OK && got.len == 1 && is_yes(got));
}

ps_status ps_check_password(ps_str hash, ps_str password, ps_password_answered *answered, void *data, bool *now, bool *right) {
  struct ps_writer w;
  ps_str got;
  *now = *right = false;
  if (hash.len > MAX_TEXT) return PS_ERR_BAD_ARGUMENT;
  if (!begin(&w, 2 + hash.len + password.len)) return PS_ERR_MEMORY;
  ps_write_text(&w, hash);
  ps_write(&w, password);
  ps_status status = ps_call_later(PS_STR("penstock.crypto_password"), written(&w), password_came, (ps_any_function *)answered, data, now, &got);
  *right = status == PS_OK && *now && got.len == 1 && is_yes(got);
  return status;
}
