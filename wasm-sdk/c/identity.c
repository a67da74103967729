// The Consumer objects of Penstock, and what they are on the wire.
#include "abi.h"

// Flags of consumer_find.
enum { USES = 1, QUIET = 2 }; // QUIET: nothing is returned

enum { MAX_NAMESPACE = 63 };

// Flags, the kind and the lookup with their lengths before them in 16 bits, a list of
// namespaces.
ps_status ps_find_encode(uint8_t flags, ps_str kind, ps_str lookup, ps_strs namespaces, ps_str *encoded) {
  *encoded = PS_EMPTY;
  if (!ps_fits(kind, PS_MAX_CREDENTIAL_TYPE) || !ps_fits(lookup, PS_MAX_CREDENTIAL_LOOKUP) || namespaces.len > PS_MAX_CONSUMER_NAMESPACES) return PS_ERR_BAD_ARGUMENT;
  size_t size = 6 + kind.len + lookup.len;
  for (size_t i = 0; i < namespaces.len; i++) {
    if (!ps_fits(namespaces.items[i], MAX_NAMESPACE)) return PS_ERR_BAD_ARGUMENT;
    size += 2 + namespaces.items[i].len;
  }
  struct ps_writer w = {(char *)ps_temp(size), 0, size};
  if (!w.data) return PS_ERR_MEMORY;
  ps_write_u8(&w, flags);
  ps_write_text(&w, kind);
  ps_write_text(&w, lookup);
  ps_write_u8(&w, (uint8_t)namespaces.len);
  for (size_t i = 0; i < namespaces.len; i++) ps_write_text(&w, namespaces.items[i]);
  *encoded = (ps_str){w.data, w.len};
  return PS_OK;
}

// read_text takes a text with its length before it; false: it is not there.
static bool read_text(ps_str *rest, ps_str *text) {
  if (rest->len < 2) return false;
  size_t n = (size_t)(unsigned char)rest->data[0] | (size_t)(unsigned char)rest->data[1] << 8;
  if (rest->len - 2 < n) return false;
  *text = (ps_str){rest->data + 2, n};
  *rest = (ps_str){rest->data + 2 + n, rest->len - 2 - n};
  return true;
}

// The username and a list of groups, then the data.
ps_status ps_identity_decode(ps_str answer, ps_identity *who) {
  ps_str rest = answer, username;
  *who = (ps_identity){PS_EMPTY, PS_NO_STRS, PS_EMPTY};
  if (!read_text(&rest, &username) || rest.len == 0) return PS_ERR_RESULT_MISMATCH;
  size_t n = (unsigned char)rest.data[0];
  rest = (ps_str){rest.data + 1, rest.len - 1};
  ps_str *groups = n > 0 ? (ps_str *)ps_temp(n * sizeof *groups) : NULL;
  if (n > 0 && !groups) return PS_ERR_MEMORY;
  for (size_t i = 0; i < n; i++)
    if (!read_text(&rest, &groups[i])) return PS_ERR_RESULT_MISMATCH;
  *who = (ps_identity){username, {groups, n}, rest};
  return PS_OK;
}

// ask calls a function that only Penstock has, and tells what was not found from a function
// that is not there: what a proxy that does not have it says too.
static ps_status ask(ps_str name, ps_str argument, ps_str *answer) {
  static bool here;
  ps_str none;
  ps_status status = ps_call_foreign(name, argument, answer);
  if (status != PS_ERR_NOT_FOUND || here) return status;
  ps_str wrong = PS_STR("?"); // no argument of it
  if (ps_call_foreign(PS_STR("penstock.consumer_get"), wrong, &none) != PS_ERR_BAD_ARGUMENT) return PS_ERR_UNIMPLEMENTED;
  here = true;
  return status;
}

ps_status ps_find_consumer(ps_str kind, ps_str lookup, ps_strs namespaces, ps_identity *who) {
  ps_str encoded, answer;
  *who = (ps_identity){PS_EMPTY, PS_NO_STRS, PS_EMPTY};
  ps_status status = ps_find_encode(0, kind, lookup, namespaces, &encoded);
  if (status == PS_OK) status = ask(PS_STR("penstock.consumer_find"), encoded, &answer);
  return status == PS_OK ? ps_identity_decode(answer, who) : status;
}

ps_status ps_use_consumer(void) {
  ps_str none;
  return ask(PS_STR("penstock.consumer_use"), PS_EMPTY, &none);
}

ps_status ps_set_claims(ps_str json) {
  ps_str none;
  return ask(PS_STR("penstock.set_claims"), json, &none);
}

ps_status ps_identify_consumer(ps_str kind, ps_str lookup, ps_strs namespaces) {
  ps_str encoded, none;
  ps_status status = ps_find_encode(USES | QUIET, kind, lookup, namespaces, &encoded);
  return status == PS_OK ? ask(PS_STR("penstock.consumer_find"), encoded, &none) : status;
}

ps_status ps_current_consumer(ps_identity *who) {
  ps_str answer;
  *who = (ps_identity){PS_EMPTY, PS_NO_STRS, PS_EMPTY};
  ps_status status = ask(PS_STR("penstock.consumer_get"), PS_EMPTY, &answer);
  return status == PS_OK ? ps_identity_decode(answer, who) : status;
}
