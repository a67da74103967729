package oidc

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"text/template"
)

var update = flag.Bool("update", false, "write plugins-src/oidc/cases.yaml")

const (
	casesIssuer = "https://id.example.com"
	casesClient = "shop"
	casesSecret = "0123456789abcdef0123456789abcdef"
	casesBegin  = 1767225600 // when each case begins
)

// seed is the private half of the key of RFC 8037 (A.1), which all have.
const seed = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"

var b64 = base64.RawURLEncoding

// sealed seals as the plugin does, with a nonce that is made of the text: only so that the
// same cases come out each time.
func sealed(purpose, secret, issuer, client string, text []byte) string {
	key := sha256.Sum256([]byte("penstock oidc\x00" + secret))
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	nonce := sha256.Sum256(append([]byte(purpose), text...))
	with := purpose + "\x00" + issuer + "\x00" + client
	return b64.EncodeToString(gcm.Seal(nonce[:12], nonce[:12], text, []byte(with)))
}

// packed is times and texts as the plugin writes them, after a version.
func packed(times []uint64, texts ...string) []byte {
	b := []byte{1}
	for _, t := range times {
		b = binary.LittleEndian.AppendUint64(b, t)
	}
	for _, t := range texts {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(t)))
		b = append(b, t...)
	}
	return b
}

// idToken signs a token with the key of RFC 8037, or as the header says otherwise.
func idToken(header, claims string) string {
	text := b64.EncodeToString([]byte(header)) + "." + b64.EncodeToString([]byte(claims))
	private, err := b64.DecodeString(seed)
	if err != nil {
		panic(err)
	}
	key := ed25519.NewKeyFromSeed(private)
	var signature []byte
	switch {
	case strings.Contains(header, "HS256"): // with the public key as a secret
		mac := hmac.New(sha256.New, key.Public().(ed25519.PublicKey))
		mac.Write([]byte(text))
		signature = mac.Sum(nil)
	case strings.Contains(header, "none"):
	default:
		signature = ed25519.Sign(key, []byte(text))
	}
	return text + "." + b64.EncodeToString(signature)
}

// claims are those of a token for the client, with more or others.
func claims(more string) string {
	text := `{"iss":"https://id.example.com","aud":"shop","sub":"reader","iat":1767225600,"exp":1767229200,"nonce":"nonce"`
	for _, one := range strings.Split(more, ";") {
		name, value, ok := strings.Cut(one, "=")
		if !ok {
			continue
		}
		start := strings.Index(text, `"`+name+`":`)
		if start >= 0 {
			end := strings.IndexByte(text[start:], ',')
			if end < 0 {
				end = len(text) - start
			}
			text = strings.TrimSuffix(text[:start], ",") + text[start+end:]
			text = strings.Replace(text, "{,", "{", 1)
		}
		if value != "" {
			text += `,"` + name + `":` + value
		}
	}
	return text + "}"
}

// functions are those of the template.
func functions() template.FuncMap {
	const header = `{"alg":"EdDSA","kid":"b"}`
	token := func(more string) string { return idToken(header, claims(more)) }
	session := func(staleIn int, refresh, more string) string {
		text := packed([]uint64{casesBegin, casesBegin, uint64(casesBegin + staleIn)}, "nonce", token(more), "access", refresh)
		return "1." + sealed("session", casesSecret, casesIssuer, casesClient, text)
	}
	login := func(state string, begunAgo int, back string) string {
		text := packed([]uint64{uint64(casesBegin - begunAgo)}, state, "nonce", "verifier", back, "http://www.example/oauth2/callback")
		return "oidc.login." + state[:10] + "=" + sealed("login", casesSecret, casesIssuer, casesClient, text)
	}
	return template.FuncMap{
		"token": token, "session": session, "login": login,
		"signed": func(header, more string) string { return idToken(header, claims(more)) },
		"foreign": func() string { // of another client, with the same secret
			text := packed([]uint64{casesBegin, casesBegin, casesBegin + 600}, "nonce", token(""), "", "")
			return "1." + sealed("session", casesSecret, casesIssuer, "other", text)
		},
		"older": func() string { // with a secret that only opens
			text := packed([]uint64{casesBegin, casesBegin, casesBegin + 600}, "nonce", token(""), "", "")
			return "1." + sealed("session", "fedcba9876543210fedcba9876543210", casesIssuer, casesClient, text)
		},
		"swapped": func() string { // a login's text where a session's is to be
			return "1." + strings.SplitN(login("0123456789abcdef", 0, "/"), "=", 2)[1]
		},
		"broken": func(s string) string { // one character is another
			at := len(s) / 2
			c := byte('A')
			if s[at] == c {
				c = 'B'
			}
			return s[:at] + string(c) + s[at+1:]
		},
		"provider": discovery,
		"steps": func(indent string, more ...string) string { // the same as items of a list
			return strings.ReplaceAll(discovery(more...), "}, {to", "}\n"+indent+"- {to")
		},
		"gives": func(idToken, more string) string {
			return fmt.Sprintf(`{to: "id.example.com:443", request: {method: POST, path: /token}, response: {body: '{"access_token":"access","token_type":"Bearer"%s,"id_token":"%s"}'}}`, more, idToken)
		},
		"list": func(all ...string) []string { return all },
	}
}

// discovery is the calls by which the plugin gets to know the provider; more is for its metadata.
func discovery(more ...string) string {
	return fmt.Sprintf(`{to: "id.example.com:443", request: {method: GET, scheme: https, path: /.well-known/openid-configuration}, response: {body: '{"issuer":"https://id.example.com","authorization_endpoint":"https://id.example.com/auth","token_endpoint":"https://id.example.com/token","jwks_uri":"https://id.example.com/keys"%s}'}}, `, strings.Join(more, "")) +
		`{to: "id.example.com:443", request: {path: /keys}, response: {body: '{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"b","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}'}}`
}

// TestCasesAreMade: plugins-src/oidc/cases.yaml holds sealed cookies and signed tokens, which
// nobody can write by hand. The template beside this file can be read.
func TestCasesAreMade(t *testing.T) {
	text, err := os.ReadFile("testdata/cases.yaml.tmpl")
	if err != nil {
		t.Fatal(err)
	}
	made, err := template.New("cases").Funcs(functions()).Parse(string(text))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := made.Execute(&out, nil); err != nil {
		t.Fatal(err)
	}
	const file = "../../plugins-src/oidc/cases.yaml"
	if *update {
		if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, out.Bytes()) {
		t.Error("cases.yaml is not what its template makes: go test ./oidc -run TestCasesAreMade -update")
	}
}
