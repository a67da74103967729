package gatewayapi

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/conformance"
	confv1 "sigs.k8s.io/gateway-api/conformance/apis/v1"
	"sigs.k8s.io/gateway-api/conformance/tests"
	"sigs.k8s.io/gateway-api/conformance/utils/config"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"

	"penstock.dev/penstock/conformance/kubernetes/testbed"
)

// The suite runs in a process of its own, so that its failures can be compared
// with the known ones: what fails there is not yet a failure here.
const (
	enabled     = "PENSTOCK_GATEWAYAPI" // set by make gatewayapi; its value, if not 1, names the one test to run
	resultsFile = "PENSTOCK_GATEWAYAPI_RESULTS"
	reportFile  = "PENSTOCK_GATEWAYAPI_REPORT"
)

func TestMain(m *testing.M) {
	if os.Getenv(enabled) != "" {
		testbed.Enter()
	}
	os.Exit(m.Run())
}

// result is what became of one test of the suite.
type result struct {
	Name            string
	Failed, Skipped bool
}

// TestGatewayAPI starts a testbed with Penstock in it, has TestSuite run in
// another process, and judges.
func TestGatewayAPI(t *testing.T) {
	if os.Getenv(enabled) == "" || os.Getenv(resultsFile) != "" {
		t.Skip("make gatewayapi runs it")
	}
	known, err := readKnown("testdata/known-failures.txt")
	if err != nil {
		t.Fatal(err)
	}
	root, err := testbed.Root()
	if err != nil {
		t.Fatal(err)
	}
	bed := deploy(t, root)
	results, report := runSuite(t, root, bed)
	passed := 0
	missing := selected()
	for _, r := range results {
		missing = slices.DeleteFunc(missing, func(name string) bool { return name == r.Name })
		reason, listed := known[r.Name]
		switch {
		case r.Skipped:
			t.Logf("%s: skipped", r.Name)
		case r.Failed && listed:
			t.Logf("%s: fails as known: %s", r.Name, reason)
		case r.Failed:
			t.Errorf("%s failed", r.Name)
		case listed:
			t.Errorf("%s passed, and is listed as a known failure: %s", r.Name, reason)
		default:
			passed++
		}
	}
	if len(missing) > 0 {
		t.Errorf("no result of %v", missing)
	}
	t.Logf("%d of %d tests passed", passed, len(results))
	if all := os.Getenv("PENSTOCK_LONG") != "" && os.Getenv(enabled) == "1"; all && len(results) > 0 {
		if err := os.WriteFile(filepath.Join(root, "conformance", "reports", "gatewayapi.yaml"), report, 0o644); err != nil {
			t.Error(err)
		}
	}
}

// deploy starts a testbed and what k8s/manifests say.
func deploy(t *testing.T, root string) *testbed.Testbed {
	t.Helper()
	images, err := testbed.Images(root)
	if err != nil {
		t.Fatal(err)
	}
	bed, err := testbed.Start(t.Context(), testbed.Options{Images: images, Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(bed.Stop)
	t.Cleanup(func() { bed.KeepPodLogs("penstock-system") })
	if err := bed.Apply(t.Context(), filepath.Join(root, "k8s", "api", "crds"), filepath.Join(root, "k8s", "manifests")); err != nil {
		t.Fatal(err)
	}
	if err := bed.WaitReady(t.Context(), "penstock-system", time.Minute); err != nil {
		t.Fatal(err)
	}
	return bed
}

// runSuite runs TestSuite and returns its results and its report. What it says
// goes to bin/testbed/gatewayapi.log, the failures among it to the test's log.
func runSuite(t *testing.T, root string, bed *testbed.Testbed) (results []result, report []byte) {
	t.Helper()
	dir := t.TempDir()
	log, err := os.Create(filepath.Join(root, "bin", "testbed", "gatewayapi.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSuite$", "-test.v", "-test.timeout=40m")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), "KUBECONFIG="+bed.Kubeconfig, resultsFile+"="+filepath.Join(dir, "results"), reportFile+"="+filepath.Join(dir, "report"))
	runErr := cmd.Run()
	if text, err := os.ReadFile(filepath.Join(dir, "results")); err == nil {
		for line := range strings.Lines(string(text)) {
			var r result
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatal(err)
			}
			results = append(results, r)
		}
	}
	if runErr != nil {
		t.Logf("the suite: %v; all of it is in %s", runErr, log.Name())
		tell(t, log.Name())
	}
	if runErr != nil && !slices.ContainsFunc(results, func(r result) bool { return r.Failed }) {
		t.Errorf("the suite failed, and none of its tests: %v", runErr)
	}
	report, err = os.ReadFile(filepath.Join(dir, "report"))
	if err != nil {
		t.Error(err)
	}
	return results, report
}

// tell logs the lines of failures.
func tell(t *testing.T, file string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if line := s.Text(); strings.Contains(line, "--- FAIL") || strings.Contains(line, "Error:") || strings.Contains(line, "panic:") {
			t.Log(line)
		}
	}
}

