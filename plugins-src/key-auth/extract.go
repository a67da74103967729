package main

import (
	"net/url"
	"strings"
)

// fromQuery returns the decoded value of a query parameter in a path; ok is
// false if it is missing, there twice, or badly encoded.
func fromQuery(path, name string) (value string, ok bool) {
	_, query, _ := strings.Cut(path, "?")
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		k, v, _ := strings.Cut(pair, "=")
		if k, err := url.QueryUnescape(k); err != nil || k != name {
			continue
		}
		if ok {
			return "", false
		}
		decoded, err := url.QueryUnescape(v)
		if err != nil {
			return "", false
		}
		value, ok = decoded, true
	}
	return value, ok
}

// fromCookie returns the value of a cookie in a Cookie field (RFC 6265, 4.2.1).
func fromCookie(field, name string) (value string, ok bool) {
	for field != "" {
		var pair string
		pair, field, _ = strings.Cut(field, ";")
		k, v, found := strings.Cut(strings.TrimSpace(pair), "=")
		if !found || k != name {
			continue
		}
		if ok {
			return "", false
		}
		value, ok = strings.Trim(v, `"`), true
	}
	return value, ok
}
