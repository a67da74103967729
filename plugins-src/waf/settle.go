package main

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// settled leaves out of the Core Rule Set what the configuration has decided for every
// request: rules of a higher paranoia level, and whether a setting has its default. At
// level 1 that is half of what is evaluated for a plain request.
type settled struct {
	level int
	// known are the settings that have a value when the Core Rule Set begins; unsure are
	// those that the configuration's own rules speak of.
	known, unsure map[string]bool
	leftIDs       map[string]bool
}

var (
	ruleText    = regexp.MustCompile(`(?s)^SecRule\s+(\S+)\s+"((?:[^"\\]|\\.)*)"(?:\s+"(.*)")?$`)
	actionText  = regexp.MustCompile(`(?s)^SecAction\s+"(.*)"$`)
	phaseOf     = regexp.MustCompile(`\bphase:(\d)`)
	chainOf     = regexp.MustCompile(`[,"\s]chain[,"\s]`)
	quoted      = regexp.MustCompile(`'(?:[^'\\]|\\.)*'`)
	skipAfterOf = regexp.MustCompile(`\bskipAfter:([\w-]+)`)
	levelBelow  = regexp.MustCompile(`^@lt ([1-4])$`)
	levelFrom   = regexp.MustCompile(`^@ge ([1-4])$`)
	// A setting's own default: nothing else is done.
	defaultOf = regexp.MustCompile(`^id:\d+,\s*phase:1,\s*pass,\s*nolog,\s*tag:'OWASP_CRS',\s*ver:'[^']*',\s*setvar:'tx\.(\w+)=[^']*'$`)
	updateOf  = regexp.MustCompile(`^SecRuleUpdateTargetById (\d+) `)
	idOf      = regexp.MustCompile(`\bid:(\d+)`)
	skipOf    = regexp.MustCompile(`\bskip:(\d)`)
	setVar    = regexp.MustCompile(`setvar:'?tx\.(\w+)=`)
	ownTX     = regexp.MustCompile(`(?i)\btx[.:]([^\s=,'"|]*)`)
)

// newSettled reads what c's own rules speak of; nil if they may change anything.
func newSettled(c *config) *settled {
	s := &settled{level: c.ParanoiaLevel, known: map[string]bool{}, unsure: map[string]bool{}, leftIDs: map[string]bool{}}
	own := c.ownRules()
	if c.whole || countsRules(own) || removesBasics(own) || slices.ContainsFunc(c.ExcludeRules, isBasic) {
		return nil
	}
	for _, m := range ownTX.FindAllStringSubmatch(own, -1) {
		name := strings.ToLower(m[1])
		if strings.ContainsAny(name, "%/\\") || strings.Contains(name, "paranoia_level") {
			return nil
		}
		s.unsure[name] = true
	}
	s.sets(c.directives()) // what own rules set is unsure, wherever they stand
	return s
}

// ownRules returns the configuration's own rules, each directive in a line.
func (c *config) ownRules() string {
	return strings.Join(append(directives(c.Rules), directives(c.RulesAfter)...), "\n")
}

var countsOrUpdates = regexp.MustCompile(`(?i)\bskip\s*:|SecRuleUpdate`)

// countsRules reports whether rules count others or change them, so that none may be left
// out.
func countsRules(own string) bool { return countsOrUpdates.MatchString(own) }

var removesByID = regexp.MustCompile(`(?i)RuleRemove\w*ById\b[^\d]{0,3}([\d\s-]+)`)

// removesBasics reports whether rules remove some by number that are settled.
func removesBasics(own string) bool {
	for _, m := range removesByID.FindAllStringSubmatch(own, -1) {
		if strings.Contains(m[1], "-") { // a range
			return true
		}
		for id := range strings.FieldsSeq(m[1]) {
			if n, err := strconv.Atoi(id); err != nil || isBasic(n) {
				return true
			}
		}
	}
	return false
}

// isBasic reports whether a rule of the Core Rule Set sets it up, or asks for the level.
func isBasic(id int) bool {
	return id/1000 == 901 || id%1000 < 100 || id/1000 == 949 || id/1000 == 959 || id/1000 == 980
}

// sets notes the settings that a text's unconditional actions make.
func (s *settled) sets(text string) {
	for _, d := range directives(text) {
		if actionText.MatchString(d) {
			for _, m := range setVar.FindAllStringSubmatch(d, -1) {
				s.known[strings.ToLower(m[1])] = true
			}
		}
	}
}

