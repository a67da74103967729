// The rules of redirect: what they are, and where they lead.
#ifndef REDIRECT_RULES_H
#define REDIRECT_RULES_H

#include "penstock.h"

// from says which requests a rule is for: an empty text is not there.
typedef struct {
  ps_str hostname, exact, prefix;
} from;

typedef struct {
  from from;
  ps_str to;
  int64_t status;
  ps_str query; // "keep" or "drop"
} rule;

// rules are a configuration.
typedef struct {
  bool https;
  int64_t https_port;
  int64_t https_status;
  PS_LIST_OF(rule) rules;
} rules;

// request is what decides.
typedef struct {
  ps_str authority, path; // with the query
  bool tls;
} request;

// rules_parse reads a configuration. What is wrong is PS_ERR_CONFIG, with its path.
ps_status rules_parse(ps_str text, rules *r) PS_MUST_CHECK;

// rules_find says where a request is to go, and with which status; 0: it goes on. The text
// is that of a Location field: it has no characters that could end the field, and no
// hostname but one of the configuration or the request's own.
int rules_find(const rules *r, const request *q, ps_str *location);

#endif
