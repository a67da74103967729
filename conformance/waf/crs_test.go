package waf

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	crstests "github.com/corazawaf/coraza-coreruleset/v4/tests"
	schema "github.com/coreruleset/ftw-tests-schema/v2/types"
	"github.com/coreruleset/go-ftw/v2/config"
	"github.com/coreruleset/go-ftw/v2/ftwhttp"
	"github.com/coreruleset/go-ftw/v2/output"
	"github.com/coreruleset/go-ftw/v2/runner"
	ftw "github.com/coreruleset/go-ftw/v2/test"
	"github.com/coreruleset/go-ftw/v2/waflog"
	"github.com/rs/zerolog"

	"penstock.dev/penstock/conformance/harness"
)

// Cases in testdata that there are at this version, and how many are passed over
// in a short run.
const (
	crsCases = 4674
	crsShort = 60
)

// How a case may end that does not pass. What a server refuses by itself reaches no rule:
// of the two servers neither is worse for it.
const (
	failed  = "failed"
	refused = "refused"
)

// outcome is how a case ended, and what was seen.
type outcome struct{ how, saw string }

// TestCRS runs the Core Rule Set's own regression tests, by its own runner,
// before the bundled waf and before Coraza as a Go program has it. A case
// that does not pass before the bundled one is listed with a reason in
// testdata/known-failures.txt, and it fails no more of them than the other.
func TestCRS(t *testing.T) {
	zerolog.SetGlobalLevel(zerolog.Disabled)
	cases := crsTests(t)
	if len(cases) != crsCases {
		t.Fatalf("there are %d cases; want %d", len(cases), crsCases)
	}
	known := harness.KnownFailures(t)
	if os.Getenv("PENSTOCK_LONG") == "" {
		cases = every(cases, crsShort)
	}
	origin := harness.Upstream(t, reflect)
	native := nativePeer(t, origin).run(t, cases)
	bundled := bundledPeer(t, origin).run(t, cases)
	t.Logf("%d cases: of the bundled waf %d failed and %d were refused, of Coraza in a Go server %d and %d",
		len(cases), count(bundled, failed), count(bundled, refused), count(native, failed), count(native, refused))
	for _, one := range cases {
		id := one.Tests[0].IdString()
		here, there := bundled[id], native[id]
		if here.how == "" && there.how != "" {
			t.Logf("%s: %s in the Go server only: %s", id, there.how, there.saw)
		}
		if _, listed := known[here.how+" "+id]; here.how != "" && !listed {
			t.Errorf("%s %s: not listed (in the Go server: %q): %s", here.how, id, there.how, here.saw)
		}
		for _, how := range []string{failed, refused} {
			if _, listed := known[how+" "+id]; listed && here.how != how {
				t.Errorf("%s %s: listed, and is now %q", how, id, here.how)
			}
			delete(known, how+" "+id)
		}
	}
	if os.Getenv("PENSTOCK_LONG") != "" {
		for line := range known {
			t.Errorf("%s: listed, and there is no such case", line)
		}
	}
	if count(bundled, failed) > count(native, failed) {
		t.Errorf("the bundled waf fails %d cases; want %d at most, as the Go server", count(bundled, failed), count(native, failed))
	}
}

func count(outcomes map[string]outcome, how string) (n int) {
	for _, o := range outcomes {
		if o.how == how {
			n++
		}
	}
	return n
}