// directives splits SecLang, each directive in a line.
func directives(text string) (all []string) {
	var d strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		rest, more := strings.CutSuffix(line, `\`)
		d.WriteString(rest)
		if !more {
			all = append(all, d.String())
			d.Reset()
		}
	}
	if d.Len() > 0 {
		all = append(all, d.String())
	}
	return all
}

// file returns a file of the Core Rule Set without what is settled.
func (s *settled) file(text string) string {
	f := settling{settled: s, skipped: map[string]string{}, kept: counted{}}
	for _, d := range directives(text) {
		f.directive(d)
	}
	f.flush()
	return f.b.String()
}

// settling is a file of which a part is read.
type settling struct {
	*settled
	b strings.Builder
	// skipped has the marker up to which the rules of a phase are left out.
	skipped map[string]string
	// chain: what follows belongs to the rule before; left: that was left out.
	chain, left bool
	kept        counted
	// defaults are actions that set defaults, made of rules for one setting each.
	defaults string
}

func (f *settling) directive(d string) {
	rule, ok := readRule(d)
	switch {
	case ok:
		if !f.chain { // otherwise it shares the fate of the one before
			f.left = f.leaves(&rule)
		}
		f.chain = chainOf.MatchString(rule.plain)
		if f.left {
			return
		}
	case strings.HasPrefix(d, "SecMarker "):
		marker := strings.Trim(strings.TrimPrefix(d, "SecMarker "), `"' `)
		maps.DeleteFunc(f.skipped, func(_, m string) bool { return m == marker })
	default:
		if m := updateOf.FindStringSubmatch(d); m != nil && f.leftIDs[m[1]] {
			return
		}
	}
	f.write(d)
}

// secRule is a SecRule, or a SecAction, which has no targets.
type secRule struct{ targets, operator, actions, plain string } // plain: actions without what is quoted in them

func readRule(d string) (r secRule, ok bool) {
	if m := ruleText.FindStringSubmatch(d); m != nil {
		r = secRule{targets: m[1], operator: m[2], actions: m[3]}
	} else if m := actionText.FindStringSubmatch(d); m != nil {
		r = secRule{actions: m[1]}
	} else {
		return r, false
	}
	r.plain = `"` + quoted.ReplaceAllString(r.actions, "") + `"`
	return r, true
}

// counted is how many of the rules to come one before counts, by phase.
type counted map[string]int

// takes reports whether a rule of a phase is counted, and takes what it counts itself.
func (c counted) takes(phase string, rule *secRule) bool {
	if c[phase] > 0 {
		c[phase]--
		return true
	}
	if m := skipOf.FindStringSubmatch(rule.plain); m != nil {
		c[phase], _ = strconv.Atoi(m[1])
	}
	return false
}

// leaves reports whether a rule is left out, or written already in another form.
func (f *settling) leaves(rule *secRule) bool {
	phase := "2"
	if m := phaseOf.FindStringSubmatch(rule.plain); m != nil {
		phase = m[1]
	}
	if f.skipped[phase] == "" && (f.kept.takes(phase, rule) || !f.decided(rule, phase)) {
		return false
	}
	if m := idOf.FindStringSubmatch(rule.plain); m != nil {
		f.leftIDs[m[1]] = true
	}
	return true
}

// decided reports whether a rule's outcome is decided, after writing what comes of it.
func (f *settling) decided(rule *secRule, phase string) bool {
	switch target := strings.ToLower(rule.targets); target {
	case "tx:detection_paranoia_level", "tx:blocking_paranoia_level":
		if m := levelBelow.FindStringSubmatch(rule.operator); m != nil {
			marker := skipAfterOf.FindStringSubmatch(rule.actions)
			if marker == nil {
				return false
			}
			if f.below(m[1]) {
				f.skipped[phase] = marker[1]
			}
			return true
		}
		if m := levelFrom.FindStringSubmatch(rule.operator); m != nil && !chainOf.MatchString(rule.plain) {
			if !f.below(m[1]) {
				f.write(`SecAction "` + rule.actions + `"`)
			}
			return true
		}
	default:
		name, ok := strings.CutPrefix(target, "&tx:")
		if !ok || rule.operator != "@eq 0" || f.unsure[name] {
			return false
		}
		if f.known[name] {
			return true
		}
		if m := defaultOf.FindStringSubmatch(rule.actions); m != nil && strings.ToLower(m[1]) == name {
			f.known[name] = true
			f.setDefault(rule.actions)
			return true
		}
	}
	return false
}

// below reports whether the configured level is below a level.
func (f *settling) below(level string) bool {
	n, err := strconv.Atoi(level)
	return err == nil && f.level < n
}

// setDefault adds to the action that sets the defaults of settings that follow on each other.
func (f *settling) setDefault(actions string) {
	if f.defaults == "" {
		f.defaults = actions
		return
	}
	f.defaults += "," + actions[strings.Index(actions, "setvar:"):]
}

func (f *settling) write(d string) {
	f.flush()
	f.b.WriteString(d + "\n")
}

// flush writes the defaults.
func (f *settling) flush() {
	if f.defaults != "" {
		f.b.WriteString(`SecAction "` + f.defaults + "\"\n")
		f.defaults = ""
	}
}
