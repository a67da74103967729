package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// config is the plugin's configuration.
type config struct {
	// Mode is "block" (default), or "detect": matches are logged, all passes.
	Mode string `json:"mode"`
	// ParanoiaLevel is the Core Rule Set's, 1 (default) to 4.
	ParanoiaLevel int `json:"paranoiaLevel"`
	// InboundThreshold is the score from which a request is refused; default 5.
	InboundThreshold int `json:"inboundThreshold"`
	// OutboundThreshold is the same for a response; default 4.
	OutboundThreshold int      `json:"outboundThreshold"`
	AllowedMethods    []string `json:"allowedMethods"`
	// ExcludeRules are ids of rules that are left out.
	ExcludeRules []int `json:"excludeRules"`
	// Rules is SecLang before the Core Rule Set, RulesAfter behind it.
	Rules      string `json:"rules"`
	RulesAfter string `json:"rulesAfter"`
	// InspectResponse is false by default.
	InspectResponse bool `json:"inspectResponse"`
	// BodyLimit is how many bytes of a body are inspected, 1 KiB to 128 KiB;
	// default 64 KiB.
	BodyLimit int `json:"bodyLimit"`
	// OverLimit says what a longer request body gets: "reject" (default), or
	// "partial": what is over the limit passes unseen.
	OverLimit string `json:"overLimit"`

	// whole says that no rule is left out; for tests.
	whole bool
}

const (
	minBodyLimit = 1 << 10
	maxBodyLimit = 128 << 10 // what the transformations of one long value leave of a call
	maxThreshold = 10_000
	// argumentsLimit is Coraza's bound for each of query and body. Every rule
	// looks at every value; more would not fit into a call.
	argumentsLimit = 256
)

// parse reads the configuration strictly; none at all is the defaults.
func parse(text []byte) (*config, error) {
	c := &config{
		Mode: "block", ParanoiaLevel: 1, InboundThreshold: 5, OutboundThreshold: 4,
		AllowedMethods: []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"},
		BodyLimit:      64 << 10, OverLimit: "reject",
	}
	if len(bytes.TrimSpace(text)) > 0 {
		if err := c.read(text); err != nil {
			return nil, err
		}
	}
	return c, c.validate()
}

// read reads field by field: every error has its path.
func (c *config) read(text []byte) error {
	var values map[string]json.RawMessage
	if err := json.Unmarshal(text, &values); err != nil || values == nil {
		return errors.New("config: want one mapping")
	}
	texts := map[string]*string{"mode": &c.Mode, "rules": &c.Rules, "rulesAfter": &c.RulesAfter, "overLimit": &c.OverLimit}
	numbers := map[string]*int{"paranoiaLevel": &c.ParanoiaLevel, "inboundThreshold": &c.InboundThreshold, "outboundThreshold": &c.OutboundThreshold, "bodyLimit": &c.BodyLimit}
	var all []error
	for _, name := range slices.Sorted(maps.Keys(values)) {
		at, raw := "config."+name, values[name]
		switch {
		case texts[name] != nil:
			all = append(all, value(at, raw, texts[name], "text"))
		case numbers[name] != nil:
			all = append(all, value(at, raw, numbers[name], "a whole number"))
		case name == "inspectResponse":
			all = append(all, value(at, raw, &c.InspectResponse, "true or false"))
		case name == "allowedMethods":
			all = append(all, list(at, raw, &c.AllowedMethods, "text"))
		case name == "excludeRules":
			all = append(all, list(at, raw, &c.ExcludeRules, "a whole number"))
		default:
			all = append(all, fmt.Errorf("config.%.80s: unknown field", name))
		}
	}
	return errors.Join(all...)
}

func value[T any](at string, raw json.RawMessage, to *T, want string) error {
	if err := json.Unmarshal(raw, to); err != nil {
		return fmt.Errorf("%s: want %s", at, want)
	}
	return nil
}

func list[T any](at string, raw json.RawMessage, to *[]T, want string) error {
	var values []json.RawMessage
	if err := value(at, raw, &values, "a list"); err != nil || values == nil {
		return err
	}
	*to = make([]T, len(values))
	var all []error
	for i, one := range values {
		all = append(all, value(fmt.Sprintf("%s[%d]", at, i), one, &(*to)[i], want))
	}
	return errors.Join(all...)
}