// crsTests reads all cases, each as a test of its own.
func crsTests(t *testing.T) (cases []*ftw.FTWTest) {
	t.Helper()
	err := fs.WalkDir(crstests.FS, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".yaml" {
			return err
		}
		text, err := fs.ReadFile(crstests.FS, path)
		if err != nil {
			return err
		}
		file, err := ftw.GetTestFromYaml(text, path)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for _, one := range file.Tests {
			byRule(&one)
			single := *file
			single.Tests = []schema.Test{one}
			cases = append(cases, &single)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return cases
}

// byRule has a case that asks for a text in the log ask for its rule: the texts are
// those of another engine, and hold values, which the bundled waf never logs.
func byRule(one *schema.Test) {
	for i := range one.Stages {
		log := &one.Stages[i].Output.Log
		if log.MatchRegex != "" {
			log.MatchRegex, log.ExpectIds = "", append(log.ExpectIds, one.RuleId)
		}
		if log.NoMatchRegex != "" {
			log.NoMatchRegex, log.NoExpectIds = "", append(log.NoExpectIds, one.RuleId)
		}
	}
}

// every takes each nth case.
func every(cases []*ftw.FTWTest, n int) (some []*ftw.FTWTest) {
	for i := 0; i < len(cases); i += n {
		some = append(some, cases[i])
	}
	return some
}

// peer is a server with the rules, and the file where it writes which matched.
type peer struct {
	port int
	log  string
}

// run returns the outcome of each case that does not pass. Such a one is tried again:
// rules that run when all is over log after the response.
func (p *peer) run(t *testing.T, cases []*ftw.FTWTest) map[string]outcome {
	t.Helper()
	address := "127.0.0.1"
	c := &config.RunnerConfig{
		RunMode: config.DefaultRunMode, LogMarkerHeaderName: config.DefaultLogMarkerHeaderName, LogFilePath: p.log,
		MaxMarkerRetries: 200, MaxMarkerLogLines: config.DefaultMaxMarkerLogLines,
		ConnectTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second,
		TestOverride: config.FTWTestOverride{Overrides: config.Overrides{DestAddr: &address, Port: &p.port}},
	}
	lines, err := waflog.NewFTWLogLines(c)
	if err != nil {
		t.Fatal(err)
	}
	client, err := ftwhttp.NewClient(c)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = client.NewConnection(ftwhttp.Destination{DestAddr: address, Port: p.port, Protocol: "http"}) // closes the last one
		if err := lines.Cleanup(); err != nil {
			t.Error(err)
		}
	}()
	once := func(one *ftw.FTWTest) (passed bool, rules [][]uint, err error) {
		context := &runner.TestRunContext{
			RunnerConfig: c, Output: output.NewOutput("quiet", io.Discard), Stats: runner.NewRunStats(), Client: client, LogLines: lines,
		}
		err = runner.RunTest(context, one)
		return err == nil && context.Stats.TotalFailed() == 0, context.Stats.TriggeredRules[one.Tests[0].IdString()], err
	}
	outcomes := map[string]outcome{}
	for _, one := range cases {
		passed, rules, err := once(one)
		if !passed {
			passed, rules, err = once(one)
		}
		if passed {
			continue
		}
		o := outcome{failed, fmt.Sprint(err, " rules ", rules, " want ", expected(one))}
		for _, status := range refusals {
			if yes, rules, _ := once(answered(one, status)); yes && !slices.ContainsFunc(slices.Concat(rules...), func(rule uint) bool { return rule != markerRule }) {
				o = outcome{refused, fmt.Sprint(status)}
			}
		}
		outcomes[one.Tests[0].IdString()] = o
	}
	return outcomes
}

// markerRule matches the requests between cases; on a busy machine one's line may come late.
const markerRule = 999_999

// refusals are what a server answers by itself, to what is no request or none for it.
var refusals = []int{400, 404, 405, 501, 505}

// answered is a case that wants a status alone.
func answered(one *ftw.FTWTest, status int) *ftw.FTWTest {
	other := *one
	other.Tests = slices.Clone(one.Tests)
	stages := slices.Clone(one.Tests[0].Stages)
	for i := range stages {
		stages[i].Output = schema.Output{Status: status}
	}
	other.Tests[0].Stages = stages
	return &other
}

// expected says what a case wants.
func expected(one *ftw.FTWTest) string {
	var b strings.Builder
	for _, stage := range one.Tests[0].Stages {
		o := stage.Output
		fmt.Fprintf(&b, "[status %d, rules %v, not %v, text %q not %q]", o.Status, o.Log.ExpectIds, o.Log.NoExpectIds, o.Log.MatchRegex, o.Log.NoMatchRegex)
	}
	return b.String()
}

// ruleLog is a file of lines as the runner reads them.
type ruleLog struct{ file *os.File }

func newRuleLog(t *testing.T) ruleLog {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "rules.log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return ruleLog{f}
}

// write adds lines at once.
func (l ruleLog) write(lines ...string) {
	var b bytes.Buffer
	for _, line := range lines {
		b.WriteString(line)
		b.WriteByte('\n')
	}
	_, _ = l.file.Write(b.Bytes())
}
