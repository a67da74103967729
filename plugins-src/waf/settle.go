package main

import (
	"maps"
	"regexp"
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
	left          map[string]bool // ids of rules that were left out
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
	s := &settled{level: c.ParanoiaLevel, known: map[string]bool{}, unsure: map[string]bool{}, left: map[string]bool{}}
	own := c.Rules + "\n" + c.RulesAfter
	if c.whole || countsRules(own) {
		return nil
	}
	for _, m := range ownTX.FindAllStringSubmatch(own, -1) {
		name := strings.ToLower(m[1])
		if strings.ContainsAny(name, "%/\\") || strings.Contains(name, "paranoia_level") {
			return nil
		}
		s.unsure[name] = true
	}
	s.sets(c.directives())
	return s
}

var countsOrUpdates = regexp.MustCompile(`(?i)\bskip\s*:|SecRuleUpdate`)

// countsRules reports whether rules count others or change them, so that none may be left
// out.
func countsRules(own string) bool { return countsOrUpdates.MatchString(own) }

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
	f := settling{settled: s, skipped: map[string]string{}, kept: map[string]int{}}
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
	// kept is how many rules of a phase are counted by one before, and stay.
	kept map[string]int
	// defaults are actions that set defaults, made of rules for one setting each.
	defaults string
}

func (f *settling) directive(d string) {
	rule, plain, ok := readRule(d)
	switch {
	case ok:
		if !f.chain { // otherwise it shares the fate of the one before
			f.left = f.leaves(rule, plain)
		}
		f.chain = chainOf.MatchString(plain)
		if f.left {
			return
		}
	case strings.HasPrefix(d, "SecMarker "):
		marker := strings.Trim(strings.TrimPrefix(d, "SecMarker "), `"' `)
		maps.DeleteFunc(f.skipped, func(_, m string) bool { return m == marker })
	default:
		if m := updateOf.FindStringSubmatch(d); m != nil && f.settled.left[m[1]] {
			return
		}
	}
	f.write(d)
}

// readRule returns the parts of a rule, with targets, operator and actions, nil for an action
// without a condition; and its actions, in quotation marks, without what is quoted in them.
func readRule(d string) (rule []string, plain string, ok bool) {
	if rule = ruleText.FindStringSubmatch(d); rule != nil {
		plain = rule[3]
	} else if m := actionText.FindStringSubmatch(d); m != nil {
		plain = m[1]
	} else {
		return nil, "", false
	}
	return rule, `"` + quoted.ReplaceAllString(plain, "") + `"`, true
}

// leaves reports whether a rule is left out, or written already in another form.
func (f *settling) leaves(rule []string, plain string) bool {
	phase := "2"
	if m := phaseOf.FindStringSubmatch(plain); m != nil {
		phase = m[1]
	}
	switch {
	case f.kept[phase] > 0:
		f.kept[phase]--
		return false
	case f.skipped[phase] != "" || rule != nil && f.decided(rule, plain, phase):
		if m := idOf.FindStringSubmatch(plain); m != nil {
			f.settled.left[m[1]] = true
		}
		return true
	}
	if m := skipOf.FindStringSubmatch(plain); m != nil {
		f.kept[phase], _ = strconv.Atoi(m[1])
	}
	return false
}

// decided reports whether a rule's outcome is decided, after writing what comes of it.
func (f *settling) decided(rule []string, plain, phase string) bool {
	operator, actions := rule[2], rule[3]
	switch target := strings.ToLower(rule[1]); target {
	case "tx:detection_paranoia_level", "tx:blocking_paranoia_level":
		if m := levelBelow.FindStringSubmatch(operator); m != nil {
			marker := skipAfterOf.FindStringSubmatch(actions)
			if marker == nil {
				return false
			}
			if f.below(m[1]) {
				f.skipped[phase] = marker[1]
			}
			return true
		}
		if m := levelFrom.FindStringSubmatch(operator); m != nil && !chainOf.MatchString(plain) {
			if !f.below(m[1]) {
				f.write(`SecAction "` + actions + `"`)
			}
			return true
		}
	default:
		name, ok := strings.CutPrefix(target, "&tx:")
		if !ok || operator != "@eq 0" || f.unsure[name] {
			return false
		}
		if f.known[name] {
			return true
		}
		if m := defaultOf.FindStringSubmatch(actions); m != nil && strings.ToLower(m[1]) == name {
			f.known[name] = true
			f.setDefault(actions)
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