func (c *config) validate() error {
	var all []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			all = append(all, fmt.Errorf(format, args...))
		}
	}
	check(c.Mode == "block" || c.Mode == "detect", "config.mode: %q is not block or detect", c.Mode)
	check(c.OverLimit == "reject" || c.OverLimit == "partial", "config.overLimit: %q is not reject or partial", c.OverLimit)
	check(c.ParanoiaLevel >= 1 && c.ParanoiaLevel <= 4, "config.paranoiaLevel: %d is not 1 to 4", c.ParanoiaLevel)
	check(c.InboundThreshold >= 1 && c.InboundThreshold <= maxThreshold, "config.inboundThreshold: %d is not 1 to %d", c.InboundThreshold, maxThreshold)
	check(c.OutboundThreshold >= 1 && c.OutboundThreshold <= maxThreshold, "config.outboundThreshold: %d is not 1 to %d", c.OutboundThreshold, maxThreshold)
	check(c.BodyLimit >= minBodyLimit && c.BodyLimit <= maxBodyLimit, "config.bodyLimit: %d is not %d to %d", c.BodyLimit, minBodyLimit, maxBodyLimit)
	check(len(c.AllowedMethods) > 0, "config.allowedMethods: must not be empty")
	for i, m := range c.AllowedMethods {
		// It becomes part of a directive.
		check(m != "" && strings.Trim(m, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == "", "config.allowedMethods[%d]: %q is not a method in capital letters", i, m)
	}
	for i, id := range c.ExcludeRules {
		check(id > 0, "config.excludeRules[%d]: %d is no rule id", i, id)
		// 901: the Core Rule Set's set-up; 949 and 959: the decision.
		check(id/1000 != 901 && id/1000 != 949 && id/1000 != 959,
			"config.excludeRules[%d]: without rule %d the others decide nothing: use mode: detect", i, id)
	}
	return errors.Join(all...)
}

// directives writes the configuration as SecLang. The Core Rule Set sets what
// is not set before it.
func (c *config) directives() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("Include @coraza.conf-recommended")
	line("SecAuditEngine Off")
	line("SecRequestBodyAccess On")
	// main counts the bytes itself: Coraza refuses at the limit, not over it.
	line("SecRequestBodyLimit %d", 2*c.BodyLimit)
	line("SecRequestBodyInMemoryLimit %d", 2*c.BodyLimit)
	line("SecResponseBodyAccess %s", onOff(c.InspectResponse))
	line("SecResponseBodyMimeType text/plain text/html text/xml application/json application/xml")
	line("SecResponseBodyLimit %d", 2*c.BodyLimit)
	line("SecArgumentsLimit %d", argumentsLimit)
	// The Core Rule Set's package has an older form of Coraza's own rules,
	// without these: values over the limit would pass unseen.
	line(`SecRule ARGUMENTS_LIMIT_REACHED "@eq 1" "id:2,phase:1,t:none,log,deny,status:413,msg:'Too many values'"`)
	line(`SecRule ARGUMENTS_LIMIT_REACHED "@eq 1" "id:3,phase:2,t:none,log,deny,status:413,msg:'Too many values'"`)
	line(`SecRule &ARGS_POST "@gt %d" "id:5,phase:2,t:none,log,deny,status:413,msg:'Too many values'"`, argumentsLimit) // multipart has no limit
	line(`SecRule URI_PARSE_ERROR "@eq 1" "id:4,phase:1,t:none,log,deny,status:400,msg:'The URI cannot be parsed'"`)
	line(`SecAction "id:1,phase:1,pass,nolog,t:none,`+
		`setvar:tx.blocking_paranoia_level=%d,setvar:tx.inbound_anomaly_score_threshold=%d,setvar:tx.outbound_anomaly_score_threshold=%d,`+
		`setvar:tx.early_blocking=1,setvar:'tx.allowed_methods=%s'"`,
		c.ParanoiaLevel, c.InboundThreshold, c.OutboundThreshold, strings.Join(c.AllowedMethods, " "))
	// The Core Rule Set sets those of the request's phases alone: what matches in a
	// response would not be logged. An own one may be set once.
	for phase := 3; phase <= 4; phase++ {
		if own := fmt.Sprintf(`(?i)SecDefaultAction\s+"[^"]*phase:%d`, phase); !regexp.MustCompile(own).MatchString(c.Rules) {
			line(`SecDefaultAction "phase:%d,log,noauditlog,pass"`, phase)
		}
	}
	line("%s", c.Rules)
	for phase := 1; phase <= 2; phase++ {
		line(`SecRule REQUEST_METHOD "@%s" "id:%d,phase:%d,pass,nolog,t:none"`, sieveOperator, 900_005+phase, phase)
	}
	line("Include @crs-setup.conf.example")
	line("Include @owasp_crs/REQUEST-9*.conf")
	if c.InspectResponse {
		line("Include @owasp_crs/RESPONSE-95*.conf")
	}
	line("%s", c.RulesAfter)
	for _, id := range c.ExcludeRules {
		line("SecRuleRemoveById %d", id)
	}
	// Last: no rule of the text decides about the mode.
	line("SecRuleEngine %s", map[string]string{"block": "On", "detect": "DetectionOnly"}[c.Mode])
	return b.String()
}

func onOff(on bool) string {
	if on {
		return "On"
	}
	return "Off"
}
