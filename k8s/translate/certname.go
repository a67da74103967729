package translate

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

var (
	certDigestForm = regexp.MustCompile(`^([0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}$`)
	certNameForm   = regexp.MustCompile(`^[A-Za-z0-9._-]{1,253}$`)
	certEmailForm  = regexp.MustCompile(`^[!-?A-~]+@[!-?A-~]+$`)
)

// certificateName reads what a client's certificate is known by: one of its names, or its
// digest. The lookup is as the plugin mtls-auth writes it.
func certificateName(f fields) (lookup, how string, data []byte, err error) {
	const kinds = "sha256, uri, dns, email and commonName"
	var kind, value string
	for _, k := range []string{"sha256", "uri", "dns", "email", "commonName"} {
		v, there := f[k]
		if !there {
			continue
		}
		if kind != "" {
			return "", "", nil, fmt.Errorf("it has %s and %s: want one of %s", kind, k, kinds)
		}
		kind, value = k, string(v)
	}
	if kind == "" {
		return "", "", nil, fmt.Errorf("it has none of %s: want one of them", kinds)
	}
	delete(f, kind)
	if value, err = certificateText(kind, value); err != nil {
		return "", "", nil, fmt.Errorf("%s: %w", kind, err)
	}
	return kind + ":" + value, "", nil, nil
}

// certificateText checks what a certificate is known by, and writes it in the one way that
// it is looked up in.
func certificateText(kind, value string) (string, error) {
	switch kind {
	case "sha256":
		if !certDigestForm.MatchString(value) {
			return "", errors.New("want 32 bytes in hexadecimal, as openssl x509 -noout -fingerprint -sha256 writes them after the =")
		}
		return strings.ToLower(strings.ReplaceAll(value, ":", "")), nil
	case "uri":
		if u, err := url.Parse(value); err != nil || u.Scheme == "" || len(value) > 2048 || !printable(value, "") {
			return "", errors.New("want an absolute URI, as spiffe://domain/path, without a line break at its end")
		}
		return value, nil
	case "dns":
		if !certNameForm.MatchString(value) {
			return "", errors.New("want a DNS name, without a wildcard and without a line break at its end")
		}
		return strings.ToLower(value), nil
	case "email":
		if len(value) > 254 || !certEmailForm.MatchString(value) {
			return "", errors.New("want an email address, as ann@shop.example, without a line break at its end")
		}
		return value, nil
	}
	if n := utf8.RuneCountInString(value); n < 1 || n > 253 || !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl) {
		return "", errors.New("want 1 to 253 characters, none of them a control character, as a line break at its end")
	}
	return value, nil
}