// TestSuite is the suite.
func TestSuite(t *testing.T) {
	file := os.Getenv(resultsFile)
	if file == "" {
		t.Skip("started by TestGatewayAPI")
	}
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = out.Close() }) // the suite's parallel tests run when this function has returned
	o := conformance.DefaultOptions(t)
	o.ManifestFS = []fs.FS{&conformance.Manifests}
	o.GatewayClassName = "penstock"
	o.SupportedFeatures = claimed()
	for _, p := range profiles {
		o.ConformanceProfiles = append(o.ConformanceProfiles, p.Name)
	}
	o.TimeoutConfig = timeouts()
	o.CleanupBaseResources = false // the cluster goes as a whole
	o.UsableNetworkAddresses = addresses("172.20.255.200")
	o.UnusableNetworkAddresses = addresses("192.0.2.1") // not of the pool
	o.ReportOutputPath = os.Getenv(reportFile)
	o.Implementation = confv1.Implementation{
		Organization: "penstock", Project: "penstock", URL: "https://penstock.dev/penstock", Version: version(), Contact: []string{"https://penstock.dev/penstock"},
	}
	wanted := selected()
	for _, test := range tests.ConformanceTests {
		if !slices.Contains(wanted, test.ShortName) {
			o.SkipTests = append(o.SkipTests, test.ShortName)
		}
	}
	o.Hook = func(t *testing.T, test suite.ConformanceTest, _ *suite.ConformanceTestSuite) {
		if !slices.Contains(wanted, test.ShortName) {
			return
		}
		line, err := json.Marshal(result{Name: test.ShortName, Failed: t.Failed(), Skipped: t.Skipped()})
		if err == nil {
			_, err = fmt.Fprintf(out, "%s\n", line)
		}
		if err != nil {
			t.Error(err)
		}
	}
	conformance.RunConformanceWithOptions(t, o)
}

// selected returns the tests that are asked for: one, the short ones, or all of
// what is claimed.
func selected() (names []string) {
	one, features := os.Getenv(enabled), claimed()
	for _, test := range tests.ConformanceTests {
		claims := true
		for _, f := range test.Features {
			claims = claims && slices.Contains(features, f)
		}
		wanted := os.Getenv("PENSTOCK_LONG") != "" || slices.Contains(short, test.ShortName)
		if one != "1" {
			wanted = test.ShortName == one
		}
		if claims && wanted {
			names = append(names, test.ShortName)
		}
	}
	return names
}

// timeouts are shorter than the suite's: what takes longer here is a fault.
func timeouts() config.TimeoutConfig {
	c := config.DefaultTimeoutConfig()
	for _, limit := range []*time.Duration{
		&c.GatewayMustHaveAddress, &c.GatewayMustHaveCondition, &c.GatewayStatusMustHaveListeners, &c.GatewayListenersMustHaveConditions,
		&c.ListenerSetMustHaveCondition, &c.ListenerSetListenersMustHaveConditions, &c.GWCMustBeAccepted, &c.HTTPRouteMustNotHaveParents,
		&c.HTTPRouteMustHaveCondition, &c.TLSRouteMustHaveCondition, &c.TCPRouteMustHaveCondition, &c.UDPRouteMustHaveCondition,
		&c.RouteMustHaveParents, &c.LatestObservedGenerationSet, &c.DefaultTestTimeout, &c.MaxTimeToConsistency,
	} {
		*limit = 20 * time.Second
	}
	c.NamespacesMustBeReady = time.Minute
	return c
}

func addresses(values ...string) (all []gatewayv1.GatewaySpecAddress) {
	kind := gatewayv1.IPAddressType
	for _, v := range values {
		all = append(all, gatewayv1.GatewaySpecAddress{Type: &kind, Value: v})
	}
	return all
}

// version is that of the binary under test.
func version() string {
	root, err := testbed.Root()
	if err != nil {
		return "unknown"
	}
	out, err := exec.Command(filepath.Join(root, "bin", "penstock"), "version").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(strings.TrimPrefix(string(out), "penstock "))
}

// TestShortListNamesTests fails if the suite has renamed one.
func TestShortListNamesTests(t *testing.T) {
	all := map[string]bool{}
	for _, test := range tests.ConformanceTests {
		all[test.ShortName] = true
	}
	for _, name := range short {
		if !all[name] {
			t.Errorf("the suite has no test %s", name)
		}
	}
}

func TestReadKnown(t *testing.T) {
	tests := map[string]struct {
		text string
		want map[string]string
		fail bool
	}{
		"names with reasons": {"# comment\nA\n  because\n  of it\n\nB\n\tno\n", map[string]string{"A": "because of it", "B": "no"}, false},
		"no reason":          {"A\n", nil, true},
		"reason of nothing":  {"  because\n", nil, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "known")
			if err := os.WriteFile(file, []byte(test.text), 0o644); err != nil {
				t.Fatal(err)
			}
			got, err := readKnown(file)
			if (err != nil) != test.fail || !test.fail && fmt.Sprint(got) != fmt.Sprint(test.want) {
				t.Errorf("got %v, %v; want %v", got, err, test.want)
			}
		})
	}
}
