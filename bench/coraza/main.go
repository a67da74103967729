// Command coraza is a reverse proxy of Go's library behind Coraza's own middleware,
// with the rules that the bundled waf has by default.
package main

import (
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"

	coreruleset "github.com/corazawaf/coraza-coreruleset/v4"
	"github.com/corazawaf/coraza/v3"
	txhttp "github.com/corazawaf/coraza/v3/http"
)

// directives are those of plugins-src/waf/config.go that a request passes.
const directives = `
Include @coraza.conf-recommended
SecAuditEngine Off
SecRequestBodyAccess On
SecRequestBodyLimit 131072
SecRequestBodyInMemoryLimit 131072
SecResponseBodyAccess Off
SecAction "id:1,phase:1,pass,nolog,t:none,setvar:tx.blocking_paranoia_level=1,setvar:tx.early_blocking=1,setvar:'tx.allowed_methods=GET HEAD POST PUT PATCH DELETE OPTIONS'"
Include @crs-setup.conf.example
Include @owasp_crs/REQUEST-9*.conf
SecRuleEngine On
`

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "coraza:", err)
		os.Exit(1)
	}
}

// run serves on an address, before an origin.
func run(address, origin string) error {
	waf, err := coraza.NewWAF(coraza.NewWAFConfig().WithRootFS(coreruleset.FS).WithDirectives(directives))
	if err != nil {
		return err
	}
	to, err := url.Parse(origin)
	if err != nil {
		return err
	}
	transport := &http.Transport{DisableCompression: true, MaxIdleConns: 4096, MaxIdleConnsPerHost: 2048}
	forward := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.SetXForwarded()
	}}
	return http.ListenAndServe(address, txhttp.WrapHandler(waf, forward)) //nolint:gosec // for the benchmark alone
}
