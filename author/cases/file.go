package cases

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// MaxFileBytes is the size beyond which a file of cases is refused.
const MaxFileBytes = 4 << 20

// File is a file of cases. Its fields are what docs/cases.md says.
type File struct {
	// Config is that of every case without one of its own.
	Config Config `yaml:"config"`
	// Capabilities that the plugin is granted; nil: those its manifest asks for.
	Capabilities []string `yaml:"capabilities"`
	Limits       Limits   `yaml:"limits"`
	// Consumers are the Consumer objects of every case without some of its own.
	Consumers []Someone `yaml:"consumers"`
	Cases     []Case    `yaml:"cases"`
}

// Limits are those of an annotation's entry; one that is zero is the default.
type Limits struct {
	CPUTime         Duration `yaml:"cpuTime"`
	CPUTimeExchange Duration `yaml:"cpuTimeExchange"`
	CPUTimeStart    Duration `yaml:"cpuTimeStart"`
	Memory          Size     `yaml:"memory"`
	Body            Size     `yaml:"body"`
}

// Size is a number of bytes, written as 512, 64Ki, 128Mi or 1Gi.
type Size int64

// UnmarshalYAML implements yaml.Unmarshaler.
func (s *Size) UnmarshalYAML(n *yaml.Node) error {
	text, shift := n.Value, 0
	for unit, by := range map[string]int{"Ki": 10, "Mi": 20, "Gi": 30} {
		if rest, ok := strings.CutSuffix(n.Value, unit); ok {
			text, shift = rest, by
		}
	}
	v, err := strconv.ParseUint(text, 10, 32)
	if err != nil || v == 0 || v<<shift > maxSize {
		return fmt.Errorf("line %d: %q: want a number of bytes to 1Gi, as 64Ki", n.Line, n.Value)
	}
	*s = Size(v << shift) //nolint:gosec // bounded
	return nil
}

const maxSize = 1 << 30

// Case is one plugin that is started, and one or more exchanges or raw connections with
// it.
type Case struct {
	Name   string `yaml:"name"`
	Config Config `yaml:"config"`
	// Consumers are in place of the file's; nil: those.
	Consumers []Someone `yaml:"consumers"`
	// Capabilities are in place of the file's; nil: those.
	Capabilities []string `yaml:"capabilities"`
	// Schema false says that the image's JSON Schema is not asked, so that the plugin's own
	// check of its configuration is.
	Schema *bool `yaml:"schema"`
	// Refused is a part of why the plugin refuses its configuration. The case has no
	// exchange then.
	Refused string `yaml:"refused"`
	// Exchange is the one exchange, Exchanges are several in a row.
	Exchange  `yaml:",inline"`
	Exchanges []Exchange `yaml:"exchanges"`
	// Connections are raw connections, in place of exchanges.
	Connections []Connection `yaml:"connections"`
	// Metrics are the values, at the end, of metrics that the plugin defines; of a
	// histogram the number of its samples.
	Metrics map[string]int64 `yaml:"metrics"`
	// Logs are parts of lines that the plugin logs, in this order. "warn: text" also
	// says the level.
	Logs []string `yaml:"logs"`
}

// Exchange is a request and what becomes of it.
type Exchange struct {
	// Advance is how long before the request the time is moved on; ticks are made.
	Advance Duration `yaml:"advance"`
	Request *Message `yaml:"request"`
	// Calls are those that the plugin makes, in this order, with their answers.
	Calls    []Call    `yaml:"calls"`
	Upstream *Upstream `yaml:"upstream"`
	// Known is who filters before the plugin have found to have sent the request.
	Known *Known `yaml:"known"`
	// Certificate is the client's, as a listener has verified it; nil: it has shown none.
	Certificate *Certificate `yaml:"certificate"`
	// Consumer is who sent the request, as the plugin has left it.
	Consumer *Consumer `yaml:"consumer"`
	// Claims are what the plugin says that a token holds, all of them.
	Claims map[string]any `yaml:"claims"`
	// Cache is what the plugin says to the response cache after it.
	Cache    *Cache   `yaml:"cache"`
	Response *Message `yaml:"response"`
}

