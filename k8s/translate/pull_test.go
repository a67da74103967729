package translate

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
)

// FuzzDockerConfig: credentials or an error that shows nothing of the text;
// what is read can be written again and means the same.
func FuzzDockerConfig(f *testing.F) {
	f.Add([]byte(`{"auths":{"https://index.docker.io/v1/":{"auth":"dXNlcjpwYXNz"}}}`))
	f.Add([]byte(`{"r.example":{"username":"u","password":"p"}}`))
	f.Add([]byte(`{"auths":{"r.example/team":{"identitytoken":"t"}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := dockerConfig(text)
		if err != nil {
			if !strings.HasPrefix(err.Error(), errDockerConfig.Error()) {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		auths := map[string]map[string]string{}
		for _, c := range list {
			if strings.Contains(c.Username, ":") || auths[c.Registry] != nil {
				return
			}
			e := map[string]string{"identitytoken": c.IdentityToken}
			if c.Username != "" || c.Password != "" {
				e["auth"] = base64.StdEncoding.EncodeToString([]byte(c.Username + ":" + c.Password))
			}
			auths[c.Registry] = e
		}
		again, err := json.Marshal(map[string]any{"auths": auths})
		if err != nil {
			t.Fatal(err)
		}
		second, err := dockerConfig(again)
		if err != nil || len(second) != len(list) {
			t.Fatalf("%q -> %q: %v", text, again, err)
		}
	})
}
