package main

import (
	"fmt"
	"strings"
	"time"
)

// hotPlugins are the bundled plugins that stand in front of most traffic, each with the
// entry that is measured.
var hotPlugins = []struct{ name, entry string }{
	{"key-auth", chainOfKey},
	{"ip-restriction", hotEntry("ip-restriction", "{allow: [127.0.0.0/8, 10.0.0.0/8]}")},
	{"cors", hotEntry("cors", `{origins: ["https://app.example.com"]}`)},
	{"rate-limit", hotEntry("rate-limit", "{limit: 1000000000, window: 1m}")},
	{"jwt", hotEntry("jwt", `{issuer: "https://id.example.com", audience: shop, consumer: {claim: sub}, jwks: {keys: [`+keyOfToken+`]}}`)},
	{"compress", hotEntry("compress", "{}")}, // of what is not to be compressed: the decision alone
	{"transform", hotEntry("transform", `{request: {headers: {set: {X-Edge: "1"}}}, response: {headers: {set: {X-Served-By: penstock}}}}`)},
}

// keyOfToken is that of the token which the load sends: those of jwt's README (RFC 7517, A.1).
const (
	keyOfToken = "{kty: EC, crv: P-256, kid: a, x: f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU, y: x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0}"
	token      = "eyJhbGciOiJFUzI1NiIsImtpZCI6ImEifQ.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjoic2hvcCIsInN1YiI6ImFwcCIsImVtYWlsIjoiYXBwQHNob3AuZXhhbXBsZSIsImdyb3VwcyI6WyJidXllcnMiXSwic2NvcGUiOiJjYXJ0OnJlYWQiLCJleHAiOjQxMDI0NDQ4MDB9.Ju9gRTh2ln1GgFOenMwFKfZLkZ3DYldLXdw44CZ2L1o7E7sGHh5NzxMB3qdMSvuDYyjuCpoc54fP9qQApxMJLA"
)

// tokenWrk loads over HTTP/1.1 with a token.
func tokenWrk(w workload, length time.Duration) (sample, int, error) {
	return wrk(w, "http", length, "Authorization: Bearer "+token)
}

func hotEntry(name, config string) string {
	return fmt.Sprintf("\n      - use: %s\n        config: %s", name, config)
}

// hotTargets are penstock without a plugin, with each of them, and with key-auth that looks
// a key up among 10,000 Consumers.
func hotTargets() []target {
	all := []target{penstock("penstock", 1, "")}
	for _, p := range hotPlugins {
		all = append(all, penstock("penstock, "+p.name, 1, p.entry))
	}
	many := penstock("penstock, 10,000 Consumers", 1, hotEntry("key-auth", "{consumers: {}}"))
	consumers, secrets := crowdOfConsumers(10_000)
	many.files["config/consumers.yaml"], many.files["config/secrets.yaml"] = consumers, secrets
	return append(all, many)
}

// crowdOfConsumers are so many, one of which has the load's key.
func crowdOfConsumers(n int) (consumers, secrets string) {
	var c, s strings.Builder
	for i := range n {
		key := fmt.Sprintf("key-of-consumer-%d", i)
		if i == n/2 {
			key = "benchmark-key"
		}
		fmt.Fprintf(&c, "---\napiVersion: penstock.dev/v1alpha1\nkind: Consumer\nmetadata: {name: c%d}\nspec: {credentials: [{name: c%d}]}\n", i, i)
		fmt.Fprintf(&s, "---\napiVersion: v1\nkind: Secret\nmetadata: {name: c%d, labels: {penstock.dev/credential: key-auth}}\nstringData: {key: %s}\n", i, key)
	}
	return c.String(), s.String()
}

func hotGoals() (all []goal) {
	for _, p := range hotPlugins {
		all = append(all, goal{p.name + " adds, µs", "hot plugins", "penstock, " + p.name, "penstock", 3, true})
	}
	return append(all, goal{"key-auth with 10,000 Consumers adds, µs", "hot plugins", "penstock, 10,000 Consumers", "penstock", 3, true})
}