// Message is a request or a response: one that is made, or what one is to be.
type Message struct {
	Method    string `yaml:"method"`
	Path      string `yaml:"path"`
	Authority string `yaml:"authority"`
	Scheme    string `yaml:"scheme"`
	Status    int    `yaml:"status"`
	// From is who a response is from: "plugin", "upstream", or "proxy" if the plugin
	// failed; Error is the reason then.
	From     string `yaml:"from"`
	Error    string `yaml:"error"`
	Headers  Fields `yaml:"headers"`
	Trailers Fields `yaml:"trailers"`
	// Body is all of it; nil: none is sent, or any may come. Chunks are its parts.
	Body   *string  `yaml:"body"`
	Chunks []string `yaml:"chunks"`
	// Contains are parts of a body that is to come.
	Contains []string `yaml:"contains"`
}

// Upstream is what the upstream gets, and what it answers.
type Upstream struct {
	// Reached: false says that the request does not get there.
	Reached  *bool    `yaml:"reached"`
	Request  *Message `yaml:"request"`
	Response *Message `yaml:"response"`
}

// Cache is what a plugin says to the response cache; all of it.
type Cache struct {
	Bypass bool     `yaml:"bypass"`
	Key    []string `yaml:"key"`
	TTL    Duration `yaml:"ttl"`
	Force  bool     `yaml:"force"`
	Tags   []string `yaml:"tags"`
}

// Config is a plugin's configuration, as an annotation has it: a string as it is, all
// else as JSON.
type Config struct {
	set  bool
	text []byte
}

// UnmarshalYAML implements yaml.Unmarshaler.
func (c *Config) UnmarshalYAML(n *yaml.Node) error {
	c.set = true
	if n.Kind == yaml.ScalarNode && n.Tag == "!!str" {
		c.text = []byte(n.Value)
		return nil
	}
	var v any
	if err := n.Decode(&v); err != nil {
		return err
	}
	if v == nil {
		return nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("line %d: config: %w", n.Line, err)
	}
	c.text = b
	return nil
}

// Duration is a time.Duration, written as "1.5s".
type Duration time.Duration

// UnmarshalYAML implements yaml.Unmarshaler.
func (d *Duration) UnmarshalYAML(n *yaml.Node) error {
	v, err := time.ParseDuration(n.Value)
	if err != nil || v < 0 || v > maxAdvance {
		return fmt.Errorf("line %d: %q: want a duration of 0s to %v, as 1.5s", n.Line, n.Value, maxAdvance)
	}
	*d = Duration(v)
	return nil
}

const maxAdvance = 366 * 24 * time.Hour

// Fields are header fields by name; a value that is nil says that there is no such field.
type Fields []Field

// Field is what the fields of one name are: several values are several fields.
type Field struct {
	Name   string
	Values []string // nil: there is none
}

// UnmarshalYAML implements yaml.Unmarshaler.
func (f *Fields) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: want a map from names to values", n.Line)
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		one := Field{Name: name.Value}
		switch {
		case value.Kind == yaml.ScalarNode && value.Tag == "!!null":
		case value.Kind == yaml.ScalarNode:
			one.Values = []string{value.Value}
		default:
			one.Values = []string{}
			if err := value.Decode(&one.Values); err != nil {
				return err
			}
		}
		if slices.ContainsFunc(*f, func(o Field) bool { return strings.EqualFold(o.Name, one.Name) }) {
			return fmt.Errorf("line %d: %s stands there twice: give its values as a list", name.Line, one.Name)
		}
		*f = append(*f, one)
	}
	return nil
}

// Parse reads a file of cases; name is what errors call it.
func Parse(name string, text []byte) (*File, error) {
	if len(text) > MaxFileBytes {
		return nil, fmt.Errorf("%s: larger than %d bytes", name, MaxFileBytes)
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	f := &File{}
	if err := d.Decode(f); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %s", name, explained(text, err))
	}
	if err := d.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: more than one document", name)
	}
	if err := someone(f.Consumers); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(f.Cases) == 0 {
		return nil, fmt.Errorf("%s: cases: want at least one", name)
	}
	seen := map[string]bool{}
	for i := range f.Cases {
		c := &f.Cases[i]
		if c.Name == "" || seen[c.Name] {
			return nil, fmt.Errorf("%s: cases[%d].name: %q: want one that no other case has", name, i, c.Name)
		}
		seen[c.Name] = true
		if err := c.check(); err != nil {
			return nil, fmt.Errorf("%s: case %q: %w", name, c.Name, err)
		}
	}
	return f, nil
}

