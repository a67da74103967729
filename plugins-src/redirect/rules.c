#include "rules.h"

// ---- Configuration ----

static const ps_field from_fields[] = {PS_FIELD(from, hostname), PS_FIELD(from, exact), PS_FIELD(from, prefix)};
static const ps_type from_type = PS_OBJECT(from, from_fields);
static const ps_field rule_fields[] = {PS_FIELD_OF(rule, from, from_type), PS_FIELD(rule, to), PS_FIELD(rule, status), PS_FIELD(rule, query)};
static const ps_type rule_type = PS_OBJECT(rule, rule_fields);
static const ps_type rules_type = PS_LIST(rule_type);
static const ps_field config_fields[] = {
  PS_FIELD(rules, https),
  {"httpsPort", offsetof(rules, https_port), &ps_type_i64},
  {"httpsStatus", offsetof(rules, https_status), &ps_type_i64},
  PS_FIELD_OF(rules, rules, rules_type),
};
static const ps_type config_type = PS_OBJECT(rules, config_fields);

enum { MAX_RULES = 256, MAX_TO = 2048 };

static bool is_status(int64_t n) { return n == 301 || n == 302 || n == 303 || n == 307 || n == 308; }

static ps_str rest_of(ps_str s, size_t n) { return (ps_str){s.data + n, s.len - n}; }

// visible says whether a text has only characters that a URL may have as they are.
static bool visible(ps_str s) {
  for (size_t i = 0; i < s.len; i++) {
    char c = s.data[i];
    if (c <= ' ' || c >= 0x7f || c == '\\' || c == '"' || c == '<' || c == '>') return false;
  }
  return true;
}

static bool has(ps_str s, char wanted) {
  for (size_t i = 0; i < s.len; i++) {
    if (s.data[i] == wanted) return true;
  }
  return false;
}

// is_hostname says whether a text is names with dots between them, in lower case.
static bool is_hostname(ps_str s) {
  if (s.len == 0 || s.len > 253 || s.data[0] == '.' || s.data[s.len - 1] == '.') return false;
  for (size_t i = 0; i < s.len; i++) {
    char c = s.data[i];
    bool name = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
    if (!name && (c != '.' || s.data[i - 1] == '.')) return false;
  }
  return true;
}

static bool is_path(ps_str s) { return s.len > 0 && s.data[0] == '/' && visible(s) && !has(s, '?') && !has(s, '#'); }

// is_port says whether a text is empty, or a colon and a port.
static bool is_port(ps_str s) {
  int64_t port;
  if (s.len == 0) return true;
  return s.data[0] == ':' && s.len > 1 && s.len < 7 && s.data[1] >= '1' && s.data[1] <= '9' && ps_parse_int(rest_of(s, 1), &port) && port <= 65535;
}

// is_target says whether a text is a path on the same hostname, with a query or without, or
// a URL of http or https.
static bool is_target(ps_str s) {
  if (s.len > MAX_TO || !visible(s) || has(s, '#')) return false;
  if (s.len > 0 && s.data[0] == '/') return s.len == 1 || s.data[1] != '/'; // "//host" is another host
  size_t scheme = ps_starts_with(s, PS_STR("https://")) ? 8 : ps_starts_with(s, PS_STR("http://")) ? 7 : 0;
  if (scheme == 0) return false;
  ps_str host = rest_of(s, scheme);
  size_t end = 0, colon;
  while (end < host.len && host.data[end] != '/' && host.data[end] != '?') end++;
  for (colon = 0; colon < end && host.data[colon] != ':'; colon++) {}
  return is_hostname((ps_str){host.data, colon}) && is_port((ps_str){host.data + colon, end - colon});
}

static ps_str at(size_t i, const char *field) {
  size_t n = 0;
  while (field[n] != 0) n++;
  return PS_CAT(PS_STR("config.rules["), ps_int((int64_t)i), PS_STR("]"), (ps_str){field, n}, PS_STR(": "));
}

static bool matches(const rule *r, ps_str hostname, ps_str path, ps_str *rest);

// check returns why a rule is wrong, an empty text if it is not.
static ps_str check(size_t i, const rule *r) {
  const from *f = &r->from;
  if (!f->hostname.data && !f->exact.data && !f->prefix.data) return PS_CAT(at(i, ".from"), PS_STR("want exact, prefix or hostname"));
  if (f->exact.data && f->prefix.data) return PS_CAT(at(i, ".from"), PS_STR("exact and prefix exclude each other"));
  if (f->hostname.data && !is_hostname(f->hostname)) return PS_CAT(at(i, ".from.hostname"), PS_STR("want a hostname in lower case, without a port"));
  if (f->exact.data && !is_path(f->exact)) return PS_CAT(at(i, ".from.exact"), PS_STR("want a path that starts with /, without a query"));
  if (f->prefix.data && !is_path(f->prefix)) return PS_CAT(at(i, ".from.prefix"), PS_STR("want a path that starts with /, without a query"));
  if (!is_target(r->to)) return PS_CAT(at(i, ".to"), PS_STR("want a path as /new, or a URL as https://www.example.com/new, without a fragment"));
  if (!f->exact.data && has(r->to, '?')) return PS_CAT(at(i, ".to"), PS_STR("what follows a prefix cannot stand behind a query: leave the query out"));
  if (!is_status(r->status)) return PS_CAT(at(i, ".status"), PS_STR("want 301, 302, 303, 307 or 308"));
  if (!ps_equal(r->query, PS_STR("keep")) && !ps_equal(r->query, PS_STR("drop"))) return PS_CAT(at(i, ".query"), PS_STR("want keep or drop"));
  ps_str path = r->to, rest;
  for (path.len = 0; path.len < r->to.len && r->to.data[path.len] != '?'; path.len++) {}
  if (r->to.data[0] == '/' && matches(r, f->hostname, path, &rest)) return PS_CAT(at(i, ".to"), PS_STR("it leads back to this rule, without an end"));
  return PS_STR("");
}

