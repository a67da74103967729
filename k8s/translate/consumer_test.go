package translate_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/api"
	"penstock.dev/penstock/k8s/translate"
)

// consumerOf is a Consumer with these credentials, made at that time.
func consumerOf(name string, created int64, secrets ...string) *api.Consumer {
	c := &api.Consumer{ObjectMeta: metav1.ObjectMeta{Namespace: "store", Name: name, UID: "u", Generation: 1, ResourceVersion: "1", CreationTimestamp: metav1.Unix(created, 0)}}
	for _, s := range secrets {
		c.Spec.Credentials = append(c.Spec.Credentials, api.CredentialRef{Name: s})
	}
	return c
}

// credentialOf is a Secret with the label.
func credentialOf(name, kind string, data map[string]string) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "store", Name: name, UID: "u", ResourceVersion: "1", Labels: map[string]string{api.LabelCredential: kind}}, Data: map[string][]byte{}}
	for key, value := range data {
		s.Data[key] = []byte(value)
	}
	return s
}

func publicPEM(t *testing.T, key any) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// TestCredentials: what a Secret has to hold, and that nothing of it is told if it does not.
func TestCredentials(t *testing.T) {
	type data = map[string]string
	ec, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ed, _, _ := ed25519.GenerateKey(rand.Reader)
	small, _ := rsa.GenerateKey(rand.Reader, 1024) //nolint:gosec // to be refused
	ecPEM, edPEM, smallPEM := publicPEM(t, &ec.PublicKey), publicPEM(t, ed), publicPEM(t, &small.PublicKey)
	const bcrypt = "$2b$12$eImiTXuWVxfM37uY4JANjQeImiTXuWVxfM37uY4JANjQeImiTXuWV"
	const argon = "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHRzb21lc2FsdA$RdescudvJCsgt3ub+b4dWRWJTmaaJObGJTmaaJObGRA"
	long := strings.Repeat("s3", 700)
	tests := map[string]struct {
		kind string
		data data
		want string // the data's kind and size, or what is wrong
	}{
		"a key":                     {"key-auth", data{"key": "hush-hush"}, " 0"},
		"no key":                    {"key-auth", data{}, "it has no key"},
		"a short key":               {"key-auth", data{"key": "hush-hu"}, "key has 7 bytes"},
		"a long key":                {"key-auth", data{"key": long}, "key has 1400 bytes"},
		"a key with its line break": {"key-auth", data{"key": "hush-hush\n"}, "a line break at its end"},
		"a key in other letters":    {"key-auth", data{"key": "hüsh-hush"}, "visible ASCII"},
		"an unknown key":            {"key-auth", data{"key": "hush-hush", "id": "hush"}, `key "id" is unknown for key-auth`},
		"a type that is none":       {"keys", data{"key": "hush-hush"}, `"keys": want key-auth, basic-auth, jwt or mtls-auth`},

		"a password":                     {"basic-auth", data{"username": "shop", "password": "hush"}, "password 4"},
		"a hash by bcrypt":               {"basic-auth", data{"username": "shop", "passwordHash": bcrypt}, "hash 60"},
		"a hash by Argon2id":             {"basic-auth", data{"username": "shop", "passwordHash": argon}, fmt.Sprint("hash ", len(argon))},
		"a password that looks like one": {"basic-auth", data{"username": "shop", "password": bcrypt}, "password 60"},
		"both":                           {"basic-auth", data{"username": "shop", "password": "hush", "passwordHash": bcrypt}, "want one of password and passwordHash"},
		"neither":                        {"basic-auth", data{"username": "shop"}, "want one of password and passwordHash"},
		"no username":                    {"basic-auth", data{"password": "hush"}, "username: want"},
		"a colon":                        {"basic-auth", data{"username": "a:b", "password": "hush"}, "username: want"},
		"a line break":                   {"basic-auth", data{"username": "shop", "password": "hush\n"}, "password: want"},
		"a dear bcrypt":                  {"basic-auth", data{"username": "shop", "passwordHash": strings.Replace(bcrypt, "$12$", "$17$", 1)}, "bcrypt's cost is 17"},
		"a dear Argon2id":                {"basic-auth", data{"username": "shop", "passwordHash": strings.Replace(argon, "m=65536", "m=999999", 1)}, "Argon2id: want m"},
		"lanes without memory":           {"basic-auth", data{"username": "shop", "passwordHash": strings.Replace(argon, "m=65536", "m=31", 1)}, "Argon2id: want m"},
		"a hash that is none":            {"basic-auth", data{"username": "shop", "passwordHash": "hush"}, "passwordHash: want bcrypt"},
		"MD5":                            {"basic-auth", data{"username": "shop", "passwordHash": "$1$hush$hush"}, "passwordHash: want bcrypt"},

		"a secret":                      {"jwt", data{"key": "https://id.example", "algorithm": "HS256", "secret": strings.Repeat("h", 32)}, "HS256 32"},
		"a public key":                  {"jwt", data{"key": "k1", "algorithm": "ES256", "publicKey": ecPEM}, "ES256 91"},
		"EdDSA":                         {"jwt", data{"key": "k1", "algorithm": "EdDSA", "publicKey": edPEM}, "EdDSA 44"},
		"no algorithm":                  {"jwt", data{"key": "k1", "publicKey": ecPEM}, "algorithm: want one of"},
		"none":                          {"jwt", data{"key": "k1", "algorithm": "none"}, "algorithm: want one of"},
		"no issuer":                     {"jwt", data{"algorithm": "ES256", "publicKey": ecPEM}, "key: want the issuer"},
		"a short secret":                {"jwt", data{"key": "k1", "algorithm": "HS512", "secret": strings.Repeat("h", 63)}, "secret has 63 bytes: HS512 wants 64"},
		"HS with a public key":          {"jwt", data{"key": "k1", "algorithm": "HS256", "publicKey": ecPEM}, "publicKey: HS256 is checked by secret alone"},
		"ES with a secret":              {"jwt", data{"key": "k1", "algorithm": "ES256", "secret": strings.Repeat("h", 64)}, "secret: ES256 is checked by publicKey alone"},
		"another curve":                 {"jwt", data{"key": "k1", "algorithm": "ES384", "publicKey": ecPEM}, "publicKey: it is of another kind than ES384 has"},
		"RS with a curve":               {"jwt", data{"key": "k1", "algorithm": "RS256", "publicKey": ecPEM}, "another kind than RS256"},
		"EdDSA with a curve of another": {"jwt", data{"key": "k1", "algorithm": "EdDSA", "publicKey": ecPEM}, "another kind than EdDSA"},
		"a small key":                   {"jwt", data{"key": "k1", "algorithm": "PS256", "publicKey": smallPEM}, "RSA of 1024 bits"},
		"two keys":                      {"jwt", data{"key": "k1", "algorithm": "ES256", "publicKey": ecPEM + ecPEM}, "want one PEM block"},
		"no PEM":                        {"jwt", data{"key": "k1", "algorithm": "ES256", "publicKey": "hush"}, "want one PEM block"},
		"an empty block":                {"jwt", data{"key": "k1", "algorithm": "ES256", "publicKey": "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"}, "holds no public key"},

		"a URI":                  {"mtls-auth", data{"uri": "spiffe://hush/hush"}, " 0"},
		"a URI without a scheme": {"mtls-auth", data{"uri": "/hush"}, "uri: want an absolute URI"},
		"a URI with a break":     {"mtls-auth", data{"uri": "spiffe://hush\n"}, "uri: want an absolute URI"},
		"a digest with colons":   {"mtls-auth", data{"sha256": strings.TrimSuffix(strings.Repeat("aB:", 32), ":")}, " 0"},
		"a short digest":         {"mtls-auth", data{"sha256": strings.Repeat("aB", 31)}, "sha256: want 32 bytes"},
		"a DNS name":             {"mtls-auth", data{"dns": "Hush.Example"}, " 0"},
		"a wildcard":             {"mtls-auth", data{"dns": "*.hush"}, "dns: want a DNS name, without a wildcard"},
		"an address":             {"mtls-auth", data{"email": "hush@hush"}, " 0"},
		"an address of two":      {"mtls-auth", data{"email": "hush@a@b"}, "email: want an email address"},
		"a common name":          {"mtls-auth", data{"commonName": "Hu Sh"}, " 0"},
		"a common name's break":  {"mtls-auth", data{"commonName": "hush\n"}, "commonName: want 1 to 253"},
		"two names":              {"mtls-auth", data{"uri": "spiffe://hush", "dns": "hu-sh"}, "it has uri and dns: want one of"},
		"no name":                {"mtls-auth", data{}, "it has none of sha256, uri"},
		"a name and more":        {"mtls-auth", data{"dns": "hush", "user": "hush"}, `key "user" is unknown for mtls-auth`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			made := translate.New(options()).Translate(&translate.Objects{
				Consumers: []*api.Consumer{consumerOf("shop", 1, "s")}, Credentials: []*corev1.Secret{credentialOf("s", tt.kind, tt.data)},
			})
			one := made.Config.Consumers.Of("store/shop")
			got := ""
			for _, c := range one.Credentials {
				how, rest, _ := strings.Cut(string(c.Data), "\x00")
				got = fmt.Sprint(how, " ", len(rest))
			}
			for _, p := range made.Problems {
				got += p.Field + ": " + p.Reason + ": " + p.Message
				for key, value := range tt.data {
					if key != "key" && key != "username" && key != "algorithm" && strings.Contains(p.Message, value) || strings.Contains(p.Message, "hush") {
						t.Errorf("%s is told: %s", key, p.Message)
					}
				}
			}
			if got != tt.want && (len(made.Problems) != 1 || !strings.Contains(got, "spec.credentials[0].name: InvalidCredential: Secret s: ") || !strings.Contains(got, tt.want)) {
				t.Errorf("got %q; want %q", got, tt.want)
			}
			if err := made.Config.Validate(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestTheOlderConsumerHasIt: a credential and a username belong to one, and to the next one
// once that is gone; and the next one is told so alone.
func TestTheOlderConsumerHasIt(t *testing.T) {
	key := map[string]string{"key": "the-same-key"}
	o := &translate.Objects{
		Consumers:   []*api.Consumer{consumerOf("c", 1, "k1"), consumerOf("b", 2, "k2", "own"), consumerOf("a", 3, "k3")},
		Credentials: []*corev1.Secret{credentialOf("k1", "key-auth", key), credentialOf("k2", "key-auth", key), credentialOf("k3", "key-auth", key), credentialOf("own", "key-auth", map[string]string{"key": "another-key"})},
	}
	tr := translate.New(options())
	made := tr.Translate(o)
	check := func(made *translate.Result, want string) {
		t.Helper()
		var got []string
		for key, c := range made.Config.Consumers.All() {
			got = append(got, fmt.Sprint(key, " ", len(c.Credentials)))
		}
		slices.Sort(got)
		for _, p := range made.Problems {
			got = append(got, p.Object.Name+" "+p.Reason+" "+p.Message)
		}
		if text := strings.Join(got, "; "); text != want {
			t.Errorf("got  %s\nwant %s", text, want)
		}
	}
	taken := func(name, secret, owner string) string {
		return fmt.Sprintf("%s CredentialTaken Secret %s: Consumer %s is older and has the same credential: each belongs to one", name, secret, owner)
	}
	check(made, "store/a 0; store/b 1; store/c 1; "+taken("a", "k3", "c")+"; "+taken("b", "k2", "c"))
	next := tr.Change(made, &translate.Changes{Consumers: map[string]*api.Consumer{"store/c": nil}})
	if next == nil {
		t.Fatal("it does not go alone")
	}
	check(next, "store/a 0; store/b 2; "+taken("a", "k3", "b"))
	// The label goes: the Secret is no longer there for us.
	more := tr.Change(next, &translate.Changes{Credentials: map[string]*corev1.Secret{"store/k2": nil}})
	if more == nil {
		t.Fatal("the Secret does not go alone")
	}
	check(more, "store/a 1; store/b 1; b SecretMissing there is no Secret k2 with the label penstock.dev/credential in namespace store: want one with key-auth, basic-auth, jwt or mtls-auth")
	if status := more.Status.Of(config.Object{Kind: "Consumer", Namespace: "store", Name: "b"}).(*api.ObjectStatus); status.Conditions[0].Status != metav1.ConditionTrue || status.Conditions[1].Status != metav1.ConditionFalse || !slices.Contains(more.Changed, config.Object{Kind: "Consumer", Namespace: "store", Name: "a"}) {
		t.Errorf("b has %+v, and changed are %v", status.Conditions, more.Changed)
	}
	if first := tr.Change(more, &translate.Changes{Consumers: map[string]*api.Consumer{"elsewhere/x": {ObjectMeta: metav1.ObjectMeta{Namespace: "elsewhere", Name: "x"}, Spec: api.ConsumerSpec{Credentials: []api.CredentialRef{{Name: "k"}}}}}}); first != nil {
		t.Error("the first Consumer of a namespace goes alone, and nobody reads its Secrets")
	}
}

// TestOneWayToWriteAName: what a certificate is known by has one lookup, as the plugin
// mtls-auth writes it.
func TestOneWayToWriteAName(t *testing.T) {
	digest := strings.Repeat("ab", 32)
	for want, d := range map[string]map[string]string{
		"sha256:" + digest: {"sha256": strings.TrimSuffix(strings.Repeat("AB:", 32), ":")},
		"uri:spiffe://A/b": {"uri": "spiffe://A/b"}, "dns:a.example": {"dns": "A.Example"},
		"email:A@b": {"email": "A@b"}, "commonName:A b": {"commonName": "A b"},
	} {
		made := translate.New(options()).Translate(&translate.Objects{
			Consumers: []*api.Consumer{consumerOf("shop", 1, "s")}, Credentials: []*corev1.Secret{credentialOf("s", "mtls-auth", d)},
		})
		if got := made.Config.Consumers.Of("store/shop"); len(got.Credentials) != 1 || got.Credentials[0].ID != config.CredentialID("mtls-auth", []byte(want)) {
			t.Errorf("%v is not looked up by %s: %v", d, want, made.Problems)
		}
	}
}

// TestPluginsOfAConsumer: what a Consumer runs stays what it is as long as nothing changes,
// goes with it, and is no matter of those without.
func TestPluginsOfAConsumer(t *testing.T) {
	plugin := func(config string) api.ConsumerEntry {
		return api.ConsumerEntry{Entry: api.Entry{Use: "transform", Config: json.RawMessage(config)}, Name: "mark"}
	}
	gold, plain := consumerOf("gold", 1), consumerOf("plain", 2)
	gold.Spec.Plugins = []api.ConsumerEntry{plugin(`{"a":1}`)}
	o := &translate.Objects{Consumers: []*api.Consumer{gold, plain}}
	tr := translate.New(options())
	made := tr.Translate(o)
	first := made.Config.Consumers.Of("store/gold")
	if first.Chain == nil || len(first.Chain.Parts) != 1 || first.Chain.Parts[0].Name != config.PartConsumer || len(first.Chain.Parts[0].Filters) != 1 || made.Config.Consumers.Of("store/plain").Chain != nil {
		t.Fatalf("got %+v; %v", first, made.Problems)
	}
	if err := made.Config.Validate(); err != nil {
		t.Error(err)
	}
	if again := tr.Translate(o); again.Config != made.Config {
		t.Error("the same objects give another config")
	}
	last := tr.Translate(o)
	renamed := consumerOf("plain", 2)
	renamed.Generation, renamed.Spec.Username = 2, "other"
	next := tr.Change(last, &translate.Changes{Consumers: map[string]*api.Consumer{"store/plain": renamed}})
	if next == nil || next.Config.Consumers.Of("store/gold") != first || next.Config.Consumers.Of("store/plain").Username != "other" {
		t.Fatal("who has no plugins does not change alone")
	}
	other := consumerOf("gold", 1)
	other.Generation, other.Spec.Plugins = 2, []api.ConsumerEntry{plugin(`{"a":2}`)}
	for what, one := range map[string]*api.Consumer{"others": other, "none": {ObjectMeta: *renamed.ObjectMeta.DeepCopy()}, "gone": nil} {
		if one != nil {
			one.Name = "gold"
		}
		tr := translate.New(options())
		if made := tr.Change(tr.Translate(o), &translate.Changes{Consumers: map[string]*api.Consumer{"store/gold": one}}); made != nil {
			t.Errorf("%s: plugins changed without a whole translation", what)
		}
	}
	whole := tr.Translate(&translate.Objects{Consumers: []*api.Consumer{other, renamed}})
	if now := whole.Config.Consumers.Of("store/gold"); now == first || now.Chain.Parts[0].Hash == first.Chain.Parts[0].Hash {
		t.Error("other plugins are the same chain")
	}
	if now := tr.Translate(&translate.Objects{Consumers: []*api.Consumer{renamed}}).Config; now.Consumers.Of("store/gold") != nil || len(now.PartHashes()) != 0 {
		t.Errorf("it is gone, and yet there is %v", now.PartHashes())
	}
}
