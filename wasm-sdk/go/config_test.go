package sdk

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

type inner struct {
	Consumer string            `json:"consumer"`
	Groups   []string          `json:"groups"`
	Labels   map[string]int    `json:"labels"`
	Rules    map[string]*inner `json:"rules"`
}

type shared struct {
	Name string `json:"name"`
}

// level reads itself.
type level int

func (l *level) UnmarshalText(b []byte) error {
	if string(b) != "high" {
		return errors.New("no such level")
	}
	*l = 7
	return nil
}

type settings struct {
	shared
	Keys   []inner `json:"keys"`
	On     bool    `json:"on,omitempty"`
	Size   uint8   `json:"size"`
	Level  level   `json:"level"`
	Data   []byte  `json:"data"`
	Any    any     `json:"any"`
	Text   int     `json:"text,string"`
	Hidden string  `json:"-"`
	Plain  *float64
	own    string
}

func TestParseConfig(t *testing.T) {
	number := 1.5
	defaults := settings{Size: 3, own: "kept"}
	tests := map[string]struct {
		text    string
		want    settings // if refused is ""
		refused string
	}{
		"nothing":                  {"", defaults, ""},
		"an object without fields": {"{}", defaults, ""},
		"all of it": {
			`{"name":"n","keys":[{"consumer":"c","groups":["g"],"labels":{"l":1},"rules":{"r":{"consumer":"d"}}}],"on":true,"size":255,"level":"high","data":"AAE=","any":{"x":[1]},"text":"5","PLAIN":1.5}`,
			settings{
				shared: shared{"n"}, Keys: []inner{{Consumer: "c", Groups: []string{"g"}, Labels: map[string]int{"l": 1}, Rules: map[string]*inner{"r": {Consumer: "d"}}}},
				On: true, Size: 255, Level: 7, Data: []byte{0, 1}, Any: map[string]any{"x": []any{1.0}}, Text: 5, Plain: &number, own: "kept",
			}, "",
		},
		"null":                {`{"keys":null,"on":null}`, defaults, ""},
		"an unknown field":    {`{"kyes":[]}`, settings{}, "config.kyes: unknown field"},
		"one within others":   {`{"keys":[{},{"rules":{"r":{"labels":{},"lables":1}}}]}`, settings{}, "config.keys[1].rules.r.lables: unknown field"},
		"several":             {`{"b":1,"a":{"c":1},"keys":[{"d":1}]}`, settings{}, "config.a: unknown field; config.b: unknown field; config.keys[0].d: unknown field"},
		"a hidden one":        {`{"Hidden":"x"}`, settings{}, "config.Hidden: unknown field"},
		"one of its own":      {`{"own":"x"}`, settings{}, "config.own: unknown field"},
		"another type":        {`{"keys":[{"consumer":"c"},{"consumer":12345}]}`, settings{}, "config.keys[1].consumer: a number; want a text"},
		"no list":             {`{"keys":{}}`, settings{}, "config.keys: an object; want a list"},
		"no object":           {`{"keys":["secret"]}`, settings{}, "config.keys[0]: a text; want an object"},
		"no map":              {`{"keys":[{"labels":[1]}]}`, settings{}, "config.keys[0].labels: a list; want an object"},
		"no truth":            {`{"on":"yes"}`, settings{}, "config.on: a text; want true or false"},
		"no number":           {`{"size":true}`, settings{}, "config.size: true or false; want a number"},
		"another whole":       {`[]`, settings{}, "config: a list; want an object"},
		"too large a number":  {`{"size":12345}`, settings{}, "config.size: does not fit uint8"},
		"half a number":       {`{"keys":[{},{"labels":{"a":1.5}}]}`, settings{}, "config.keys[1].labels.a: does not fit int"},
		"a negative one":      {`{"size":-1}`, settings{}, "config.size: does not fit uint8"},
		"what a type refuses": {`{"level":"low"}`, settings{}, "config: no such level"},
		"no JSON":             {`{"on":tru}`, settings{}, "config: no JSON: at byte 10"},
		"cut":                 {`{"on":`, settings{}, "config: no JSON: at byte 6"},
		"more":                {`{} {}`, settings{}, "config: more follows the JSON value"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := ParseConfig([]byte(tt.text), defaults)
			if tt.refused != "" {
				if err == nil || err.Error() != tt.refused {
					t.Errorf("got %v; want %q", err, tt.refused)
				}
				if err != nil && (strings.Contains(err.Error(), "12345") || strings.Contains(err.Error(), "secret")) {
					t.Errorf("the error holds a value: %v", err)
				}
				tt.want = defaults
			} else if err != nil {
				t.Error(err)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v; want %+v", got, tt.want)
			}
		})
	}
}

func FuzzParseConfig(f *testing.F) {
	for _, text := range []string{`{"keys":[{"rules":{"r":{"x":1}}}]}`, `{"size":256}`, `{"text":"a"}`, `{"name":1}`, `[`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if _, err := ParseConfig(text, settings{}); err != nil && !strings.HasPrefix(err.Error(), "config") {
			t.Errorf("%q: %v", text, err)
		}
	})
}