ps_status rules_parse(ps_str text, rules *r) {
  *r = (rules){.https_port = 443, .https_status = 308};
  ps_status status = ps_parse_config(text, &config_type, r);
  if (status != PS_OK) return status;
  if (r->rules.len > MAX_RULES) return ps_refuse(PS_STR("config.rules: more than 256 of them"));
  if (r->rules.len == 0 && !r->https) return ps_refuse(PS_STR("config.rules: none, and https is not true: want one of both"));
  if (r->https_port < 1 || r->https_port > 65535) return ps_refuse(PS_STR("config.httpsPort: want 1 to 65535"));
  if (!is_status(r->https_status)) return ps_refuse(PS_STR("config.httpsStatus: want 301, 302, 303, 307 or 308"));
  for (size_t i = 0; i < r->rules.len; i++) {
    rule *one = &r->rules.items[i];
    if (one->status == 0) one->status = 308; // not said
    if (!one->query.data) one->query = PS_STR("keep");
    ps_str why = check(i, one);
    if (why.len > 0) return ps_refuse(why);
  }
  return PS_OK;
}

// ---- Requests ----

// hostname_of is an authority without its port.
static ps_str hostname_of(ps_str authority) {
  for (size_t i = authority.len; i > 0; i--) {
    char c = authority.data[i - 1];
    if (c == ':') return (ps_str){authority.data, i - 1};
    if (c < '0' || c > '9') break;
  }
  return authority;
}

// same compares hostnames: that of a request may have capitals.
static bool same(ps_str configured, ps_str hostname) {
  if (configured.len != hostname.len) return false;
  for (size_t i = 0; i < hostname.len; i++) {
    char c = hostname.data[i];
    if (configured.data[i] != (c >= 'A' && c <= 'Z' ? c + 32 : c)) return false;
  }
  return true;
}

// matches says whether a rule is for a path, without its query; rest is what follows a
// prefix, which is whole segments: empty, or beginning with a slash.
static bool matches(const rule *r, ps_str hostname, ps_str path, ps_str *rest) {
  *rest = PS_STR("");
  if (r->from.hostname.data && !same(r->from.hostname, hostname)) return false;
  if (r->from.exact.data) return ps_equal(path, r->from.exact);
  ps_str prefix = r->from.prefix;
  if (prefix.len > 0 && prefix.data[prefix.len - 1] == '/') prefix.len--;
  if (!ps_starts_with(path, prefix) || (path.len > prefix.len && path.data[prefix.len] != '/')) return false;
  *rest = rest_of(path, prefix.len);
  return true;
}

// append adds a text of a request, in which it encodes what may not stand in a field, or what
// browsers read otherwise, such as \ for /.
static char *append(char *out, ps_str s) {
  static const char digits[] = "0123456789ABCDEF";
  for (size_t i = 0; i < s.len; i++) {
    unsigned char c = (unsigned char)s.data[i];
    if (c > ' ' && c < 0x7f && c != '\\' && c != '"' && c != '<' && c != '>' && c != '#') {
      *out++ = (char)c;
      continue;
    }
    *out++ = '%';
    *out++ = digits[c >> 4];
    *out++ = digits[c & 15];
  }
  return out;
}

// join makes a Location of a target, what follows a prefix, and a query with or without its
// question mark.
static ps_str join(ps_str to, ps_str rest, ps_str query) {
  char *text = ps_alloc(PS_FOR_CALLBACK, to.len + 3 * rest.len + 3 * query.len + 2);
  if (!text) ps_panic(PS_STR("no memory"));
  if (rest.len > 0 && to.data[to.len - 1] == '/') to.len--;
  char *out = append(append(text, to), rest);
  if (query.len > 0) {
    *out++ = has(to, '?') ? '&' : '?';
    out = append(out, query);
  }
  ps_str made = {text, (size_t)(out - text)};
  // A path that begins with two slashes would be a hostname (RFC 3986, 4.2).
  while (made.len > 1 && made.data[0] == '/' && made.data[1] == '/') made = rest_of(made, 1);
  return made;
}

// is_authority says whether the hostname of a request can stand in a URL.
static bool is_authority(ps_str hostname) {
  for (size_t i = 0; i < hostname.len; i++) {
    char c = hostname.data[i];
    bool fits = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.' || c == '[' || c == ']' || c == ':';
    if (!fits) return false;
  }
  return hostname.len > 0;
}

int rules_find(const rules *r, const request *q, ps_str *location) {
  *location = PS_STR("");
  if (q->path.len == 0 || q->path.data[0] != '/') return 0; // OPTIONS *, or a tunnel
  ps_str hostname = hostname_of(q->authority), path = q->path, query = PS_STR(""), rest;
  for (path.len = 0; path.len < q->path.len && q->path.data[path.len] != '?'; path.len++) {}
  if (path.len < q->path.len) query = rest_of(q->path, path.len + 1);
  if (r->https && !q->tls && is_authority(hostname)) {
    ps_str port = r->https_port == 443 ? PS_STR("") : PS_CAT(PS_STR(":"), ps_int(r->https_port));
    *location = join(PS_CAT(PS_STR("https://"), hostname, port, PS_STR("/")), path, query);
    return (int)r->https_status;
  }
  for (size_t i = 0; i < r->rules.len; i++) {
    const rule *one = &r->rules.items[i];
    if (!matches(one, hostname, path, &rest)) continue;
    *location = join(one->to, rest, ps_equal(one->query, PS_STR("keep")) ? query : PS_STR(""));
    return (int)one->status;
  }
  return 0;
}
