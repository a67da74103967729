package clients

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/harness"
)

// known are findings that are there for a reason, by id.
var known = map[string]string{
	"cert_trust":            "the test's certificate signs itself",
	"cert_chain_of_trust":   "the test's certificate signs itself",
	"cert_revocation":       "the test's certificate signs itself: nobody revokes it",
	"cert_expirationStatus": "the test's certificate holds for an hour",
	"overall_grade":         "T, because nobody vouches for the test's certificate",
	"grade_cap_reason_1":    "the test's certificate signs itself",
	"cert_notAfter":         "the test's certificate holds for an hour",
	"cert_serialNumberLen":  "the test's certificate is number 1",
	"engine_problem":        "of the OpenSSL that testssl runs on",
	"security_headers":      "headers that are the Service's word",
	"TLS_session_ticket":    "crypto/tls says seven days; the keys open tickets for two at most",
	"cipherlist_AVERAGE":    "AES and ChaCha20 with SHA-256, as TLS 1.2 has them",
	"HSTS":                  "a header that is the Service's word",
	"cert_commonName":       "the name is where it belongs, in subjectAltName",
	"DNS_CAArecord":         "the test's name is in no DNS",
	"OCSP_stapling":         "not offered: OCSP is going away with the authorities that end it",
}

// TestTestssl: what testssl finds wrong is listed with its reason.
func TestTestssl(t *testing.T) {
	harness.Long(t)
	p, _ := secure(t)
	file := filepath.Join(t.TempDir(), "out.json")
	c := []string{"--warnings", "off", "--color", "0", "--ip", "127.0.0.1", "--jsonfile", file, fmt.Sprintf("a.example:%d", p.Port)}
	out := run(t, 10*time.Minute, "testssl", c...)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var findings []struct{ ID, Severity, Finding, CVE string }
	if err := json.Unmarshal(text, &findings); err != nil {
		t.Fatal(err)
	}
	if len(findings) < 100 {
		t.Fatalf("%d findings; want at least 100\n%s", len(findings), out)
	}
	var report strings.Builder
	report.WriteString("| finding | severity | what it says | why |\n| --- | --- | --- | --- |\n")
	counts := map[string]int{}
	for _, f := range findings {
		counts[f.Severity]++
		if f.Severity == "OK" || f.Severity == "INFO" {
			continue
		}
		id, _, _ := strings.Cut(f.ID, " ")
		why, ok := known[id]
		fmt.Fprintf(&report, "| %s | %s | %s | %s |\n", f.ID, f.Severity, strings.ReplaceAll(f.Finding, "|", "/"), why)
		if !ok && (f.Severity == "MEDIUM" || f.Severity == "HIGH" || f.Severity == "CRITICAL" || f.Severity == "WARN") {
			t.Errorf("%s: %s: %s %s", f.ID, f.Severity, f.Finding, f.CVE)
		}
	}
	var line []string
	for _, k := range []string{"OK", "INFO", "LOW", "MEDIUM", "HIGH", "CRITICAL", "WARN"} {
		line = append(line, fmt.Sprintf("%s %d", k, counts[k]))
	}
	ratings := slices.DeleteFunc(slices.Clone(findings), func(f struct{ ID, Severity, Finding, CVE string }) bool {
		return f.ID != "overall_grade" && f.ID != "final_score" && !strings.HasPrefix(f.ID, "grade_cap")
	})
	for _, f := range ratings {
		line = append(line, f.ID+": "+f.Finding)
	}
	t.Logf("%s\n%s", strings.Join(line, ", "), report.String())
	write(t, "tls.md", "# testssl\n\nWritten by `make conformance` (`TestTestssl`), testssl 3.0.8.\n\n"+strings.Join(line, ", ")+".\n\n"+report.String())
}
