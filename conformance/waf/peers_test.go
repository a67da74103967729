package waf

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"testing"

	coreruleset "github.com/corazawaf/coraza-coreruleset/v4"
	"github.com/corazawaf/coraza/v3"
	txhttp "github.com/corazawaf/coraza/v3/http"
	"github.com/corazawaf/coraza/v3/types"

	"penstock.dev/penstock/conformance/harness"
)

// crsSettings are what the cases need of the rules. The runner marks in the log
// where a case begins and ends; what is such a mark is looked at no further.
const crsSettings = `
SecResponseBodyMimeType text/plain text/html text/xml application/json application/xml
SecDefaultAction "phase:5,log,noauditlog,pass"
SecAction "id:900005,phase:1,nolog,pass,setvar:tx.crs_validate_utf8_encoding=1,setvar:tx.arg_name_length=100,setvar:tx.arg_length=400,setvar:tx.total_arg_length=64000,setvar:tx.max_num_args=255,setvar:tx.max_file_size=64100,setvar:tx.combined_file_sizes=65535"
SecRule REQUEST_HEADERS:X-CRS-Test "@rx ^.*$" "id:999999,phase:1,log,msg:'X-CRS-Test %{MATCHED_VAR}',pass,t:none,ctl:ruleEngine=Off"
`

// crsNative is what the bundled waf makes of crsConfig, without its limits.
const crsNative = `
Include @coraza.conf-recommended
SecAuditEngine Off
SecDefaultAction "phase:3,log,noauditlog,pass"
SecDefaultAction "phase:4,log,noauditlog,pass"
SecAction "id:1,phase:1,pass,nolog,t:none,setvar:tx.blocking_paranoia_level=4,setvar:tx.early_blocking=1"
` + crsSettings + `
Include @crs-setup.conf.example
Include @owasp_crs/*.conf
SecRuleEngine DetectionOnly
`

// crsConfig is the same for the bundled waf.
const crsConfig = `
mode: detect
paranoiaLevel: 4
allowedMethods: [GET, HEAD, POST, OPTIONS]
inspectResponse: true
bodyLimit: 131072
overLimit: partial
rulesAfter: Include @owasp_crs/RESPONSE-980-CORRELATION.conf
rules: |`

// nativePeer is a reverse proxy of Go's library behind Coraza's own middleware.
func nativePeer(t *testing.T, origin int) *peer {
	t.Helper()
	log := newRuleLog(t)
	waf, err := coraza.NewWAF(coraza.NewWAFConfig().WithRootFS(coreruleset.FS).WithDirectives(crsNative).
		WithErrorCallback(func(m types.MatchedRule) { log.write(strings.ReplaceAll(m.ErrorLog(), "\n", " ")) }))
	if err != nil {
		t.Fatal(err)
	}
	to, err := url.Parse(fmt.Sprintf("http://127.0.0.1:%d", origin))
	if err != nil {
		t.Fatal(err)
	}
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = r.In.Host
		r.Out.Header.Del("Accept-Encoding")
	}}
	s := httptest.NewServer(txhttp.WrapHandler(waf, forward))
	t.Cleanup(s.Close)
	var port int
	if _, err := fmt.Sscanf(s.URL, "http://127.0.0.1:%d", &port); err != nil {
		t.Fatal(err)
	}
	return &peer{port: port, log: log.file.Name()}
}

// matched is a rule in a line of the plugin.
var matched = regexp.MustCompile(`rule (\d+) \([a-z]+\): ([^;]*)`)

// bundledPeer is the binary with the bundled waf.
func bundledPeer(t *testing.T, origin int) *peer {
	t.Helper()
	log := newRuleLog(t)
	annotation := "- use: waf\n  config:" + strings.ReplaceAll(crsConfig+strings.ReplaceAll(crsSettings, "\n", "\n  "), "\n", "\n    ") + limits
	route := strings.Replace(harness.Service("crs", annotation, origin), "value: /crs", "value: /", 1)
	p := harness.Start(t, harness.Options{
		Files:  map[string]string{"gateway.yaml": harness.GatewayFor(1), "crs.yaml": route},
		Images: []string{harness.BundledPlugins(t)},
		Args:   []string{"--access-log", "off"},
		Line: func(text string) {
			var lines []string
			for _, m := range matched.FindAllStringSubmatch(text, -1) {
				lines = append(lines, fmt.Sprintf(`[id "%s"] [msg "%s"]`, m[1], m[2]))
			}
			log.write(lines...)
		},
	})
	p.Eventually("the waf runs", func() bool { return p.Chain("Service/default/crs").State == "Running" })
	return &peer{port: p.Port, log: log.file.Name()}
}

// reflect answers as the suite's own server does: what is posted to /reflect says
// how, all else is found.
func reflect(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if r.URL.Path != "/reflect" {
		return
	}
	var want struct {
		Status            int
		Headers           map[string]string
		Body, EncodedBody string
	}
	if err := json.Unmarshal(body, &want); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for name, value := range want.Headers {
		w.Header().Set(name, value)
	}
	if want.Status != 0 {
		w.WriteHeader(want.Status)
	}
	if want.Body == "" {
		decoded, _ := base64.StdEncoding.DecodeString(want.EncodedBody)
		want.Body = string(decoded)
	}
	_, _ = io.WriteString(w, want.Body)
}