// granted are the capabilities that a case grants; nil: those that the manifest asks for.
func (c *Case) granted(file *File) []string {
	if c.Capabilities != nil {
		return c.Capabilities
	}
	return file.Capabilities
}

// check finds what a case cannot mean.
func (c *Case) check() error {
	inline := c.Request != nil || c.Response != nil || c.Upstream != nil || c.Calls != nil || c.Consumer != nil || c.Claims != nil || c.Known != nil || c.Certificate != nil || c.Cache != nil || c.Advance != 0
	switch {
	case c.Refused != "" && (inline || c.Exchanges != nil || c.Connections != nil):
		return errors.New("refused: a plugin that refuses its configuration has no exchange")
	case inline && c.Exchanges != nil:
		return errors.New("exchanges: there is another exchange beside them")
	case inline:
		c.Exchanges = []Exchange{c.Exchange}
	case c.Refused == "" && c.Exchanges == nil && c.Connections == nil && c.Metrics == nil && c.Logs == nil:
		return errors.New("it says nothing that is to be so")
	}
	for i := range c.Exchanges {
		if err := c.Exchanges[i].check(); err != nil {
			return err
		}
	}
	if err := c.checkConnections(); err != nil {
		return err
	}
	return someone(c.Consumers)
}

func (e *Exchange) check() error {
	if err := errors.Join(e.Known.check("known"), e.Request.check("request"), e.Request.made("request"), e.Response.check("response")); err != nil {
		return err
	}
	if u := e.Upstream; u != nil {
		if u.Reached != nil && !*u.Reached && (u.Request != nil || u.Response != nil) {
			return errors.New("upstream.reached: false, and yet it gets or answers something")
		}
		if err := errors.Join(u.Request.check("upstream.request"), u.Response.check("upstream.response"), u.Response.made("upstream.response")); err != nil {
			return err
		}
	}
	return checkCalls(e.Calls)
}

// check finds fields that are of another kind of message.
func (m *Message) check(what string) error {
	if m == nil {
		return nil
	}
	request := map[string]bool{"method": m.Method != "", "path": m.Path != "", "authority": m.Authority != "", "scheme": m.Scheme != ""}
	response := map[string]bool{"status": m.Status != 0, "from": m.From != "", "error": m.Error != ""}
	wrong := response
	if strings.HasSuffix(what, "response") {
		wrong = request
	}
	for _, name := range slices.Sorted(maps.Keys(wrong)) {
		if wrong[name] {
			return fmt.Errorf("%s.%s: there is none", what, name)
		}
	}
	if m.Body != nil && m.Chunks != nil {
		return fmt.Errorf("%s: want either body or chunks", what)
	}
	if !slices.Contains([]string{"", "plugin", "upstream", "proxy"}, m.From) {
		return fmt.Errorf("%s.from: %q: want plugin, upstream or proxy", what, m.From)
	}
	if m.Status != 0 && (m.Status < 100 || m.Status > 599) {
		return fmt.Errorf("%s.status: %d: want 100 to 599", what, m.Status)
	}
	return nil
}

// made finds what a message that is sent cannot have.
func (m *Message) made(what string) error {
	if m == nil {
		return nil
	}
	var name string
	switch {
	case m.From != "":
		name = "from"
	case m.Error != "":
		name = "error"
	case m.Contains != nil:
		name = "contains"
	}
	if name != "" {
		return fmt.Errorf("%s.%s: this is what is sent, not what is to come", what, name)
	}
	for _, fields := range []Fields{m.Headers, m.Trailers} {
		for _, f := range fields {
			if f.Values == nil {
				return fmt.Errorf("%s: %s has no value", what, f.Name)
			}
		}
	}
	return nil
}

// parts are a message's body as it is sent.
func (m *Message) parts() []string {
	if m.Body != nil && *m.Body != "" {
		return []string{*m.Body}
	}
	return m.Chunks
}
