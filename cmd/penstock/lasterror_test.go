package main

import (
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/hosts/capability"
)

func TestWhyAPluginDoesNotStart(t *testing.T) {
	var said lastErrors
	core, seen := observer.New(zap.ErrorLevel)
	log := said.listen(zap.New(core))
	of := func(name string) *capability.Log {
		return capability.NewLog(log.Named("guest"), &config.Filter{Part: "service", Name: name, Owner: config.Object{Kind: "Service", Namespace: "ns", Name: "o"}}, "sha256:aa")
	}
	explain := func(name, message string) string { return said.explain("Service/ns/o", "service/"+name, message) }
	a, b := of("a"), of("b")
	a.Guest(0, zap.ErrorLevel, []byte("first"))
	a.Guest(0, zap.ErrorLevel, []byte("say \"x\"\n\x1b[2J"))
	a.Guest(0, zap.WarnLevel, []byte("a warning"))
	a.Guest(7, zap.ErrorLevel, []byte("of an exchange"))
	b.Guest(0, zap.ErrorLevel, []byte(strings.Repeat("x", maxLastError-1)+"é and more"))
	log.Error("the proxy's own")
	for name, want := range map[string]string{
		"a": `refused; its log says why: say "x"\n\x1b[2J`,
		"b": `refused; its log says why: ` + strings.Repeat("x", maxLastError-1) + "…",
		"c": `refused; its log says why`,
	} {
		if got := explain(name, "refused; its log says why"); got != want {
			t.Errorf("%s: got %q; want %q", name, got, want)
		}
	}
	if got, want := explain("a", "trap"), `trap; its log says: say "x"\n\x1b[2J`; got != want {
		t.Errorf("got %q; want %q", got, want)
	}
	if seen.Len() != 5 {
		t.Errorf("%d lines are logged; want all five", seen.Len())
	}
	said.forget()
	if got := explain("a", "trap"); got != "trap" {
		t.Errorf("got %q; want what was heard to be forgotten", got)
	}
}
