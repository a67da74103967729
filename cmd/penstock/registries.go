package main

import (
	"crypto/x509"
	"fmt"
	"go.uber.org/zap"
	"os"
	"path/filepath"
	"strings"

	"penstock.dev/penstock/core/oci"
	"penstock.dev/penstock/k8s/annotation"
)

// openImages opens the store of plugin images; inUse returns the digests that may
// not be dropped.
func openImages(o options, log *zap.Logger, inUse func() []string) (*oci.Store, error) {
	quota, ok := annotation.Bytes(o.imageQuota)
	if !ok || quota <= 0 {
		return nil, fmt.Errorf("--image-quota %q: want a size such as 4Gi", o.imageQuota)
	}
	mirrors, err := mirrors(o.mirrors)
	if err != nil {
		return nil, err
	}
	authorities, err := authorities(o.authorities)
	if err != nil {
		return nil, err
	}
	return oci.New(oci.Options{
		Dir: filepath.Join(o.state, "images"), Layouts: o.images, LocalRegistries: o.localRegistries,
		Mirrors: mirrors, CAs: authorities, Quota: quota,
		InUse: inUse,
	}, log.Named("oci"))
}

func mirrors(flags []string) ([]oci.Mirror, error) {
	var all []oci.Mirror
	for _, text := range flags {
		of, at, ok := strings.Cut(text, "=")
		for _, prefix := range []string{of, at} {
			if _, err := oci.ParseReference(strings.TrimSuffix(prefix, "/") + "/x:1"); err != nil || strings.HasSuffix(prefix, "/") {
				ok = false
			}
		}
		if !ok {
			return nil, fmt.Errorf("--registry-mirror %q: want registry[:port][/path]=registry[:port][/path]", text)
		}
		all = append(all, oci.Mirror{Of: of, At: at})
	}
	return all, nil
}

func authorities(flags []string) (map[string]*x509.CertPool, error) {
	all := map[string]*x509.CertPool{}
	for _, text := range flags {
		host, file, ok := strings.Cut(text, "=")
		if !ok || host == "" || strings.Contains(host, "/") {
			return nil, fmt.Errorf("--registry-ca %q: want HOST[:PORT]=FILE", text)
		}
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("--registry-ca: %w", err)
		}
		if all[host] == nil {
			all[host] = x509.NewCertPool()
		}
		if !all[host].AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--registry-ca: %s holds no certificate in PEM", file)
		}
	}
	return all, nil
}
