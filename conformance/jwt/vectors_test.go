package jwt

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"penstock.dev/penstock/conformance/harness"
)

// asymmetric are the algorithms with public keys, symmetric those with secrets.
var (
	asymmetric = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
	symmetric  = []string{"HS256", "HS384", "HS512"}
)

// notJSON is said of a token whose signature is right, and whose payload is a text: so the
// vectors, of which few are claims, tell what was thought of their signatures.
const notJSON = "the token's claims are no JSON object"

// decoys are keys of nobody's, so that a set without any other is taken.
var decoys = map[string]any{
	"asymmetric": json.RawMessage(`{"kty":"OKP","crv":"Ed25519","kid":"decoy","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`),
	"symmetric":  json.RawMessage(`{"kty":"oct","kid":"decoy","k":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ"}`),
}

// of is a configuration with one key.
func of(t *testing.T, key json.RawMessage) config {
	t.Helper()
	var k struct{ Kty string }
	if err := json.Unmarshal(key, &k); err != nil {
		t.Fatal(err)
	}
	algorithms, decoy := asymmetric, decoys["asymmetric"]
	if k.Kty == "oct" {
		algorithms, decoy = symmetric, decoys["symmetric"]
	}
	return config{"algorithms": algorithms, "jwks": map[string]any{"keys": []any{key, decoy}}}
}

func read(t *testing.T, file string, to any) {
	t.Helper()
	text, err := os.ReadFile("testdata/" + file)
	if err == nil {
		err = json.Unmarshal(text, to)
	}
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// TestRFC: the examples of RFC 7515, 7519, 7520, 7797 and 8037 get what they have to.
func TestRFC(t *testing.T) {
	var all []struct {
		Name, JWS, Verdict string
		Key                json.RawMessage
	}
	read(t, "rfc.json", &all)
	configs := map[string]config{}
	for i, one := range all {
		configs[fmt.Sprintf("rfc-%d", i)] = of(t, one.Key)
	}
	b := start(t, configs, nil)
	for i, one := range all {
		if got := b.ask(fmt.Sprintf("rfc-%d", i), one.JWS); got.status != 401 || got.why != one.Verdict {
			t.Errorf("%s: got %v; want 401 %s", one.Name, got, one.Verdict)
		}
	}
}

// TestWycheproof: the vectors for JSON Web Signatures of Project Wycheproof.
func TestWycheproof(t *testing.T) {
	var all struct {
		NumberOfTests int
		TestGroups    []struct {
			Comment string
			Key     json.RawMessage
			Tests   []struct {
				TcID                 int
				Comment, JWS, Result string
			}
		}
	}
	read(t, "wycheproof.json", &all)
	configs := map[string]config{}
	for i, g := range all.TestGroups {
		configs[fmt.Sprintf("group-%d", i)] = of(t, g.Key)
	}
	b := start(t, configs, nil)
	known := harness.KnownFailures(t)
	n := 0
	for i, g := range all.TestGroups {
		for _, test := range g.Tests {
			n++
			got := b.ask(fmt.Sprintf("group-%d", i), test.JWS)
			if got.status != 401 {
				t.Errorf("%d: got %v; want 401, since no payload is claims", test.TcID, got)
			}
			name := fmt.Sprintf("wycheproof %d", test.TcID)
			right := (got.why == notJSON) == (test.Result == "valid")
			if _, listed := known[name]; listed {
				if right {
					t.Errorf("%s is listed as a known failure, and passes", name)
				}
				delete(known, name)
			} else if !right {
				t.Errorf("%s (%s, %s): got %v; want %s", name, g.Comment, test.Comment, got, test.Result)
			}
		}
	}
	if n != all.NumberOfTests {
		t.Errorf("%d tests; want %d", n, all.NumberOfTests)
	}
	for name := range known {
		t.Errorf("%s is listed as a known failure, and there is no such test", name)
	}
}
