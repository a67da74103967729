package exchange

import "testing"

func TestHostname(t *testing.T) {
	for authority, want := range map[string]string{
		"shop.example":          "shop.example",
		"Shop.EXAMPLE:8080":     "shop.example",
		"shop.example.":         "shop.example",
		"shop.example.:443":     "shop.example",
		"shop.example:":         "shop.example",
		"192.0.2.1:80":          "192.0.2.1",
		"[2001:DB8::1]":         "[2001:db8::1]",
		"[2001:db8::1]:80":      "[2001:db8::1]",
		"":                      "",
		":80":                   "",
		"xn--bcher-kva.EXAMPLE": "xn--bcher-kva.example",
	} {
		var a Arena
		given := []byte(authority)
		if got := string(Hostname(&a, given)); got != want {
			t.Errorf("Hostname(%q) = %q, want %q", authority, got, want)
		}
		if string(given) != authority {
			t.Errorf("Hostname(%q) wrote to what it was given: %q", authority, given)
		}
	}
}
