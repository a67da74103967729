// The client's address, and addresses as proxies say them.
#include "abi.h"

enum { V4 = 4, V6 = 16 };

ps_status ps_address_read(ps_str bytes, ps_address *address) {
  static const char mapped[V6 - V4] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, '\xff', '\xff'};
  *address = (ps_address){{0}, 0};
  if (bytes.len == V6 && __builtin_memcmp(bytes.data, mapped, sizeof mapped) == 0) bytes = (ps_str){bytes.data + sizeof mapped, V4};
  if (bytes.len != V4 && bytes.len != V6) return PS_ERR_RESULT_MISMATCH;
  __builtin_memcpy(address->bytes, bytes.data, bytes.len);
  address->len = bytes.len;
  return PS_OK;
}

// read_decimal reads digits from a place on; false: there are none, or it is more than most.
static bool read_decimal(ps_str text, size_t *i, unsigned most, unsigned *n) {
  size_t begin = *i;
  for (*n = 0; *i < text.len; ++*i) {
    unsigned digit = (unsigned)(unsigned char)text.data[*i] - '0';
    if (digit > 9) break;
    *n = *n * 10 + digit;
    if (*n > most) return false;
  }
  return *i > begin;
}

static bool read_port(ps_str text) {
  size_t i = 0;
  unsigned port;
  return read_decimal(text, &i, 65535, &port) && i == text.len;
}

static bool read_v4(ps_str text, char *to) {
  size_t i = 0;
  for (size_t k = 0; k < V4; k++) {
    unsigned n;
    if (k > 0 && (i == text.len || text.data[i++] != '.')) return false;
    size_t begin = i;
    if (!read_decimal(text, &i, 255, &n) || (text.data[begin] == '0' && i > begin + 1)) return false;
    to[k] = (char)n;
  }
  return i == text.len;
}

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c |= 'a' ^ 'A';
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// read_v6 reads what RFC 4291, section 2.2, has: groups, one "::" for some of zeros, and an
// address of IPv4 for the last two.
static bool read_v6(ps_str text, char *to) {
  size_t at = 0, i = 0, gap = V6 + 1;
  if (ps_starts_with(text, PS_STR("::"))) {
    gap = 0;
    i = 2;
  }
  while (i < text.len) {
    size_t begin = i;
    int n = 0, digit;
    for (; i < text.len && i < begin + 4 && (digit = hex_digit(text.data[i])) >= 0; i++) n = n << 4 | digit;
    if (i < text.len && text.data[i] == '.') {
      if (at + V4 > V6 || !read_v4((ps_str){text.data + begin, text.len - begin}, to + at)) return false;
      at += V4;
      break;
    }
    if (i == begin || at == V6) return false;
    to[at++] = (char)(n >> 8);
    to[at++] = (char)n;
    if (i == text.len) break;
    if (text.data[i++] != ':' || i == text.len) return false;
    if (text.data[i] != ':') continue;
    if (gap <= V6) return false; // it is there twice
    gap = at;
    i++;
  }
  if (gap > V6) return at == V6;
  if (at == V6) return false; // the gap stands for nothing
  size_t behind = at - gap;
  for (size_t k = 1; k <= V6 - gap; k++) to[V6 - k] = k <= behind ? to[at - k] : 0;
  return true;
}

// find returns where a character is first; a text's length: nowhere.
static size_t find(ps_str text, char c) {
  size_t i = 0;
  while (i < text.len && text.data[i] != c) i++;
  return i;
}

static ps_str from(ps_str text, size_t begin) { return (ps_str){text.data + begin, text.len - begin}; }

ps_status ps_address_parse(ps_str text, ps_address *address) {
  char bytes[V6];
  size_t len = V4, end = find(text, ':');
  ps_str ip = {text.data, end}, port = from(text, end);
  *address = (ps_address){{0}, 0};
  if (ps_starts_with(text, PS_STR("["))) {
    len = V6;
    end = find(text, ']');
    if (end == text.len) return PS_ERR_RESULT_MISMATCH;
    ip = (ps_str){text.data + 1, end - 1};
    port = from(text, end + 1);
  } else if (port.len > 0 && find(from(port, 1), ':') < port.len - 1) { // there is another one
    len = V6;
    ip = text;
    port = PS_EMPTY;
  }
  if (port.len > 0 && (port.data[0] != ':' || !read_port(from(port, 1)))) return PS_ERR_RESULT_MISMATCH;
  if (!(len == V4 ? read_v4 : read_v6)(ip, bytes)) return PS_ERR_RESULT_MISMATCH;
  return ps_address_read((ps_str){bytes, len}, address);
}

// Only a proxy that has no such property leaves it to source.address: one that has it, and
// nothing in it, does not know the client, and source is a proxy before it.
ps_status ps_client_address(ps_address *address) {
  ps_str value;
  ps_status status = ps_property(PS_PATH("penstock", "client_address"), &value);
  if (status == PS_OK) return ps_address_read(value, address);
  *address = (ps_address){{0}, 0};
  if (status != PS_ERR_NOT_FOUND) return status;
  status = ps_property(PS_PATH("source", "address"), &value);
  return status == PS_OK ? ps_address_parse(value, address) : status;
}
