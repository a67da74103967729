package main

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		``: "",
		`{"refuse":[],"deny":["a"],"allow":["B"],"withoutAgent":"allow","status":429}`: "",
		`{"refuse":["ai","bots"]}`:                          "config.refuse[1]: want one of ai, libraries, scanners, search, seo",
		`{"refuse":["ai","ai"]}`:                            "config.refuse[1]: it is there twice",
		`{"refuse":"ai"}`:                                   "config.refuse: a text; want a list",
		`{"deny":["a",""]}`:                                 "config.deny[1]: want 1 to 256 visible",
		`{"allow":["a\nb"]}`:                                "config.allow[0]: want 1 to 256 visible",
		`{"allow":[7]}`:                                     "config.allow[0]: a number; want a text",
		`{"deny":["` + strings.Repeat("a", 257) + `"]}`:     "config.deny[0]",
		`{"deny":["` + strings.Repeat(`a","`, 512) + `a"]}`: "config.deny: 513 of them",
		`{"withoutAgent":"deny"}`:                           "config.withoutAgent: want refuse or allow",
		`{"status":200}`:                                    "config.status: want 403, 404 or 429",
		`{"denied":[]}`:                                     "config.denied: unknown field",
		`{"status":1,"deny":[""]}`:                          "config.deny[0]",
	} {
		_, err := parse([]byte(text))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v; want %q", text, err, want)
		}
	}
}

func TestRefuse(t *testing.T) {
	rules, err := parse([]byte(`{"refuse":["scanners","ai","libraries"],"deny":["EvilBot","x"],"allow":["Uptime","curl/8 (ours)"]}`))
	if err != nil {
		t.Fatal(err)
	}
	for agent, may := range map[string]bool{
		"Mozilla/5.0 (Macintosh; Intel Mac OS 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15": true,
		"": false, " \t": false, "-": true,
		"sqlmap/1.8#stable (https://sqlmap.org)": false, "SQLMAP": false, "Mozilla/5.0 zgrab/0.x": false,
		"Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)": false,
		"curl/8.14.1": false, "curl/8 (ours)": true, "python-requests/2.32": false, "EVILBOT/1 Uptime-Kuma": true, "my evilbot": false,
		"box": false, "bo\xff": true, "\x00": true, "w": true, "wge": true, "wget": true,
	} {
		if got := rules.refuse(agent); (got == "") != may {
			t.Errorf("%q: got %q", agent, got)
		}
	}
}

// TestFirefoxIsNoBot: no browser's agent has a part that a group names.
func TestFirefoxIsNoBot(t *testing.T) {
	var all []string
	for _, name := range groupNames() {
		for _, part := range groups[name] {
			if part != lower(part) || len(part) < 4 {
				t.Errorf("%s: %q is not in lower case, or too short to tell somebody", name, part)
			}
		}
		all = append(all, groups[name]...)
	}
	f := newFinder(all)
	for _, agent := range []string{
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:145.0) Gecko/20100101 Firefox/145.0",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0",
		"Mozilla/5.0 (Linux; Android 15; SM-S938B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1",
		"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 OPR/123.0.0.0",
		"kube-probe/1.34", "Prometheus/3.5.0", "GoogleHC/1.0", "ELB-HealthChecker/2.0",
	} {
		if f.in(lower(agent)) {
			t.Errorf("%s is taken for a bot", agent)
		}
	}
}

func FuzzFinder(f *testing.F) {
	f.Add("ab,b,cde", "xxcdxcde")
	f.Fuzz(func(t *testing.T, list, s string) {
		var texts []string
		want := false
		for text := range strings.SplitSeq(list, ",") {
			if text != "" {
				texts = append(texts, text)
				want = want || strings.Contains(s, text)
			}
		}
		if got := newFinder(texts).in(s); got != want {
			t.Errorf("%q in %q: got %v; want %v", texts, s, got, want)
		}
	})
}
