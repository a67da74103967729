package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/admin"
	"penstock.dev/penstock/core/remote"
	"penstock.dev/penstock/k8s/access"
	"penstock.dev/penstock/k8s/control"
)

func TestAdminAddress(t *testing.T) {
	a := control.NewAuthority(time.Now)
	authority, _, err := a.Renew(nil)
	if err != nil {
		t.Fatal(err)
	}
	files, _, err := a.Proxy(authority, nil)
	if err != nil {
		t.Fatal(err)
	}
	folder := func(lacks, spoils string) string {
		dir := t.TempDir()
		for _, name := range []string{remote.FileCA, remote.FileCert, remote.FileKey} {
			text := files[name]
			if name == spoils {
				text = []byte("spoiled")
			}
			if name == lacks {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	tests := map[string]struct{ address, dir, err string }{
		"loopback":                     {"127.0.0.1:9901", "", ""},
		"loopback of IPv6":             {"[::1]:9901", "", ""},
		"loopback by name":             {"localhost:9901", "", ""},
		"all addresses":                {"0.0.0.0:9901", "", "--admin-tls"},
		"all addresses, unsaid":        {":9901", "", "--admin-tls"},
		"another address":              {"192.0.2.1:9901", "", "--admin-tls"},
		"a name":                       {"localhost.example:9901", "", "--admin-tls"},
		"no port":                      {"127.0.0.1", "", "--admin: "},
		"all addresses, with a folder": {"0.0.0.0:9901", folder("", ""), ""},
		"loopback, with a folder":      {"127.0.0.1:9901", folder("", ""), ""},
		"a folder, and no port":        {"0.0.0.0", folder("", ""), "--admin: "},
		"a folder that is not there":   {"0.0.0.0:9901", filepath.Join(t.TempDir(), "none"), "--admin-tls "},
		"a folder without authorities": {"0.0.0.0:9901", folder(remote.FileCA, ""), remote.FileCA},
		"a folder without a key":       {"0.0.0.0:9901", folder(remote.FileKey, ""), remote.FileKey},
		"authorities that are none":    {"0.0.0.0:9901", folder("", remote.FileCA), remote.FileCA + " holds no certificate"},
		"a certificate that is none":   {"127.0.0.1:9901", folder("", remote.FileCert), "--admin-tls "},
		"a folder, though on loopback": {"127.0.0.1:9901", folder(remote.FileCert, ""), remote.FileCert},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := adminGuard(options{admin: test.address, adminTLS: test.dir}, nil, zap.NewNop())
			if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("got %v; want %q", err, test.err)
			}
		})
	}
}

func TestReviewsInAdminWords(t *testing.T) {
	tests := map[string]struct{ err, want error }{
		"none":        {nil, nil},
		"a bad token": {access.ErrToken, admin.ErrToken},
		"no right":    {fmt.Errorf("%w: x may not y", access.ErrDenied), admin.ErrDenied},
		"unavailable": {access.ErrUnavailable, access.ErrUnavailable},
		"another":     {os.ErrDeadlineExceeded, os.ErrDeadlineExceeded},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := inAdminWords(test.err)
			if !errors.Is(got, test.want) || (got == nil) != (test.err == nil) || got != nil && got.Error() != test.err.Error() {
				t.Errorf("got %v; want %v", got, test.want)
			}
			for _, other := range []error{admin.ErrToken, admin.ErrDenied} {
				if other != test.want && errors.Is(got, other) {
					t.Errorf("%v is %v too", got, other)
				}
			}
		})
	}
}
