package crypto

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

func message(fields map[protowire.Number][]byte) []byte {
	var b []byte
	for n, v := range fields {
		b = protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), v)
	}
	return b
}

// pair is a key in DER.
type pair struct{ private, public []byte }

func pairOf(t testing.TB, private, public any) pair {
	t.Helper()
	a, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	b, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return pair{a, b}
}

func keys(t testing.TB) (rsaPair, ecPair, edPair pair) {
	t.Helper()
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	e, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return pairOf(t, r, &r.PublicKey), pairOf(t, e, &e.PublicKey), pairOf(t, priv, pub)
}

// read returns the result flag, and the text or signature of a result.
func read(t testing.TB, b []byte) (bool, string) {
	t.Helper()
	f, ok := fields(b)
	if !ok {
		t.Fatalf("no message: %x", b)
	}
	text := string(f[3])
	if text == "" {
		text = string(f[2])
	}
	return bytes.HasPrefix(b, []byte{8, 1}), text
}

func TestSignAndVerify(t *testing.T) {
	r, e, ed := keys(t)
	text := []byte("what was signed")
	toPEM := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	for name, k := range map[string]pair{"RSA": r, "ECDSA": e} {
		for _, hash := range []string{"sha1", "sha224", "sha256", "SHA384", "sha512"} {
			out, ok := Sign(message(map[protowire.Number][]byte{1: []byte(hash), 2: k.private, 3: text}))
			done, signature := read(t, out)
			if !ok || !done {
				t.Fatalf("%s %s: %v, %s", name, hash, ok, signature)
			}
			for what, test := range map[string]struct {
				args map[protowire.Number][]byte
				want bool
			}{
				"DER":            {map[protowire.Number][]byte{1: []byte(hash), 2: k.public, 3: []byte(signature), 4: text}, true},
				"PEM":            {map[protowire.Number][]byte{1: []byte(hash), 5: toPEM("PUBLIC KEY", k.public), 3: []byte(signature), 4: text}, true},
				"another text":   {map[protowire.Number][]byte{1: []byte(hash), 2: k.public, 3: []byte(signature), 4: []byte("other")}, false},
				"no signature":   {map[protowire.Number][]byte{1: []byte(hash), 2: k.public, 4: text}, false},
				"no key":         {map[protowire.Number][]byte{1: []byte(hash), 3: []byte(signature), 4: text}, false},
				"two keys":       {map[protowire.Number][]byte{1: []byte(hash), 2: k.public, 5: toPEM("PUBLIC KEY", k.public), 3: []byte(signature), 4: text}, false},
				"no hash":        {map[protowire.Number][]byte{2: k.public, 3: []byte(signature), 4: text}, false},
				"another kind":   {map[protowire.Number][]byte{1: []byte(hash), 2: ed.public, 3: []byte(signature), 4: text}, false},
				"too much text":  {map[protowire.Number][]byte{1: []byte(hash), 2: k.public, 3: []byte(signature), 4: make([]byte, maxText+1)}, false},
				"not PEM at all": {map[protowire.Number][]byte{1: []byte(hash), 5: []byte("x"), 3: []byte(signature), 4: text}, false},
			} {
				out, ok := Verify(message(test.args))
				if got, why := read(t, out); !ok || got != test.want || (why == "") != test.want {
					t.Errorf("%s %s, %s: got %v, %q", name, hash, what, got, why)
				}
			}
		}
	}
	out, _ := Sign(message(map[protowire.Number][]byte{1: []byte("sha256"), 4: toPEM("PRIVATE KEY", ed.private), 3: text}))
	if done, why := read(t, out); done || !strings.Contains(why, "RSA or ECDSA") {
		t.Errorf("an Ed25519 key: got %v, %q", done, why)
	}
	if _, ok := Verify([]byte{0xff}); ok {
		t.Error("garbage is taken for a message")
	}
	if _, ok := Sign([]byte{0xff}); ok {
		t.Error("garbage is taken for a message")
	}
}

func TestZlib(t *testing.T) {
	data := bytes.Repeat([]byte("text "), 10000)
	small, err := Deflate(data)
	if err != nil || len(small) > len(data)/10 {
		t.Fatalf("got %d bytes, %v", len(small), err)
	}
	if back, err := Inflate(small, len(data)); err != nil || !bytes.Equal(back, data) {
		t.Errorf("got %d bytes, %v", len(back), err)
	}
	if _, err := Inflate(small, len(data)-1); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v; want %v", err, ErrTooLarge)
	}
	for _, bad := range [][]byte{nil, []byte("x"), small[:len(small)-1]} {
		if _, err := Inflate(bad, 1<<20); err == nil {
			t.Errorf("%d bytes of garbage were read", len(bad))
		}
	}
}

// FuzzVerify: nothing panics, and what Sign made is verified.
func FuzzVerify(f *testing.F) {
	_, e, _ := keys(f)
	f.Add(message(map[protowire.Number][]byte{1: []byte("sha256"), 2: e.public, 3: []byte("s"), 4: []byte("t")}), []byte("text"))
	f.Add([]byte{0x0a, 0xff}, []byte(""))
	f.Fuzz(func(t *testing.T, args, text []byte) {
		Verify(args)
		Sign(args)
		out, _ := Sign(message(map[protowire.Number][]byte{1: []byte("sha256"), 2: e.private, 3: text}))
		done, signature := read(t, out)
		if done != (len(text) <= maxText) {
			t.Fatalf("sign: %v, %s", done, signature)
		}
		if out, _ := Verify(message(map[protowire.Number][]byte{1: []byte("sha256"), 2: e.public, 3: []byte(signature), 4: text})); done && !bytes.HasPrefix(out, []byte{8, 1}) {
			t.Fatalf("what was signed is not verified: %x", out)
		}
	})
}
