package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// cacheCommand talks to a proxy's admin address.
func cacheCommand() *cobra.Command {
	c := &cobra.Command{Use: "cache", Short: "Look at the response cache of a running proxy, and purge it"}
	c.AddCommand(purgeCommand(), statsCommand(), inspectCommand())
	return c
}

// adminClient is how the commands reach an admin address.
type adminClient struct{ address, cert, key, ca string }

func (a *adminClient) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&a.address, "admin", "127.0.0.1:9901", "admin address of the proxy")
	f.StringVar(&a.cert, "cert", "", "file with the certificate to show, for an address with TLS")
	f.StringVar(&a.key, "key", "", "file with its key")
	f.StringVar(&a.ca, "ca", "", "file with the authorities that vouch for the address")
	c.MarkFlagsRequiredTogether("cert", "key", "ca")
}

const (
	adminTime  = 30 * time.Second
	adminBytes = 64 << 20
)

// ask sends a request and writes what is answered to w.
func (a *adminClient) ask(ctx context.Context, w io.Writer, method, path string, query url.Values) error {
	ctx, cancel := context.WithTimeout(ctx, adminTime)
	defer cancel()
	scheme, transport := "http", &http.Transport{}
	if a.cert != "" {
		pair, err := tls.LoadX509KeyPair(a.cert, a.key)
		if err != nil {
			return fmt.Errorf("--cert, --key: %w", err)
		}
		pem, err := os.ReadFile(a.ca)
		if err != nil {
			return fmt.Errorf("--ca: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return fmt.Errorf("--ca %s: no certificate in it", a.ca)
		}
		scheme, transport.TLSClientConfig = "https", &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, MinVersion: tls.VersionTLS13}
	}
	u := url.URL{Scheme: scheme, Host: a.address, Path: path, RawQuery: query.Encode()}
	r, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return fmt.Errorf("--admin: %w", err)
	}
	answer, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		var inner *url.Error
		if errors.As(err, &inner) {
			err = inner.Err
		}
		return fmt.Errorf("--admin %s: %w", a.address, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 64<<10)) // what came says enough
		return fmt.Errorf("%s: %s", answer.Status, strings.TrimSpace(string(text)))
	}
	n, err := io.Copy(w, io.LimitReader(answer.Body, adminBytes+1))
	switch {
	case err != nil:
		return fmt.Errorf("--admin %s: the answer ended early: %w", a.address, err)
	case n > adminBytes:
		return fmt.Errorf("--admin %s: it answers with more than %d bytes", a.address, adminBytes)
	}
	return nil
}

func purgeCommand() *cobra.Command {
	var a adminClient
	var namespace string
	var urls, prefixes, hostnames, tags []string
	var soft bool
	c := &cobra.Command{
		Use:   "purge",
		Short: "Remove stored responses of one namespace by URL, prefix, hostname or tag",
		Example: `  penstock cache purge -n store --tag product-17
  penstock cache purge -n store --prefix https://shop.example/images/ --soft`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := url.Values{"namespace": {namespace}, "url": urls, "prefix": prefixes, "hostname": hostnames, "tag": tags}
			if soft {
				q.Set("soft", "true")
			}
			return a.ask(cmd.Context(), cmd.OutOrStdout(), http.MethodDelete, "/cache", q)
		},
	}
	a.flags(c)
	f := c.Flags()
	f.StringVarP(&namespace, "namespace", "n", "", "namespace of the Services")
	f.StringArrayVar(&urls, "url", nil, "absolute URL; may be repeated, as those below")
	f.StringArrayVar(&prefixes, "prefix", nil, "absolute URL that others begin with, in whole segments")
	f.StringArrayVar(&hostnames, "hostname", nil, "hostname")
	f.StringArrayVar(&tags, "tag", nil, "tag of Surrogate-Key or Cache-Tag")
	f.BoolVar(&soft, "soft", false, "make them stale in place of removing them")
	cobra.CheckErr(c.MarkFlagRequired("namespace"))
	c.MarkFlagsOneRequired("url", "prefix", "hostname", "tag")
	return c
}

func statsCommand() *cobra.Command {
	var a adminClient
	c := &cobra.Command{
		Use:   "stats",
		Short: "Print how full the cache is, by tier and namespace, and what left it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.ask(cmd.Context(), cmd.OutOrStdout(), http.MethodGet, "/cache/stats", nil)
		},
	}
	a.flags(c)
	return c
}

func inspectCommand() *cobra.Command {
	var a adminClient
	var namespace string
	c := &cobra.Command{
		Use:     "inspect [URL]",
		Short:   "Print which responses are stored: of a namespace, or those whose URLs begin so",
		Example: "  penstock cache inspect -n store https://shop.example/images/",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			q := url.Values{"namespace": {namespace}}
			if len(args) > 0 {
				u, err := url.Parse(args[0])
				if err != nil || u.Host == "" {
					return fmt.Errorf("%q is no absolute URL: want one such as https://shop.example/images/", args[0])
				}
				path := u.EscapedPath()
				if u.RawQuery != "" {
					path += "?" + u.RawQuery
				}
				q.Set("hostname", strings.TrimSuffix(strings.ToLower(u.Hostname()), "."))
				q.Set("path", path)
			}
			return a.ask(cmd.Context(), cmd.OutOrStdout(), http.MethodGet, "/cache/objects", q)
		},
	}
	a.flags(c)
	c.Flags().StringVarP(&namespace, "namespace", "n", "", "namespace of the Services")
	cobra.CheckErr(c.MarkFlagRequired("namespace"))
	return c
}
